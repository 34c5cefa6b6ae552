# The tables of tidemark, as `tidemark init` creates them. A test compares this with the program's own
# definitions.
locals {
  tables = {
    PricingConfig         = { hash = "configKey", range = "version" }
    UserCredits           = { hash = "userId", range = "entry" }
    ProviderRewards       = { hash = "providerId", range = "month" }
    UserPoints            = { hash = "userId", range = "month" }
    ReferralCodes         = { hash = "referralCode", index = { name = "owner-index", hash = "owner" } }
    ReferralRelationships = { hash = "refereeId", range = "userType", index = { name = "referrer-index", hash = "referrer" } }
    StreakTracking        = { hash = "userId", range = "userType" }
    UsageTracking         = { hash = "userDay", range = "timeHash", ttl = "expiresAt" }
    Checkpoints           = { hash = "partition", range = "item" }
  }
}

resource "aws_dynamodb_table" "this" {
  for_each = local.tables

  name                        = "${var.table_prefix}${each.key}"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = each.value.hash
  range_key                   = try(each.value.range, null)
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  # Keys of the table and of its index; all are texts.
  dynamic "attribute" {
    for_each = toset(compact([each.value.hash, try(each.value.range, null), try(each.value.index.hash, null)]))
    content {
      name = attribute.value
      type = "S"
    }
  }

  dynamic "global_secondary_index" {
    for_each = try([each.value.index], [])
    content {
      name            = global_secondary_index.value.name
      hash_key        = global_secondary_index.value.hash
      projection_type = "ALL"
    }
  }

  dynamic "ttl" {
    for_each = try([each.value.ttl], [])
    content {
      attribute_name = ttl.value
      enabled        = true
    }
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  # An emptied table loses what accounts earned. To remove an installation, take this out in a copy of
  # the module.
  lifecycle {
    prevent_destroy = true
  }
}
