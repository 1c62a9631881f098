"""A Django site for the tests, configured once per process, and a look at what the middleware counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django_site import Null, hide, set_up, show

from streaming_dd import catalog, recorder
from streaming_dd.output import notices
from streaming_dd.output.metrics import Counter


def pytest_configure() -> None:
    """Configure Django before the test modules import anything of it."""
    set_up()


def pytest_collection_finish() -> None:
    """Hide Django from the tests of other folders."""
    hide()


@pytest.fixture(autouse=True, scope="module")
def _django_is_configured() -> Iterator[None]:
    show()
    yield
    hide()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Forget the recorder and what was said."""
    notices.reset()
    yield
    recorder.reset()
    notices.reset()


@pytest.fixture
def counted() -> Callable[[], dict[tuple[str, str], int]]:
    """Record metrics only; the function returns how many requests were counted by (route, status)."""
    recorder.configure(sender=Null(), tracing_enabled=False, logs_enabled=False)

    def count() -> dict[tuple[str, str], int]:
        found = recorder.get()
        found.traffic.settle()
        counts = {}
        for handle in found.metrics.handles():
            if handle.metric is catalog.HTTP_REQUESTS and isinstance(handle, Counter):
                tags = dict(handle.tags)
                counts[tags["route"], tags["status"]] = int(handle.total)
        return counts

    return count
