variable "table_prefix" {
  description = "What every table's name begins with: store.table_prefix."
  type        = string
  default     = "tidemark-"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{0,64}$", var.table_prefix))
    error_message = "At most 64 letters, digits and any of '-_.', as store.table_prefix allows."
  }
}

variable "deletion_protection" {
  description = "Whether the tables refuse to be deleted. Switch it off only to remove an installation."
  type        = bool
  default     = true
}

variable "point_in_time_recovery" {
  description = "Whether the tables can be restored to any moment of the last 35 days."
  type        = bool
  default     = true
}

variable "kms_key_arn" {
  description = "A key of your own that encrypts the tables; null: one that AWS owns."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that this module creates."
  type        = map(string)
  default     = {}
}

variable "eks" {
  description = <<-EOT
    Creates one role per service account of the Helm chart. With oidc_provider_arn: IAM roles for service
    accounts, for that provider of the cluster. Without: EKS Pod Identity. null: only policies are created.
  EOT
  type = object({
    namespace         = optional(string, "tidemark")
    release           = optional(string, "tidemark")
    oidc_provider_arn = optional(string)
  })
  default = null
}

variable "role_name_prefix" {
  description = "What the names of roles and policies begin with."
  type        = string
  default     = "tidemark-"
}

variable "alarms" {
  description = <<-EOT
    CloudWatch alarms on the tables; null: none. actions and ok_actions are ARNs, such as SNS topics.
    write_units_per_minute_max alarms when a table takes more; 0: no such alarm. usage_rows_expire alarms
    when no usage row has expired for two days, which lets UsageTracking grow without bound: switch it on
    once the first rows are 42 days old.
  EOT
  type = object({
    actions                    = optional(list(string), [])
    ok_actions                 = optional(list(string), [])
    throttled_per_minute_max   = optional(number, 60)
    write_units_per_minute_max = optional(number, 0)
    usage_rows_expire          = optional(bool, false)
  })
  default = {}
}

variable "archive" {
  description = <<-EOT
    Where the archive of requests is: a bucket that exists, and what the names of its files begin with, as in
    archive.location = "s3://BUCKET/PREFIX". Workers may then write it, and services and operators read it. null: no
    archive in S3.
  EOT
  type = object({
    bucket = string
    prefix = optional(string, "tidemark")
  })
  default = null

  validation {
    condition     = var.archive == null ? true : can(regex("^[A-Za-z0-9_./=-]*[A-Za-z0-9_.=-]$", var.archive.prefix)) && !startswith(var.archive.prefix, "/")
    error_message = "A prefix without slashes at its beginning and end."
  }
}

variable "msk" {
  description = <<-EOT
    Creates the topics on this Amazon MSK cluster (provisioned, Kafka 3.6 or newer); null: none, `tidemark topics
    apply` creates them. topic_prefix is kafka.topic_prefix. Choose partitions before the first event: they cannot
    be changed in place (docs/kafka.md).
  EOT
  type = object({
    cluster_arn         = string
    topic_prefix        = optional(string, "")
    partitions          = optional(number, 4)
    replication_factor  = optional(number, 3)
    min_insync_replicas = optional(number, 2)
  })
  default = null

  validation {
    condition     = var.msk == null ? true : var.msk.partitions >= 1 && var.msk.min_insync_replicas <= var.msk.replication_factor
    error_message = "At least one partition, and no more copies in sync than there are."
  }
}
