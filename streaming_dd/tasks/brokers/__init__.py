"""Tasks that a broker carries to another process: Django's tasks, Celery, taskiq, dramatiq, arq, RQ.

`timers` and `streaming_dd.django` come in here; the way: an adapter (a file each, imported where its library is) tells
`queued` what was enqueued, started and ended. State: a `Queued` per adapter, with the runs that this process has in hand.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .queued import Boards

#: The base class of what is instrumented -> the adapter.
_ADAPTERS = {
    "arq.connections.ArqRedis": "arq",
    "arq.worker.Worker": "arq",
    "celery.app.base.Celery": "celery",
    "dramatiq.broker.Broker": "dramatiq",
    "rq.queue.Queue": "rq",
    "rq.worker.base.BaseWorker": "rq",
    "taskiq.abc.broker.AsyncBroker": "taskiq",
}


def instrument(thing: Any, boards: Boards) -> bool:
    """Have the tasks of a broker seen; False for what is no broker of those that are known."""
    for base in type(thing).__mro__:
        adapter = _ADAPTERS.get(f"{base.__module__}.{base.__qualname__}")
        if adapter is not None:
            import_module(f".{adapter}", __name__).instrument(thing, boards)
            return True
    return False
