output "table_names" {
  description = "The tables, by their names without prefix."
  value       = { for name, table in aws_dynamodb_table.this : name => table.name }
}

output "policy_arns" {
  description = "The policies of init, worker, serve and operator, and those of the archive's files."
  value       = { for name, policy in merge(aws_iam_policy.this, aws_iam_policy.files) : name => policy.arn }
}

output "role_arns" {
  description = "The roles of the chart's service accounts, where var.eks is set."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}

output "helm_values" {
  description = "Values for the Helm chart: helm upgrade --values <(terraform output -raw helm_values)."
  value = yamlencode(merge(
    {
      config = merge(
        { store = { region = data.aws_region.current.region, table_prefix = var.table_prefix } },
        var.archive == null ? {} : { archive = { location = "s3://${var.archive.bucket}/${var.archive.prefix}" } }
      )
    },
    !local.uses_oidc ? {} : {
      serviceAccounts = {
        for name, role in aws_iam_role.this : name => { annotations = { "eks.amazonaws.com/role-arn" = role.arn } }
      }
    }
  ))
}
