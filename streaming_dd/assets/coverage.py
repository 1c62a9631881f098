"""The closed loop: what the assets ask for against what an application really sent. No state.

A dashboard that charts a name nobody emits looks like a healthy one. `compare` takes what was seen on the wire and
says what is asked but was not sent, and what is sent but used by nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import catalog as c
from .documents import Asset
from .lint.dashboards import widgets
from .lint.monitors import plain
from .options import Options
from .queries import HISTOGRAM_SUFFIXES
from .query_language import (
    In,
    MetricQuery,
    ServiceCheckMonitor,
    Tag,
    Term,
    parse_monitor,
    parse_query,
    parse_search,
    walk,
)

Json = dict[str, Any]

OCCASIONAL: dict[str, str] = {
    c.TASK_MEMORY.name: "only with the setting for tasks' memory",
    c.TASKS_STALLS.name: "only when a task stalls",
    c.TASKS_STALLED.name: "only when a task has stalled",
    c.STREAM_STALLS.name: "only when a stream stalls",
    c.LOOP_BLOCKED.name: "only when the event loop is held",
    c.COORDINATOR_LOCKS.name: "only with a coordinator that is instrumented",
    **{
        metric.name: "only with tasks that a broker carries"
        for metric in (
            c.QUEUE_ENQUEUED,
            c.QUEUE_ENDED,
            c.QUEUE_RETRIES,
            c.QUEUE_WAIT,
            c.QUEUE_DEPTH,
            c.QUEUE_OLDEST,
        )
    },
    c.HTTP_BACKGROUND.name: "only when an application works on after a response",
    c.STREAM_COUNTED.name: "only when an application counts on its streams",
    c.STREAMS_FINISHED.name: "only when an application says why a stream ends",
    c.STREAM_EVENTS_UNREAD.name: "only when an application goes on with a stream that nobody reads",
    c.STREAMS_RECONNECTS.name: "only when clients come back",
    c.STREAM_RECONNECT_GAP.name: "only when clients come back",
    c.STREAMS_ZOMBIES.name: "only when an application goes on with a stream that nobody reads",
    **{
        metric.name: "only with WebSockets"
        for metric in (
            c.WS_ACTIVE,
            c.WS_PEAK,
            c.WS_OPENED,
            c.WS_CLOSED,
            c.WS_RECEIVED,
            c.WS_SENT,
            c.WS_DURATION,
        )
    },
    c.WS_REQUEST.name: "only with WebSockets",
    c.CHANNELS_SENT.name: "only with layers of Channels",
    c.CHANNELS_DROPPED.name: "only when a channel of Channels is full",
}
"""What an application may well run without sending, and when it is sent."""

UNUSED: dict[str, str] = {}
"""Metrics of the catalogue that no asset asks for, each with the reason."""


@dataclass(frozen=True)
class Gap:
    """A name, or a tag of it, that is asked for and was not seen."""

    name: str
    tag: str
    asked_by: tuple[str, ...]
    occasional: str = ""

    def __str__(self) -> str:
        what = f"{self.name} with the tag {self.tag}" if self.tag else self.name
        why = f" ({self.occasional})" if self.occasional else ""
        return f"{what}{why}, asked by {', '.join(self.asked_by)}"


@dataclass
class Coverage:
    """The result of a comparison. `missing` must be empty; `occasional` is worth a look."""

    asked: dict[str, set[str]]
    sent: dict[str, set[str]]
    missing: list[Gap] = field(default_factory=list)
    occasional: list[Gap] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Write a line for each name: the tags that are asked for and those that are sent."""
        rows = [("name", "asked with", "sent with")]
        for name in sorted(self.asked.keys() | self.sent.keys()):
            rows.append((name, _tags(self.asked.get(name)), _tags(self.sent.get(name))))
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {d}".rstrip() for a, b, d in rows)


