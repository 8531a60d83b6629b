resource "aws_cloudwatch_log_group" "usher" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  skip_destroy      = true # the log outlives the function
}

resource "aws_cloudwatch_log_metric_filter" "rejected_signatures" {
  name           = "${var.name}-rejected-signatures"
  log_group_name = aws_cloudwatch_log_group.usher.name
  pattern        = "{ $.event = \"signature.rejected\" }"

  metric_transformation {
    namespace = var.name
    name      = "RejectedSignatures"
    value     = "1"
  }
}

resource "aws_cloudwatch_log_metric_filter" "failures" {
  name           = "${var.name}-failures"
  log_group_name = aws_cloudwatch_log_group.usher.name
  pattern        = "{ ($.event = \"event.failed\") || ($.event = \"request.failed\") || ($.event = \"maintenance.failed\") }"

  metric_transformation {
    namespace = var.name
    name      = "Failures"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "many_rejected_signatures" {
  alarm_name          = "${var.name}-many-rejected-signatures"
  alarm_description   = "Events with bad signatures; a secret changed on one side, or a forger."
  namespace           = var.name
  metric_name         = "RejectedSignatures"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = var.rejected_per_five_minutes
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms
}

resource "aws_cloudwatch_metric_alarm" "any_failure" {
  alarm_name          = "${var.name}-any-failure"
  alarm_description   = "Something was answered 500 or 503; the log's request.failed says why."
  namespace           = var.name
  metric_name         = "Failures"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms
}

resource "aws_cloudwatch_metric_alarm" "any_crash" {
  alarm_name          = "${var.name}-any-crash"
  alarm_description   = "The function did not load, ran out of time, or its maintenance failed."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.usher.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarms
}
