"""taskiq's tasks, by a middleware; the carrier goes in the message's labels. No state but that of its `Queued`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from .queued import KEY, Boards, Queued, names_of, waits_anew


def instrument(broker: Any, boards: Boards) -> None:
    """Add the middleware to a broker, unless it has it."""
    from taskiq import TaskiqMiddleware

    if any(type(one).__module__ == __name__ for one in broker.middlewares):
        return
    queued = Queued("taskiq", boards)

    class DatadogTasks(TaskiqMiddleware):
        """Tells of a broker's tasks."""

        def pre_send(self, message: Any) -> Any:
            if _is_first(message):
                carrier = queued.carrier_of(*_names(message), message.task_id)
                if carrier is not None:
                    message.labels[KEY] = json.dumps(carrier)
            else:  # a retry waits since it was put into the queue, too
                message.labels[KEY] = json.dumps(waits_anew(_carrier(message)))
            return message

        def post_send(self, message: Any) -> None:
            if _is_first(message):
                queued.count_enqueued(_queue(message))

        def pre_execute(self, message: Any) -> Any:
            queued.started(
                _key(message),
                *_names(message),
                _queue(message),
                message.task_id,
                carrier=_carrier(message),
                attempt=int(message.labels.get("_retries") or 0) + 1,
            )
            return message

        def post_execute(self, message: Any, result: Any) -> None:
            error = result.error if result.is_err else None
            queued.ended(
                _key(message), "failed" if result.is_err else "completed", error, result.return_value
            )

    broker.add_middlewares(DatadogTasks())


def _key(message: Any) -> object:
    """Return what tells a run from that of its retry, which has the same id and may begin before this one has ended."""
    return message.task_id, asyncio.current_task()


def _names(message: Any) -> tuple[str, str]:
    return names_of(message.task_name.replace(":", "."))


def _queue(message: Any) -> object:
    return message.labels.get("queue_name", "default")


def _carrier(message: Any) -> Any:
    try:
        return json.loads(message.labels.get(KEY, "{}"))
    except (TypeError, ValueError):
        return None


def _is_first(message: Any) -> bool:
    """Whether a message is that of a task's first attempt."""
    return int(message.labels.get("_retries") or 0) == 0