def compare(
    assets: Iterable[Asset],
    emitted: Mapping[str, Collection[str]],
    operations: Collection[str],
    checks: Collection[str],
    options: Options | None = None,
) -> Coverage:
    """Compare what `assets` ask for with what was seen.

    `emitted` maps metric names as sent by DogStatsD to the tag keys seen with them; `operations` are names of
    spans, `checks` names of service checks.
    """
    options = options or Options()
    asked = _asked(assets, options)
    sent: dict[str, set[str]] = {name: set() for name in (*checks, *operations)}
    sent |= {name: set(tags) for name, tags in emitted.items()}
    result = Coverage({name: {tag for tag in tags if tag} for name, tags in asked.items()}, sent)
    for name, tags in sorted(asked.items()):
        for tag, by in sorted(tags.items()):
            if name in sent and (not tag or tag in sent[name]):
                continue
            if tag and name not in sent:
                continue  # said once, for the name
            occasional = OCCASIONAL.get(name.removeprefix(f"{options.prefix}."), "")
            gap = Gap(name, tag, tuple(sorted(by)), occasional)
            (result.occasional if occasional else result.missing).append(gap)
    known = {f"{options.prefix}.{name}" for name in UNUSED}
    result.unused = sorted(name for name in emitted if name not in asked and name not in known)
    return result


def _asked(assets: Iterable[Asset], options: Options) -> dict[str, dict[str, set[str]]]:
    """Collect name -> tag key -> files; the tag "" stands for the name itself."""
    found: dict[str, dict[str, set[str]]] = {}
    bases = _bases(options)
    for asset in assets:
        for name, tags in _needs(asset):
            base = bases.get(name, name)
            if base.startswith("trace."):
                base, tags = base.removeprefix("trace.").removesuffix(".hits").removesuffix(".errors"), set()
            for tag in {"", *tags}:
                found.setdefault(base, {}).setdefault(tag, set()).add(asset.path)
    return found


def _bases(options: Options) -> dict[str, str]:
    """Map what the Agent makes of a timer (`.95percentile`) to the timer."""
    return {
        f"{metric.full_name(options.prefix)}.{suffix}": metric.full_name(options.prefix)
        for metric in c.METRICS
        if metric.kind in ("timer", "histogram")
        for suffix in HISTOGRAM_SUFFIXES.values()
    }


def _needs(asset: Asset) -> Iterator[tuple[str, set[str]]]:
    """Give (name, tag keys) of everything an asset asks for."""
    document = asset.document
    if asset.kind == "monitor":
        query = parse_monitor(plain(document["query"]), document["type"])
        if isinstance(query, ServiceCheckMonitor):
            yield query.check, set()
        yield from _metrics(query)
    elif asset.kind == "slo":
        texts = list(document.get("query", {}).values())
        texts += [each["query"] for each in _time_slice_queries(document)]
        for text in texts:
            yield from _metrics(parse_query(text))
    else:
        for _, definition in widgets(document):
            yield from _widget(definition)


def _time_slice_queries(document: Json) -> list[Json]:
    found: list[Json] = (
        document.get("sli_specification", {}).get("time_slice", {}).get("query", {}).get("queries", [])
    )
    return found


def _widget(definition: Json) -> Iterator[tuple[str, set[str]]]:
    for request in definition.get("requests", []):
        single = request.get("query", {})
        for query in [*request.get("queries", []), *([single] if "query" in single else [])]:
            yield from _metrics(parse_query(query["query"]))
        for node in walk(parse_search(single.get("query_string", ""))):
            if isinstance(node, Term) and node.key == "operation_name":
                yield node.value, set()


def _metrics(node: object) -> Iterator[tuple[str, set[str]]]:
    for query in walk(node):
        if isinstance(query, MetricQuery):
            keys = {each.key for each in walk(query.scope) if isinstance(each, Tag | In)}
            yield query.metric, {*query.by, *keys} - {"host"}  # which the Agent adds


def _tags(tags: Collection[str] | None) -> str:
    return "-" if tags is None else ",".join(sorted(tags)) or "yes"
