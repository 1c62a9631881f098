"""Checks of queries against the catalogue: what is emitted, of which kind, with which tags. No state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from ... import catalog
from ...errors import QueryError
from ..options import Options
from ..queries import HISTOGRAM_SUFFIXES, TRACE_TAGS, UNIVERSAL, Queries
from ..query_language import (
    FUNCTIONS,
    Arithmetic,
    Call,
    Expression,
    In,
    MetricQuery,
    Reference,
    Tag,
    Term,
    Variable,
    parse_formula,
    parse_queries,
    parse_query,
    parse_search,
    walk,
)

Json = dict[str, Any]
Finding = tuple[str, str, str]
_NAME_IN = re.compile(r"\$([\w.\-]*)")
EVERYWHERE = {*UNIVERSAL, "host"}


@dataclass(frozen=True)
class Emitted:
    """A metric as it arrives: count, gauge or distribution, and its tag keys."""

    kind: str
    tags: frozenset[str]


@dataclass(frozen=True)
class Known:
    """What may be asked for. `strict`: nothing but our own."""

    options: Options
    strict: bool = True

    @cached_property
    def metrics(self) -> dict[str, Emitted]:
        """Every metric that arrives in Datadog, by its full name."""
        queries, found = Queries(self.options), {}
        for metric in catalog.METRICS:
            name, tags = queries.name(metric), frozenset((*metric.tags, *EVERYWHERE))
            if metric.kind in ("count", "gauge"):
                found[name] = Emitted(metric.kind, tags)
            elif queries.is_distribution(metric):
                found[name] = Emitted("distribution", tags)
            else:
                for statistic, suffix in HISTOGRAM_SUFFIXES.items():
                    found[f"{name}.{suffix}"] = Emitted("count" if statistic == "count" else "gauge", tags)
        return found | self._trace_metrics()

    @cached_property
    def operations(self) -> set[str]:
        """The span operations that the Agent makes metrics of."""
        return {each.name for each in catalog.SPAN_OPERATIONS if each.measured} | {
            self.options.request_operation
        }

    @cached_property
    def checks(self) -> set[str]:
        """The service checks, by their full names."""
        return {check.full_name(self.options.prefix) for check in catalog.SERVICE_CHECKS}

    def _trace_metrics(self) -> dict[str, Emitted]:
        tags = frozenset(TRACE_TAGS)
        found = {}
        for operation in self.operations:
            found[f"trace.{operation}"] = Emitted("distribution", tags)
            found[f"trace.{operation}.hits"] = Emitted("count", tags)
            found[f"trace.{operation}.errors"] = Emitted("count", tags)
        return found

    def ours(self, name: str) -> bool:
        """Say whether a metric must be in the catalogue."""
        return self.strict or name.startswith(
            (f"{self.options.prefix}.", *(f"trace.{each}" for each in self.operations))
        )


def check_queries(
    text: str, path: str, known: Known, *, variables: frozenset[str] | None = None
) -> Iterator[Finding]:
    """Check what a widget's `q` holds: several queries, with commas."""
    try:
        expressions = parse_queries(text)
    except QueryError as error:
        yield path, "query-syntax", str(error)
        return
    for expression in expressions:
        yield from check_expression(expression, path, known, variables=variables)


def check_query(
    text: str, path: str, known: Known, *, variables: frozenset[str] | None = None, must_count: bool = False
) -> Iterator[Finding]:
    """Check a metric query, or arithmetic over several. `variables`: those declared; None forbids any."""
    try:
        expression = parse_query(text)
    except QueryError as error:
        yield path, "query-syntax", str(error)
        return
    yield from check_expression(expression, path, known, variables=variables)
    if must_count:
        for query in metric_queries(expression):
            if query.kind != "count":
                yield path, "as-count", f"{query.metric}: an SLO counts events, write .as_count()"


def check_expression(
    expression: Expression, path: str, known: Known, *, variables: frozenset[str] | None = None
) -> Iterator[Finding]:
    """Check every node of an expression."""
    for node in walk(expression):
        if isinstance(node, Call):
            yield from _function(node, path)
        elif isinstance(node, MetricQuery):
            yield from _metric(node, path, known)
        elif isinstance(node, Variable):
            yield from _variable(node.name, path, variables)
        elif isinstance(node, Tag) and "$" in (node.value or ""):
            yield from _variable(_NAME_IN.findall(node.value or "")[0], path, variables)
        elif isinstance(node, Arithmetic):
            groups = {query.by for query in metric_queries(node) if query.by}
            if len({frozenset(by) for by in groups}) > 1:
                listed = " and ".join(sorted("{" + ",".join(by) + "}" for by in groups))
                yield path, "group-mismatch", f"arithmetic between queries grouped by {listed}"


def metric_queries(node: object) -> list[MetricQuery]:
    """List the metric queries below a node."""
    return [each for each in walk(node) if isinstance(each, MetricQuery)]


