"""Any object as a task's name, id, error, final value or event type: the application sees nothing, all else arrives."""

from __future__ import annotations

import asyncio
import decimal
import fractions
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_dd import timers


class Fault(Exception):
    """What the objects of these tests raise."""


class Raises:
    """An object whose every special method raises."""

    def _raise(self, *args: Any) -> Any:
        raise Fault

    __str__ = __repr__ = __hash__ = __eq__ = __len__ = __iter__ = __bool__ = __int__ = __float__ = _raise  # type: ignore[assignment]
    __format__ = __index__ = __contains__ = __getitem__ = __lt__ = _raise  # type: ignore[assignment]


class RaisesAttributes(Raises):
    """An object that raises at every attribute, too."""

    def __getattr__(self, name: str) -> Any:
        raise Fault


class Counts(list[int]):
    """A container of the application's own: it must not be measured, its code would run."""

    asked = 0

    def __len__(self) -> int:
        type(self).asked += 1
        return 1

    __repr__ = __str__ = lambda self: str(len(self))  # type: ignore[assignment]


class BadStr(str):
    def __str__(self) -> str:
        raise Fault

    __repr__ = __hash__ = __format__ = __str__  # type: ignore[assignment]


#: An exception whose class has no module: made where the globals have no name.
NoModule: Any = eval("type('NoModule', (Exception,), {})", {})


class Meta(type):
    """A class whose names cannot be read."""

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__"):
            raise Fault
        return super().__getattribute__(name)


class BadError(Exception):
    def __str__(self) -> str:
        raise Fault

    __repr__ = __str__


def odd_error() -> Exception:
    """An exception whose class has no name that could be read."""
    kind = Meta("Nameless", (Exception,), {})
    return kind()  # type: ignore[no-any-return]


ODD = st.one_of(
    st.builds(Raises),
    st.builds(RaisesAttributes),
    st.builds(BadStr),
    st.just(Raises),
    st.just(10**6000),
    st.just(-(10**400)),
    st.just(float("nan")),
    st.just(decimal.Decimal("sNaN")),
    st.just(fractions.Fraction(1, 3)),
    st.just(uuid.UUID(int=7)),
    st.binary(max_size=30),
    st.text(st.characters(codec=None), max_size=300),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)
VALUES = st.one_of(ODD, st.builds(Counts))
ERRORS = st.one_of(
    st.builds(NoModule),
    st.builds(BadError),
    st.builds(odd_error),
    st.builds(ValueError, ODD),
    st.builds(lambda error: ExceptionGroup("g", [error, ExceptionGroup("h", [error])]), st.builds(NoModule)),
)


class Row:
    def __init__(self, pk: Any, event_type: Any, value: Any, error: Exception | None) -> None:
        self.pk = pk
        self.event_type, self.value, self.error = event_type, value, error

    async def process(self) -> Any:
        await self.send_event(self.event_type, {})
        if self.error is not None:
            raise self.error
        return self.value

    async def send_event(self, event_type: Any, data: Any) -> None:
        await asyncio.sleep(0)


class Coordinator:
    async def start_task(self, task_instance: Any, app_name: Any, model_name: Any) -> Any:
        return await asyncio.create_task(self._run_task(task_instance, (app_name, model_name)))

    async def _run_task(self, task_instance: Any, task_key: Any) -> Any:
        return await task_instance.process()


class Books:
    """What one example added to a capture."""

    def __init__(self, captured: Any) -> None:
        self._captured = captured
        captured.spans.clear()
        captured.logs.clear()
        self._before = self._counts()

    def _counts(self) -> dict[str, float]:
        metrics = self._captured.metrics
        return {name: metrics.count(f"tasks.{name}") for name in ("started", "completed", "failed")}

    def assert_one(self, error: Exception | None) -> None:
        """One task was started, ended, traced and written about."""
        outcome = "completed" if error is None else "failed"
        added = {name: count - self._before[name] for name, count in self._counts().items()}
        assert added == {"started": 1, "completed": int(error is None), "failed": int(error is not None)}
        span = self._captured.spans.one("task.run")
        assert span.tags["task.status"] == outcome
        assert span.error == int(error is not None)
        self._captured.logs.one(fields={"task.status": outcome})
        assert Counts.asked == 0


async def assert_same(awaitable: Any, value: Any, error: Exception | None) -> None:
    """What comes out is what the task returned or raised, the very object."""
    try:
        found = await awaitable
    except Exception as raised:  # noqa: BLE001 - whatever the example has
        assert raised is error  # noqa: PT017 - pytest.raises would look at its text
    else:
        assert error is None
        assert found is value


@pytest.mark.slow
def test_a_coordinators_task_of_any_objects(capture: Any) -> None:
    """Whatever a row and its coordinator hold: value and error pass through, and the task is started, ended and traced."""
    with capture() as captured:
        coordinator = timers.instrument(Coordinator())

        @settings(max_examples=60)
        @given(pk=ODD, app=ODD, event_type=ODD, value=VALUES, error=st.one_of(st.none(), ERRORS))
        def check(pk: Any, app: Any, event_type: Any, value: Any, error: Exception | None) -> None:
            books = Books(captured)
            row = Row(pk, event_type, value, error)
            asyncio.run(assert_same(coordinator.start_task(row, app, app), value, error))
            books.assert_one(error)

        check()


@pytest.mark.slow
def test_a_task_function_of_any_objects(capture: Any) -> None:
    """The same for @timers.task."""
    with capture() as captured:

        @settings(max_examples=60)
        @given(task_id=ODD, value=VALUES, error=st.one_of(st.none(), ERRORS))
        def check(task_id: Any, value: Any, error: Exception | None) -> None:
            @timers.task("reports.export", id="key")
            async def export(key: Any) -> Any:
                await asyncio.sleep(0)
                if error is not None:
                    raise error
                return value

            books = Books(captured)
            asyncio.run(assert_same(export(task_id), value, error))
            books.assert_one(error)

        check()
