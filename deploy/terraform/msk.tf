# The topics of tidemark on an Amazon MSK cluster that is there already, as `tidemark topics apply` creates
# them. A test compares this with the program's own definitions. MSK Serverless and Kafka before 3.6 have no
# API for topics: leave var.msk null there and run `tidemark topics apply`.
locals {
  topics = {
    "usage.events"    = { retention_hours = 168, max_message_bytes = 1114112 }
    "usage.rejected"  = { retention_hours = 720, max_message_bytes = 6195200 }
    "ledger.postings" = { retention_hours = 168, max_message_bytes = 1114112 }
    "ledger.cuts"     = { retention_hours = 168, max_message_bytes = 1114112 }
  }
}

resource "aws_msk_topic" "this" {
  for_each = var.msk == null ? {} : local.topics

  cluster_arn        = var.msk.cluster_arn
  name               = "${var.msk.topic_prefix}${each.key}"
  partition_count    = var.msk.partitions
  replication_factor = var.msk.replication_factor
  configs = jsonencode({
    "cleanup.policy"                 = "delete"
    "max.message.bytes"              = tostring(each.value.max_message_bytes)
    "message.timestamp.type"         = "LogAppendTime"
    "min.insync.replicas"            = tostring(var.msk.min_insync_replicas)
    "retention.bytes"                = "-1"
    "retention.ms"                   = tostring(each.value.retention_hours * 3600 * 1000)
    "unclean.leader.election.enable" = "false"
  })

  lifecycle {
    # A topic that is created again holds nothing, and rating halts.
    prevent_destroy = true
    # Partitions cannot be added in place: docs/kafka.md, "More partitions".
    ignore_changes = [partition_count]
  }
}
