# Usher on AWS Lambda with Terraform or OpenTofu: what deploy/template.yaml makes with SAM.
# docs/deploy.md says how to use it. The state holds the secrets, since the function's environment
# is part of it: keep it in an encrypted backend that few may read.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.28" # from there on a function's URL gets both of the rights that it needs
    }
  }
}

data "aws_partition" "current" {}

data "aws_secretsmanager_secret_version" "settings" {
  secret_id  = var.secret_arn
  version_id = var.secret_version
}

locals {
  secret = jsondecode(data.aws_secretsmanager_secret_version.settings.secret_string)
  in_vpc = length(var.subnet_ids) > 0
  alarms = var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]
}

resource "aws_lambda_function" "usher" {
  function_name    = var.name
  role             = aws_iam_role.function.arn
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  handler          = "usher.aws_lambda.handler"
  runtime          = "python3.13"
  architectures    = ["x86_64"]
  memory_size      = 1024
  timeout          = 30 # Identity waits for 5 s; the rest is for maintenance
  publish          = true

  snap_start {
    apply_on = "PublishedVersions"
  }

  logging_config {
    log_format = "Text" # Usher's lines are JSON already
    log_group  = aws_cloudwatch_log_group.usher.name
  }

  environment {
    variables = merge(
      {
        USHER_WEBHOOK_SECRETS = local.secret["USHER_WEBHOOK_SECRETS"]
        USHER_DATABASE_URL    = local.secret["USHER_DATABASE_URL"]
        USHER_IDENTITY_URL    = var.identity_url
        USHER_INSTANCE_ID     = var.instance_id
        USHER_ALLOWED_ORIGINS = var.allowed_origins
        USHER_POLICY          = "policy.toml"
      },
      var.tokens_by_secret ? { USHER_JWT_SECRET = local.secret["USHER_JWT_SECRET"] } : {},
    )
  }

  dynamic "vpc_config" {
    for_each = local.in_vpc ? [1] : []
    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = var.security_group_ids
    }
  }

  depends_on = [aws_iam_role_policy.log, aws_iam_role_policy_attachment.vpc]
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.usher.function_name
  function_version = aws_lambda_function.usher.version
}

# Events bring their own signature, callers of the API their token.
resource "aws_lambda_function_url" "usher" {
  function_name      = aws_lambda_function.usher.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = "NONE"
}

resource "aws_iam_role" "function" {
  name = "${var.name}-function"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "log" {
  name = "write-its-log"
  role = aws_iam_role.function.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.usher.arn}:*"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "vpc" {
  count      = local.in_vpc ? 1 : 0
  role       = aws_iam_role.function.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"
}

# What a server does by itself. Pushes and handlers wait for it.
resource "aws_scheduler_schedule" "maintenance" {
  name                = "${var.name}-maintenance"
  schedule_expression = "rate(5 minutes)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_alias.live.arn
    role_arn = aws_iam_role.schedule.arn
    input    = jsonencode({ usher = "maintenance" })

    retry_policy {
      maximum_retry_attempts = 2
    }
  }
}

resource "aws_iam_role" "schedule" {
  name = "${var.name}-schedule"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "invoke" {
  name = "invoke-usher"
  role = aws_iam_role.schedule.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "lambda:InvokeFunction"
      Resource = aws_lambda_alias.live.arn
    }]
  })
}

output "hook_url" {
  description = "What Identity's outgoing webhook is pointed at"
  value       = "${aws_lambda_function_url.usher.function_url}.netlify/functions/identity"
}

output "api_url" {
  description = "The API"
  value       = "${aws_lambda_function_url.usher.function_url}api"
}
