data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  # operator.json is for people; it has no service account.
  policies         = toset(["init", "worker", "serve", "operator"])
  service_accounts = var.eks == null ? toset([]) : toset(["init", "worker", "serve"])
  uses_oidc        = try(var.eks.oidc_provider_arn, null) != null
  oidc_issuer      = local.uses_oidc ? regex("oidc-provider/(.*)$", var.eks.oidc_provider_arn)[0] : ""
  # As the chart names them.
  full_name = var.eks == null ? "" : (
    strcontains(var.eks.release, "tidemark") ? var.eks.release : "${var.eks.release}-tidemark"
  )
}

resource "aws_iam_policy" "this" {
  for_each = local.policies

  name = "${var.role_name_prefix}${each.key}"
  policy = templatefile("${path.module}/../iam/${each.key}.json", {
    partition    = data.aws_partition.current.partition
    region       = data.aws_region.current.region
    account      = data.aws_caller_identity.current.account_id
    table_prefix = var.table_prefix
  })
  tags = var.tags
}

# Who may do what with the files of the archive.
locals {
  file_policies = var.archive == null ? {} : { worker = "files-write", serve = "files-read", operator = "files-read" }
}

resource "aws_iam_policy" "files" {
  for_each = toset(values(local.file_policies))

  name = "${var.role_name_prefix}${each.key}"
  policy = templatefile("${path.module}/../iam/${each.key}.json", {
    partition = data.aws_partition.current.partition
    bucket    = var.archive.bucket
    prefix    = "${var.archive.prefix}/"
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "files" {
  for_each = { for role, policy in local.file_policies : role => policy if contains(local.service_accounts, role) }

  role       = aws_iam_role.this[each.key].name
  policy_arn = aws_iam_policy.files[each.value].arn
}

resource "aws_iam_role" "this" {
  for_each = local.service_accounts

  name = "${var.role_name_prefix}${each.key}"
  tags = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [local.uses_oidc ? {
      Effect    = "Allow"
      Action    = ["sts:AssumeRoleWithWebIdentity"]
      Principal = { Federated = var.eks.oidc_provider_arn }
      Condition = {
        StringEquals = {
          "${local.oidc_issuer}:aud" = "sts.amazonaws.com"
          "${local.oidc_issuer}:sub" = "system:serviceaccount:${var.eks.namespace}:${local.full_name}-${each.key}"
        }
      }
      } : {
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
      Condition = {
        StringEquals = {
          "aws:RequestTag/kubernetes-namespace"       = var.eks.namespace
          "aws:RequestTag/kubernetes-service-account" = "${local.full_name}-${each.key}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.service_accounts

  role       = aws_iam_role.this[each.key].name
  policy_arn = aws_iam_policy.this[each.key].arn
}
