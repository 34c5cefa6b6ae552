# AWS publishes no metric of a table's size. What makes a table grow without bound is watched instead:
# more writes than expected, and usage rows that do not expire.
locals {
  alarmed = { for table, of in local.tables : table => of if var.alarms != null }
  # Those that tidemark uses; an alarm may sum ten metrics at the most.
  operations = ["GetItem", "BatchGetItem", "Query", "Scan", "PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"]
  throttles = merge([
    for table, _ in local.alarmed : {
      for metric in ["ReadThrottleEvents", "WriteThrottleEvents"] : "${table}-${metric}" => { table = table, metric = metric }
    }
  ]...)
  limited = { for table, of in local.alarmed : table => of if try(var.alarms.write_units_per_minute_max, 0) > 0 }
  expires = { for table, of in local.alarmed : table => of if try(var.alarms.usage_rows_expire, false) && can(of.ttl) }
}

resource "aws_cloudwatch_metric_alarm" "throttled" {
  for_each = local.throttles

  alarm_name          = "${var.table_prefix}${each.key}"
  alarm_description   = "DynamoDB throttles ${each.value.table}. Requests are sent again; numbers come later, none is lost."
  evaluation_periods  = 10
  datapoints_to_alarm = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarms.throttled_per_minute_max
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.ok_actions
  tags                = var.tags

  # The metric has points only while requests are throttled, and CloudWatch leaves alarms on DynamoDB's
  # metrics as they are while points are missing: zeros end the alarm.
  metric_query {
    id          = "filled"
    expression  = "FILL(throttled, 0)"
    label       = each.value.metric
    return_data = true
  }
  metric_query {
    id = "throttled"
    metric {
      namespace   = "AWS/DynamoDB"
      metric_name = each.value.metric
      dimensions  = { TableName = aws_dynamodb_table.this[each.value.table].name }
      stat        = "Sum"
      period      = 60
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "system_errors" {
  for_each = local.alarmed

  alarm_name          = "${var.table_prefix}${each.key}-SystemErrors"
  alarm_description   = "DynamoDB fails requests on ${each.key} (HTTP 500). tidemark waits and goes on by itself."
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.ok_actions
  tags                = var.tags

  metric_query {
    id          = "all"
    expression  = "FILL(SUM([${join(", ", [for operation in local.operations : lower(operation)])}]), 0)"
    label       = "System errors"
    return_data = true
  }

  # The metric exists only by operation.
  dynamic "metric_query" {
    for_each = local.operations
    content {
      id = lower(metric_query.value)
      metric {
        namespace   = "AWS/DynamoDB"
        metric_name = "SystemErrors"
        dimensions = {
          TableName = aws_dynamodb_table.this[each.key].name
          Operation = metric_query.value
        }
        stat   = "Sum"
        period = 60
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "write_units" {
  for_each = local.limited

  alarm_name          = "${var.table_prefix}${each.key}-ConsumedWriteCapacityUnits"
  alarm_description   = "${each.key} takes more write units than expected: it grows, and costs, more than planned."
  namespace           = "AWS/DynamoDB"
  metric_name         = "ConsumedWriteCapacityUnits"
  dimensions          = { TableName = aws_dynamodb_table.this[each.key].name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 30
  datapoints_to_alarm = 20
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarms.write_units_per_minute_max
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.ok_actions
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "not_expiring" {
  for_each = local.expires

  alarm_name          = "${var.table_prefix}${each.key}-NotExpiring"
  alarm_description   = "No row of ${each.key} has expired for two days: it grows without bound. Is its time to live on?"
  namespace           = "AWS/DynamoDB"
  metric_name         = "TimeToLiveDeletedItemCount"
  dimensions          = { TableName = aws_dynamodb_table.this[each.key].name }
  statistic           = "Sum"
  period              = 86400
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.ok_actions
  tags                = var.tags
}
