"""Monitors on tasks, their queues and their coordinators. No state."""

from __future__ import annotations

from collections.abc import Mapping

from ... import catalog as c
from .row import APP, KIND, Alert, share

ALERTS: Mapping[str, Alert] = {
    "task-error-rate": Alert(
        title="Tasks fail too often",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=2,
        query=share(
            lambda q: q.count(c.TASKS_FAILED, KIND),
            lambda q: f"{q.count(c.TASKS_FAILED, KIND)} + {q.count(c.TASKS_COMPLETED, KIND)}",
            "task-error-rate.minimum",
        ),
        unit="%",
        # Counters send zeros while idle, so missing data means a gone app, which `no-data` reports.
        missing="default",
        about="Tells that tasks of a kind fail too often, over ten minutes; a few successes are assumed, so that "
        "one failure among a few tasks wakes nobody up.",
        means="With {task-error-rate.minimum} successes added to those that ended in the last 10 minutes, the failed tasks "
        "{{model.name}} ({{app.name}}) make up {value}. So one failure among a few tasks stays calm; the share without "
        "the addition, which is higher, is in the chart *Error rate by model*.",
        first=(
            "Open *Streaming: tasks*, chart *Failed by error*: is it one error type or many?",
            "Open a failed trace of `task.run` there; its log lines and stack are beside it.",
            "Compare with the last deployment: group by `version`.",
        ),
        traces="operation_name:task.run status:error",
    ),
    "task-duration": Alert(
        title="Tasks take much longer than a week ago",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=4,
        query=lambda q, options: (
            f"pct_change(avg(last_1h),last_1w):{q.timer(c.TASK_DURATION, 'p95', KIND, outcome='completed')}"
        ),
        unit="%",
        # A kind of task that did not run has not become slower: resolve.
        missing="resolve",
        about="Compares the 95th percentile of each kind of task with the same hour of last week, completed tasks "
        "only.",
        means="The 95th percentile of the duration of {{model.name}} ({{app.name}}), point by point and averaged over the "
        "last hour, is {value} above the same hour of last week. Only completed tasks are looked at.",
        first=(
            "Open *Streaming: tasks*, group *Time*: CPU, queue or waiting?",
            "More queue time: too many tasks at once, see *Streaming: capacity*.",
            "More waiting: follow a slow trace to the database or the service it waits for.",
        ),
        traces="operation_name:task.run",
    ),
    "tasks-stalled": Alert(
        title="Tasks hang",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=2,
        comparator=">=",
        query=lambda q, options: f"min(last_5m):{q.gauge(c.TASKS_STALLED, by=KIND)}",
        unit="tasks",
        # The gauge is sent while tasks run; nothing running is nothing stalled.
        missing="resolve",
        about="Tells that running tasks are too old, or have sent nothing for too long, for five minutes on end.",
        means="Of {{model.name}} ({{app.name}}) {value} have been too old, or silent for too long, for 5 minutes on end.",
        first=(
            "Look at the log lines `task stalled`: they carry the task's id and the line of code where it waits.",
            "If they all wait for the same service, look at that service.",
            "Cancel one by its id and see whether it ends: a task that swallows cancellation is a defect.",
        ),
        traces="operation_name:task.run",
    ),
    "tasks-not-completing": Alert(
        title="Tasks run but none completes",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=2,
        comparator=">=",
        # One completion anywhere in the window makes the minimum 0; without any, it is the least number of tasks that
        # were active. (A composite of "some are active" and "none completes" shows one half red all day.)
        query=lambda q, options: (
            f"min(last_30m):clamp_min({q.gauge(c.TASKS_ACTIVE, by=APP)} - "
            f"{q.rate(c.TASKS_COMPLETED, APP)} * 1000000000, 0)"
        ),
        unit="tasks",
        missing="resolve",
        about="Tells that tasks have been active for half an hour and none of them completed.",
        means="In {{service.name}} at least {value} were active for 30 minutes on end, and none completed.",
        first=(
            "Open *Streaming: tasks*: failed, cancelled or hanging?",
            "Hanging: chart *Stalls by reason*, then the log lines `task stalled`.",
            "If your tasks usually take longer than 30 minutes, widen this monitor's window.",
        ),
        traces="operation_name:task.run",
    ),
    "tasks-wait": Alert(
        title="Tasks wait too long in their queue",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=3,
        # Every process that has to do with the queue tells the same of it.
        query=lambda q, options: (
            f"min(last_5m):{q.gauge(c.QUEUE_OLDEST, 'max', by=('env', 'service', 'broker', 'queue'))}"
        ),
        unit="s",
        missing="resolve",
        about="Tracks how long the oldest task of a queue has waited: its workers stand still, or cannot keep up.",
        means="The oldest task of the queue {{queue.name}} ({{broker.name}}) has waited for {value}.",
        first=(
            "Do its workers run? Open *Streaming: tasks*, group *Queues and coordinators*: does anything of the queue end?",
            "They run and it grows: more tasks come than they can do; start more workers, or look for what became slow.",
            "They stand still: look for one long task, or a service that they all wait for.",
        ),
        traces="operation_name:task.run",
    ),
    "tasks-twice": Alert(
        title="The same task runs twice",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=3,
        comparator=">=",
        query=lambda q, options: f"min(last_5m):{q.gauge(c.TASKS_TWICE, by=APP)}",
        unit="tasks",
        missing="resolve",
        about="Tells that two tasks of the same object have run beside each other for five minutes on end.",
        means="In {{service.name}} {value} have run for 5 minutes on end beside another task of the same object.",
        first=(
            "Open `/stats`: which tasks of one model have the same id?",
            "Look at what the coordinator makes its key of: two spellings of a name or an id are two keys.",
        ),
        traces="operation_name:task.run",
    ),
    "tasks-lost": Alert(
        title="Tasks were lost with a killed worker",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=2,
        comparator=">=",
        query=lambda q, options: f"sum(last_10m):{q.count(c.TASKS_LOST, KIND)}",
        unit="tasks",
        # Counters send zeros while idle, so missing data means a gone app, which `no-data` reports.
        missing="default",
        about="Tells that a worker was killed while tasks ran in it: they have neither ended nor failed.",
        means="{value} of {{model.name}} ({{app.name}}) ran in workers that were killed in the last 10 minutes, and "
        "were neither completed nor failed: whoever waits for them waits for ever.",
        first=(
            "Search the log lines `was killed`: they name the worker and its tasks.",
            "Did the kernel run out of memory? Look at *Memory* in *Streaming: capacity* just before, and at `dmesg`.",
            "Was it a deployment? Then the server was given less time than its tasks need: docs/shutdown.md.",
        ),
        traces="operation_name:task.run",
    ),
    "coordinator-locks": Alert(
        title="A coordinator does not give its locks back",
        area="tasks",
        dashboard="Streaming: tasks",
        priority=4,
        query=lambda q, options: f"min(last_1h):{q.gauge(c.COORDINATOR_LOCKS, 'max', by=APP)}",
        unit="locks",
        missing="resolve",
        about="Tells that a coordinator keeps a lock for each key that anybody ever asked for.",
        means="A worker of {{service.name}} keeps {value}: one for each key that anybody ever asked for.",
        first=(
            "Compare with *Active* in *Streaming: tasks*: locks of tasks that ended, or never were, are a leak.",
            "Look for requests with ids that do not exist: each may leave a lock behind.",
        ),
        traces="operation_name:task.run",
    ),
}
