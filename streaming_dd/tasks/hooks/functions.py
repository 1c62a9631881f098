"""Any coroutine function or async generator function as a task: what `timers.task` does. No state."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from ...errors import InstrumentError
from ..run import TaskRun
from .arguments import find_argument
from .wrapping import Boards, Mark, is_claimed, is_coroutine_function, mark, mark_of, note_double, passes_for

_HOW = "@timers.task"
#: Accepts a call as a task; None where it is part of one that was accepted before, or where we failed.
_Submit = Callable[[tuple[Any, ...], dict[str, Any]], TaskRun | None]


def as_task(
    function: Callable[..., Any], name: str | None, task_id: str | None, boards: Boards
) -> Callable[..., Any]:
    """Return `function` so that each call of it, or each iteration, is a task. Raises InstrumentError."""
    app, model = split_name(name) if name is not None else name_of(function)
    generates = inspect.isasyncgenfunction(function)
    if not generates and not is_coroutine_function(function):
        raise InstrumentError(
            f"@timers.task: {getattr(function, '__qualname__', function)!r} is neither a coroutine function nor an async "
            "generator function; time a plain function with @timers.timer(METRIC)"
        )
    find_id = find_argument(function, task_id, _HOW, "id") if task_id is not None else None
    before = mark_of(function)
    if before is not None:
        note_double(before, _HOW)
        return function
    made = Mark(_HOW, function)

    def submit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskRun | None:
        if is_claimed(made, args):
            return None
        board = boards()
        try:
            run = board.submit(app, model)
            run.made_by = made.call(args)
        except Exception as fault:  # noqa: BLE001 - the task runs, whatever fails here
            board.fault(fault)
            return None
        if find_id is not None:
            try:
                board.identify(run, find_id(args, kwargs))
            except Exception as fault:  # noqa: BLE001 - an attribute that raises: the task has no id, then
                board.fault(fault)
        return run

    return mark(_generator(function, submit) if generates else _coroutine(function, submit, boards), made)


def split_name(name: Any, how: str = _HOW) -> tuple[str, str]:
    """Return app and model of `app.model`. Raises InstrumentError."""
    app, dot, model = name.partition(".") if isinstance(name, str) else ("", "", "")
    if not dot or not app or not model:
        raise InstrumentError(f"{how}({name!r}): write 'app.model', such as 'reports.export'")
    return app, model


def name_of(function: Any) -> tuple[str, str]:
    """Return the app and model of a function: its top-level module, and its own name."""
    function = getattr(function, "__func__", function)
    module = str(getattr(function, "__module__", None) or "app")
    name = str(getattr(function, "__qualname__", None) or type(function).__qualname__)
    return module.partition(".")[0], name.replace("<locals>.", "")


def _coroutine(function: Callable[..., Any], submit: _Submit, boards: Boards) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine: Coroutine[Any, Any, Any] = function(*args, **kwargs)
        run = submit(args, kwargs)
        return boards().driven(run, coroutine) if run is not None else coroutine

    return passes_for(function, call)


class _NoRun:
    """Stands for the run of a generator that is part of another task."""

    def begin_detached(self) -> None:
        """Begin nothing."""

    async def step(self, awaitable: Any) -> Any:
        """Await one step."""
        return await awaitable

    def event(self, event_type: object) -> None:
        """Note nothing."""

    def conclude(self, error: BaseException | None) -> None:
        """End nothing."""


def _generator(function: Callable[..., Any], submit: _Submit) -> Callable[..., Any]:
    @functools.wraps(function)
    async def iterate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        run = submit(args, kwargs) or _NoRun()
        run.begin_detached()
        error: BaseException | None = None
        try:
            item = await run.step(generator.__anext__())
            while True:
                run.event("item")
                try:
                    sent = yield item
                except GeneratorExit:
                    await run.step(generator.aclose())
                    raise
                except BaseException as thrown:  # noqa: BLE001 - thrown in by the consumer, for the generator
                    item = await run.step(generator.athrow(thrown))
                else:
                    item = await run.step(generator.asend(sent))
        except StopAsyncIteration:
            return
        except BaseException as raised:
            error = raised
            raise
        finally:
            run.conclude(error)
            del error

    return iterate
