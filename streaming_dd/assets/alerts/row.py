"""What a row of the table of monitors is, and the queries that several rows share. No state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..options import Options
from ..queries import Queries

APP = ("env", "service")
KIND = ("env", "service", "app", "model")
ROUTE = ("env", "service", "route")

Missing = Literal["default", "resolve", "show_and_notify_no_data"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A row: a monitor on metrics."""

    title: str
    area: str
    #: The dashboard that shows more.
    dashboard: str
    priority: int
    query: Callable[[Queries, Options], str]
    means: str
    #: The same in one sentence without values: what a list of monitors says of it.
    about: str
    first: tuple[str, ...]
    missing: Missing
    unit: str = ""
    comparator: str = ">"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    #: Search for the traces behind it, beside env and service; "" is all of them.
    traces: str = "status:error"


def share(
    part: Callable[[Queries], str], whole: Callable[[Queries], str], minimum: str
) -> Callable[..., str]:
    """Ask for a part in percent of a whole and a constant: pure arithmetic, which Datadog evaluates after adding up."""

    def query(q: Queries, options: Options) -> str:
        return f"sum(last_10m):{part(q)} / ({whole(q)} + {options.threshold(minimum)}) * 100"

    return query


def slow(query: str, window: str) -> str:
    """Aggregate a p95 in time: of a distribution exactly, else as the mean of the highest that the Agents worked out."""
    return f"percentile(last_{window}):{query}" if query.startswith("p") else f"avg(last_{window}):{query}"
