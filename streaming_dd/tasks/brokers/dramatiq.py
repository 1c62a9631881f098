"""dramatiq's messages, by a middleware; the carrier goes in the message's options. No state but that of its `Queued`."""

from __future__ import annotations

import threading
import time
from typing import Any

from .queued import KEY, Boards, Queued, names_of, waits_anew


def instrument(broker: Any, boards: Boards) -> None:
    """Add the middleware to a broker, unless it has it."""
    from dramatiq.middleware import Middleware

    if any(type(one).__module__ == __name__ for one in broker.middleware):
        return
    queued = Queued("dramatiq", boards)
    fresh = threading.local()

    class DatadogTasks(Middleware):
        """Tells of a broker's messages."""

        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            # A message that is put off is enqueued twice, the second time by the worker; a retry once more.
            fresh.message_id = None
            if message.options.get("retries", 0) == 0 and KEY not in message.options:
                message.options[KEY] = queued.carrier_of(*_names(message), message.message_id)
                fresh.message_id = message.message_id
            # Else it waits since it came out of the queue of those that are put off, or is new.
            if delay is not None:
                message.options[KEY] = waits_anew(message.options.get(KEY), time.time() + delay / 1000)

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            if getattr(fresh, "message_id", None) == message.message_id:
                fresh.message_id = None
                queued.count_enqueued(_queue(message))

        def before_process_message(self, broker: Any, message: Any) -> None:
            queued.started(
                message.message_id,
                *_names(message),
                _queue(message),
                message.message_id,
                carrier=message.options.get(KEY),
                attempt=message.options.get("retries", 0) + 1,
            )

        def after_process_message(
            self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
        ) -> None:
            queued.ended(
                message.message_id, "completed" if exception is None else "failed", exception, result
            )

        def after_skip_message(self, broker: Any, message: Any) -> None:
            queued.ended(message.message_id, "cancelled")

    broker.add_middleware(DatadogTasks())


def _names(message: Any) -> tuple[str, str]:
    app, model = names_of(message.actor_name)
    return (_queue(message), model) if app == "app" else (app, model)


def _queue(message: Any) -> str:
    """Return the queue of a message, also while it waits in the one for those that are put off."""
    return str(message.queue_name).removesuffix(".DQ")
