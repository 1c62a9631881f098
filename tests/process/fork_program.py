"""Fork while another thread is in the middle of its first use of the package; every child uses it too, and must end.

`python fork_program.py USE MODULE` forks where the import of MODULE begins in the thread (of `MODULE+`: where it has ended),
and lets the thread go on a moment later; `python fork_program.py USE SECONDS SEED` forks at random moments of the first
SECONDS. Prints "ended" if every child has ended well.
"""

from __future__ import annotations

import faulthandler
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import streaming_dd as dd

#: Seconds that a child may take before it is told to say where it waits.
PATIENCE = 100.0


def use(how: str) -> None:
    if how == "increment":
        dd.increment(dd.Metric("fork.rows", "count", "row", (), "Rows."))
    elif how == "timer":
        with dd.timer(dd.Metric("fork.render", "timer", "millisecond", (), "Rendering.")):
            pass
    elif how == "configure":
        dd.configure(service="forks")
    elif how == "instrument":
        dd.instrument(app)
    elif how == "middleware":
        from streaming_dd.middleware import DatadogMiddleware

        DatadogMiddleware(app)
        dd.recorder.get()
    elif how == "logs":
        import logging

        dd.logs.configure(stdout=False)
        logging.getLogger("fork").warning("a line")
    else:
        raise AssertionError(how)


async def app(scope: Any, receive: Any, send: Any) -> None:
    pass


def fork(use: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    try:
        use()
    except BaseException:  # noqa: BLE001 - a child that goes on would be a second parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class Hold(MetaPathFinder, Loader):
    """Stop the thread where the import of a module begins (`module`) or has ended (`module+`), until it may go on."""

    def __init__(self, point: str) -> None:
        self.point = point
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.inner: Any = None
        self.busy = False

    def stop(self, point: str) -> None:
        if point == self.point:
            self.reached.set()
            self.go_on.wait(PATIENCE)

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if self.busy or name != self.point.strip("+"):
            return None
        self.stop(name)
        self.busy = True
        try:
            spec = find_spec(name)
        finally:
            self.busy = False
        assert spec is not None
        self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        self.stop(module.__name__ + "+")


def at_point(how: str, point: str) -> list[int]:
    hold = Hold(point)
    sys.meta_path.insert(0, hold)
    thread = threading.Thread(target=use, args=(how,), daemon=True)
    thread.start()
    assert hold.reached.wait(PATIENCE), f"{point} is not imported"
    threading.Timer(0.2, hold.go_on.set).start()  # while the fork waits
    children = [fork(lambda: use(how))]
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return children


def at_random(how: str, seconds: float, seed: int) -> list[int]:
    chance = random.Random(seed)
    moments = sorted(chance.uniform(0, seconds) for _ in range(5))
    began = time.monotonic()
    thread = threading.Thread(target=use, args=(how,), daemon=True)
    thread.start()
    children = []
    for moment in moments:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        children.append(fork(lambda: use(how)))
    thread.join(PATIENCE)
    assert not thread.is_alive()
    return children


def main() -> None:
    how, *rest = sys.argv[1:]
    if rest[0][0].isdigit():
        children = at_random(how, float(rest[0]), int(rest[1]))
    else:
        children = at_point(how, rest[0])
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print("ended" if not any(ended) else f"ended badly: {ended}", flush=True)  # noqa: T201
    os._exit(any(ended))


main()
