# Plans the module with a provider that only pretends. Needs Terraform 1.11 or newer.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::111122223333:policy/mocked" }
  }
}

run "by_default" {
  command = plan
  assert {
    condition     = length(aws_msk_topic.this) == 0
    error_message = "No topics without var.msk."
  }
  assert {
    condition     = length(aws_dynamodb_table.this) == 9
    error_message = "There are nine tables."
  }
  assert {
    condition = alltrue([
      for table in aws_dynamodb_table.this : table.deletion_protection_enabled && one(table.point_in_time_recovery).enabled
    ])
    error_message = "Every table is protected against deletion and can be restored."
  }
  assert {
    condition     = one(aws_dynamodb_table.this["UsageTracking"].ttl).attribute_name == "expiresAt"
    error_message = "Usage rows expire."
  }
  assert {
    condition     = length(aws_iam_policy.this) == 4 && length(aws_iam_role.this) == 0
    error_message = "Policies, and no roles without var.eks."
  }
  assert {
    condition = alltrue([
      for policy in aws_iam_policy.this : length(replace(policy.policy, "/\\s/", "")) <= 6144 && !strcontains(policy.policy, "$")
    ])
    error_message = "Policies are filled in, and within the size that AWS allows."
  }
  assert {
    condition = contains(
      flatten([for statement in jsondecode(aws_iam_policy.this["worker"].policy).Statement : statement.Resource]),
      "arn:aws:dynamodb:eu-central-1:111122223333:table/tidemark-Checkpoints"
    )
    error_message = "Policies name the tables."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.throttled) == 18 && length(aws_cloudwatch_metric_alarm.system_errors) == 9
    error_message = "Throttling is watched for reads and writes of each table, and errors of each."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.write_units) == 0 && length(aws_cloudwatch_metric_alarm.not_expiring) == 0
    error_message = "Alarms on growth are a choice."
  }
}

run "with_service_accounts" {
  command = plan
  variables {
    table_prefix = "points-"
    eks = {
      namespace         = "billing"
      release           = "points"
      oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/ABC"
    }
    alarms = {
      actions                    = ["arn:aws:sns:eu-central-1:111122223333:on-call"]
      write_units_per_minute_max = 60000
      usage_rows_expire          = true
    }
  }
  assert {
    condition     = aws_dynamodb_table.this["UserPoints"].name == "points-UserPoints"
    error_message = "Tables carry the prefix."
  }
  assert {
    condition = (
      jsondecode(aws_iam_role.this["worker"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub"]
      == "system:serviceaccount:billing:points-tidemark-worker"
    )
    error_message = "A role is for the chart's service account alone."
  }
  assert {
    condition     = yamldecode(output.helm_values).serviceAccounts.worker.annotations["eks.amazonaws.com/role-arn"] == "arn:aws:iam::111122223333:role/mocked"
    error_message = "The chart's values name the roles."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.write_units) == 9 && keys(aws_cloudwatch_metric_alarm.not_expiring) == ["UsageTracking"]
    error_message = "Growth is watched."
  }
}

run "with_an_archive" {
  command = plan
  variables {
    eks     = {}
    archive = { bucket = "points" }
  }
  assert {
    condition = contains(
      flatten([for statement in jsondecode(aws_iam_policy.files["files-write"].policy).Statement : statement.Resource]),
      "arn:aws:s3:::points/tidemark/*"
    )
    error_message = "The files are those of one prefix."
  }
  assert {
    condition = (
      keys(aws_iam_role_policy_attachment.files) == ["serve", "worker"]
      && length(aws_iam_policy.files) == 2
      && alltrue([for policy in aws_iam_policy.files : !strcontains(policy.policy, "$")])
    )
    error_message = "Workers write, services read."
  }
  assert {
    condition     = yamldecode(output.helm_values).config.archive.location == "s3://points/tidemark"
    error_message = "The chart's values name the archive."
  }
}

run "with_pod_identity_and_no_alarms" {
  command = plan
  variables {
    eks    = {}
    alarms = null
  }
  assert {
    condition     = jsondecode(aws_iam_role.this["serve"].assume_role_policy).Statement[0].Principal.Service == "pods.eks.amazonaws.com"
    error_message = "Roles for EKS Pod Identity."
  }
  assert {
    condition     = !can(yamldecode(output.helm_values).serviceAccounts)
    error_message = "Pod Identity needs no annotations."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.throttled) + length(aws_cloudwatch_metric_alarm.system_errors) == 0
    error_message = "No alarms."
  }
}

run "a_wrong_prefix_is_refused" {
  command = plan
  variables {
    table_prefix = "a b"
  }
  expect_failures = [var.table_prefix]
}