def check_request(
    request: Json, path: str, known: Known, *, variables: frozenset[str] | None = None
) -> Iterator[Finding]:
    """Check the queries and formulas of a widget's request."""
    names: set[str] = set()
    groups: dict[str, MetricQuery] = {}
    for index, query in enumerate(request.get("queries", [])):
        place = f"{path}.queries[{index}]"
        if query["name"] in names:
            yield f"{place}.name", "duplicate", f"the query {query['name']!r} stands twice"
        names.add(query["name"])
        if query["data_source"] == "metrics":
            yield from check_query(query["query"], f"{place}.query", known, variables=variables)
            yield from _aggregated_percentile(query, place)
            groups |= _grouped(query)
    used: set[str] = set()
    for index, formula in enumerate(request.get("formulas", [])):
        place = f"{path}.formulas[{index}].formula"
        try:
            expression = parse_formula(formula["formula"])
        except QueryError as error:
            yield place, "query-syntax", str(error)
            used = names
            continue
        references = {node.name for node in walk(expression) if isinstance(node, Reference)}
        used = used | references
        for name in sorted(references - names):
            near = get_close_matches(name, names, n=1)
            yield (
                place,
                "undefined-query",
                f"there is no query {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            )
        yield from _functions(expression, place)
        by = {frozenset(groups[name].by) for name in references if name in groups and groups[name].by}
        if len(by) > 1:
            yield (
                place,
                "group-mismatch",
                f"{formula['formula']!r} combines queries that are grouped differently",
            )
    if request.get("formulas"):
        for name in sorted(names - used):
            yield path, "unused-query", f"no formula uses the query {name!r}"


def check_search(
    text: str, path: str, known: Known, *, variables: frozenset[str] | None = None
) -> Iterator[Finding]:
    """Check a search over logs or spans."""
    try:
        search = parse_search(text)
    except QueryError as error:
        yield path, "query-syntax", str(error)
        return
    for node in walk(search):
        if isinstance(node, Variable):
            yield from _variable(node.name, path, variables)
        if (
            isinstance(node, Term)
            and node.key == "operation_name"
            and known.strict
            and node.value not in known.operations
        ):
            yield path, "unknown-operation", f"no span has the operation name {node.value!r}"


def _metric(query: MetricQuery, path: str, known: Known) -> Iterator[Finding]:
    emitted = known.metrics.get(query.metric)
    if emitted is None:
        if known.ours(query.metric):
            yield path, "unknown-metric", f"nothing emits {query.metric}{_suggestion(query.metric, known)}"
        return
    yield from _kind(query, emitted, path)
    asked = {*query.by, *(node.key for node in walk(query.scope) if isinstance(node, Tag | In))}
    rule = "trace-tag" if query.metric.startswith("trace.") else "tag-not-emitted"
    for key in sorted(asked - emitted.tags):
        yield path, rule, f"{query.metric} has no tag {key!r}: it has {', '.join(sorted(emitted.tags))}"


def _kind(query: MetricQuery, emitted: Emitted, path: str) -> Iterator[Finding]:
    name, aggregator = query.metric, query.aggregator
    if (aggregator.startswith("p") or aggregator == "histogram") and emitted.kind != "distribution":
        yield path, "wrong-kind", f"{aggregator} needs a distribution, {name} is a {emitted.kind}"
    if query.kind and emitted.kind == "gauge":
        yield path, "wrong-kind", f"{name} is a gauge, it cannot be read as_{query.kind}"
    if query.kind and emitted.kind == "distribution" and aggregator != "count":
        yield path, "wrong-kind", f"of the distribution {name} only 'count:' can be read as_{query.kind}"
    if query.kind == "count" and emitted.kind == "count" and aggregator != "sum":
        yield path, "as-count", f"{name}: as_count goes with sum:, not with {aggregator}:"


def _aggregated_percentile(query: Json, place: str) -> Iterator[Finding]:
    if query.get("aggregator") == "percentile" and not query["query"].startswith("p"):
        yield f"{place}.aggregator", "wrong-kind", "the aggregator percentile needs a query such as p95:..."


def _grouped(query: Json) -> dict[str, MetricQuery]:
    try:
        found = metric_queries(parse_query(query["query"]))
    except QueryError:
        return {}  # reported already
    return {query["name"]: found[0]} if found else {}


def _functions(expression: Expression, path: str) -> Iterator[Finding]:
    for node in walk(expression):
        if isinstance(node, Call):
            yield from _function(node, path)


def _function(call: Call, path: str) -> Iterator[Finding]:
    known = FUNCTIONS.get(call.function)
    if known is None:
        near = get_close_matches(call.function, FUNCTIONS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield path, "unknown-function", f"there is no function {call.function}(){hint}"
    elif not known[0] <= len(call.arguments) <= known[1]:
        takes = f"{known[0]}" if known[0] == known[1] else f"{known[0]} to {known[1]}"
        yield (
            path,
            "unknown-function",
            f"{call.function}() takes {takes} arguments, not {len(call.arguments)}",
        )


def _variable(text: str, path: str, declared: frozenset[str] | None) -> Iterator[Finding]:
    """Check what follows a `$`: a name may hold dots, and more text may follow it after one."""
    name = text.removesuffix(".value")
    if declared is None:
        yield path, "undeclared-variable", f"${name}: template variables exist on dashboards only"
    elif not any(text == each or text.startswith(f"{each}.") for each in declared):
        yield path, "undeclared-variable", f"${name} is not declared in template_variables"


def _suggestion(name: str, known: Known) -> str:
    same = sorted(
        full for full in known.metrics if full.startswith(f"{name}.") or name.startswith(f"{full}.")
    )
    near = same or get_close_matches(name, known.metrics, n=1)
    return f"; did you mean {near[0]}?" if near else ""
