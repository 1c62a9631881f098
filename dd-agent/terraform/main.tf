# Made by `streaming-dd assets render`; do not edit. Keys come from DD_API_KEY and DD_APP_KEY, the site from DD_HOST.

terraform {
  required_providers {
    datadog = {
      source  = "DataDog/datadog"
      version = ">= 3.40"
    }
  }
}

resource "datadog_monitor_json" "request_error_rate" {
  monitor = file("${path.module}/../monitors/request-error-rate.json")
}

resource "datadog_monitor_json" "time_to_first_byte" {
  monitor = file("${path.module}/../monitors/time-to-first-byte.json")
}

resource "datadog_monitor_json" "task_error_rate" {
  monitor = file("${path.module}/../monitors/task-error-rate.json")
}

resource "datadog_monitor_json" "task_duration" {
  monitor = file("${path.module}/../monitors/task-duration.json")
}

resource "datadog_monitor_json" "tasks_stalled" {
  monitor = file("${path.module}/../monitors/tasks-stalled.json")
}

resource "datadog_monitor_json" "tasks_not_completing" {
  monitor = file("${path.module}/../monitors/tasks-not-completing.json")
}

resource "datadog_monitor_json" "tasks_wait" {
  monitor = file("${path.module}/../monitors/tasks-wait.json")
}

resource "datadog_monitor_json" "tasks_twice" {
  monitor = file("${path.module}/../monitors/tasks-twice.json")
}

resource "datadog_monitor_json" "tasks_lost" {
  monitor = file("${path.module}/../monitors/tasks-lost.json")
}

resource "datadog_monitor_json" "coordinator_locks" {
  monitor = file("${path.module}/../monitors/coordinator-locks.json")
}

resource "datadog_monitor_json" "client_disconnects" {
  monitor = file("${path.module}/../monitors/client-disconnects.json")
}

resource "datadog_monitor_json" "time_to_first_event" {
  monitor = file("${path.module}/../monitors/time-to-first-event.json")
}

resource "datadog_monitor_json" "streams_stall" {
  monitor = file("${path.module}/../monitors/streams-stall.json")
}

resource "datadog_monitor_json" "reconnect_storm" {
  monitor = file("${path.module}/../monitors/reconnect-storm.json")
}

resource "datadog_monitor_json" "loop_lag" {
  monitor = file("${path.module}/../monitors/loop-lag.json")
}

resource "datadog_monitor_json" "telemetry_dropped" {
  monitor = file("${path.module}/../monitors/telemetry-dropped.json")
}

resource "datadog_monitor_json" "log_lines_dropped" {
  monitor = file("${path.module}/../monitors/log-lines-dropped.json")
}

resource "datadog_monitor_json" "no_data" {
  monitor = file("${path.module}/../monitors/no-data.json")
}

resource "datadog_monitor_json" "health" {
  monitor = file("${path.module}/../monitors/health.json")
}

resource "datadog_monitor_json" "slo_task_success_burn_rate" {
  monitor = replace(file("${path.module}/../monitors/slo-task-success-burn-rate.json"), "$${slo:task-success}", datadog_service_level_objective.task_success.id)
}

resource "datadog_monitor_json" "slo_time_to_first_byte_budget" {
  monitor = replace(file("${path.module}/../monitors/slo-time-to-first-byte-budget.json"), "$${slo:time-to-first-byte}", datadog_service_level_objective.time_to_first_byte.id)
}

resource "datadog_service_level_objective" "task_success" {
  name        = "Tasks end well"
  type        = "metric"
  description = "Completed tasks among those that completed or failed. A cancelled task is neither."
  tags        = ["area:tasks", "managed-by:streaming-dd", "streaming-dd:task-success"]

  query {
    numerator   = "sum:streaming.tasks.completed{*}.as_count()"
    denominator = "sum:streaming.tasks.completed{*}.as_count() + sum:streaming.tasks.failed{*}.as_count()"
  }

  thresholds {
    timeframe = "7d"
    target    = 99
    warning   = 99.5
  }

  thresholds {
    timeframe = "30d"
    target    = 99
    warning   = 99.5
  }
}

resource "datadog_service_level_objective" "time_to_first_byte" {
  name        = "First byte in time"
  type        = "metric"
  description = "Responses whose body began in time, among all whose body began: two counters of the application, so every response counts once. In time is STREAMING_FIRST_BYTE_LIMIT, 1 second unless it is set."
  tags        = ["area:streams", "managed-by:streaming-dd", "streaming-dd:time-to-first-byte"]

  query {
    numerator   = "sum:streaming.http.first_bytes{in_time:true}.as_count()"
    denominator = "sum:streaming.http.first_bytes{*}.as_count()"
  }

  thresholds {
    timeframe = "7d"
    target    = 99
    warning   = 99.5
  }

  thresholds {
    timeframe = "30d"
    target    = 99
    warning   = 99.5
  }
}

resource "datadog_service_level_objective" "availability" {
  name        = "Available"
  type        = "monitor"
  description = "Time in which no health check of any worker is critical."
  tags        = ["area:health", "managed-by:streaming-dd", "streaming-dd:availability"]
  monitor_ids = [datadog_monitor_json.health.id]

  thresholds {
    timeframe = "7d"
    target    = 99.9
    warning   = 99.95
  }

  thresholds {
    timeframe = "30d"
    target    = 99.9
    warning   = 99.95
  }
}

resource "datadog_dashboard_json" "overview" {
  dashboard = replace(replace(replace(file("${path.module}/../dashboards/overview.json"), "$${monitor:task-error-rate}", datadog_monitor_json.task_error_rate.id), "$${slo:task-success}", datadog_service_level_objective.task_success.id), "$${slo:time-to-first-byte}", datadog_service_level_objective.time_to_first_byte.id)
}

resource "datadog_dashboard_json" "tasks" {
  dashboard = file("${path.module}/../dashboards/tasks.json")
}

resource "datadog_dashboard_json" "streams" {
  dashboard = file("${path.module}/../dashboards/streams.json")
}

resource "datadog_dashboard_json" "token_streams" {
  dashboard = file("${path.module}/../dashboards/token-streams.json")
}

resource "datadog_dashboard_json" "capacity" {
  dashboard = file("${path.module}/../dashboards/capacity.json")
}

resource "datadog_dashboard_json" "apm" {
  dashboard = file("${path.module}/../dashboards/apm.json")
}
