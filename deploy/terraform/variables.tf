variable "name" {
  description = "Of the function, and the beginning of all other names."
  type        = string
  default     = "usher"
}

variable "package" {
  description = "Path of the zip of what `make build-Usher` made."
  type        = string
}

variable "secret_arn" {
  description = "ARN of a Secrets Manager secret whose JSON has USHER_WEBHOOK_SECRETS and USHER_DATABASE_URL, and USHER_JWT_SECRET where access tokens are checked by it. Never a secret itself."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:secretsmanager:", var.secret_arn))
    error_message = "secret_arn must be the ARN of a secret in Secrets Manager."
  }
}

variable "secret_version" {
  description = "Version id of the secret. A new one takes a new deployment; so it is named here."
  type        = string

  validation {
    condition     = length(var.secret_version) >= 32
    error_message = "secret_version must be a version id, of 32 characters or more."
  }
}

variable "tokens_by_secret" {
  description = "Whether the secret has USHER_JWT_SECRET; otherwise Identity is asked."
  type        = bool
  default     = false
}

variable "identity_url" {
  description = "Such as https://your-site/.netlify/identity"
  type        = string
  default     = ""
}

variable "instance_id" {
  description = "The one Identity instance whose events are taken; empty for any."
  type        = string
  default     = ""
}

variable "allowed_origins" {
  description = "Sites whose pages may call the API, separated by commas."
  type        = string
  default     = ""
}

variable "subnet_ids" {
  description = "Where the database is reached from; empty for no VPC."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Of the function, in these subnets."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long the log is kept."
  type        = number
  default     = 30
}

variable "rejected_per_five_minutes" {
  description = "More rejected signatures than this are an alarm."
  type        = number
  default     = 20
}

variable "alarm_topic_arn" {
  description = "SNS topic that alarms go to; empty for none."
  type        = string
  default     = ""
}
