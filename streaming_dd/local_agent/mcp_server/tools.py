"""The questions a coding agent can ask: each a read-only tool over the agent's API. No state.

A docstring here is what a model reads to choose a tool, an annotation what it may pass.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from . import answers
from .answers import Agent, Answer

Range = Annotated[str, Field(description="how far back, as 5m, 1h, 24h", pattern=r"^\d{1,6}[smhd]$")]
Limit = Annotated[int, Field(description="entries at most", ge=1, le=200)]
Query = Annotated[
    str, Field(description='Datadog\'s search, as: service:web status:error @duration:>1s "timed out"', max_length=2000)
]  # fmt: skip
Tool = Callable[..., Awaitable[Answer]]

SPAN = ("span_id", "parent_id", "service", "name", "resource", "error")
MAX_SERVICES = 20


def tools(agent: Agent) -> list[Tool]:
    """Return the tools, bound to an agent."""

    def bounded(answer: Answer) -> Answer:
        return answers.bounded(answer, agent.mask)

    async def health() -> Answer:
        """What runs and arrives: services, rates, what is kept, problems of the local agent itself. Ask this first."""
        overview, health = await agent.get("overview"), await agent.get("health")
        names = ("services", "environments", "rates", "received", "kept", "listening")
        return bounded({**_only(overview, names), "problems": health["problems"], "page": agent.address})

    async def slowest(
        kind: Literal["routes", "tasks"] = "routes", range: Range = "15m", limit: Limit = 10
    ) -> Answer:
        """The slowest routes (resources of services, by p95) or kinds of task, with counts and error rates; seconds."""
        if kind == "tasks":
            return bounded({"tasks": _kinds((await agent.get("tasks", limit=3000))["tasks"])[:limit]})
        services = (await agent.get("services", range=range))["services"]
        rows: list[Answer] = []
        for service in sorted({row["service"] for row in services})[:MAX_SERVICES]:
            rows += (await agent.get("services", range=range, service=service))["services"]
        rows.sort(key=lambda row: -(row["p95"] or 0))
        return bounded({"routes": rows[:limit]})

    async def errors(query: Query = "", range: Range = "1h", limit: Limit = 10) -> Answer:
        """Exceptions by kind (type, place, operation): count, first and last seen, versions, one stack, traces, tasks."""
        found = await agent.get("errors", range=range, query=query)
        rows = [_without(row, ("counts", "step", "start", "loose_logs")) for row in found["errors"][:limit]]
        for row in rows:
            row["traces"] = [trace["trace_id"] for trace in row["traces"][:5]]
        return bounded({"errors": rows, "kinds": len(found["errors"])})

    async def traces(query: Query = "", range: Range = "15m", limit: Limit = 20) -> Answer:
        """Search traces; the newest entry spans that match, with ids for the tool `trace`."""
        found = await agent.get("traces", range=range, query=query, limit=limit)
        return bounded({"spans": [{"trace_id": span["trace_id"], **_span(span)} for span in found["spans"]]})

    async def trace(trace_id: str) -> Answer:
        """One trace: its spans with durations and attributes, its log lines, the traces that link to it."""
        if not re.fullmatch(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}", trace_id):
            raise ToolError("a trace id is 32 (or 16) hexadecimal digits")
        found = await agent.get(f"traces/{trace_id}")
        spans = [{**_span(span), "attributes": _plain(span["attributes"])} for span in found["spans"]]
        linked = [{"trace_id": span["trace_id"], **_span(span)} for span in found["linked_from"]]
        return bounded(
            {
                "trace_id": found["trace_id"],
                "spans": spans,
                "logs": _lines(found["logs"]),
                "linked_from": linked,
            }
        )

    async def logs(query: Query = "", range: Range = "15m", limit: Limit = 30) -> Answer:
        """Search log lines, newest first."""
        found = await agent.get("logs", range=range, query=query, limit=limit)
        return bounded({"logs": _lines(found["logs"])})

    async def tasks(state: Literal["all", "running", "failed", "cancelled", "completed", "lost"] = "all",
                    limit: Limit = 30) -> Answer:  # fmt: skip
        """Tasks that run or have run: who, since when, how long, where it waits, how it ended; seconds."""
        found = await agent.get("tasks", limit=3000)
        rows = [task for task in found["tasks"] if state in ("all", task["state"])]
        return bounded({"now": found["now"], "tasks": rows[:limit], "matching": len(rows)})

    async def monitors(name: str = "") -> Answer:
        """States of all monitors, worst first; of one `name` also why: its query in words, groups, last readings."""
        if name:
            if not re.fullmatch(r"[\w.-]{1,200}", name):
                raise ToolError("a monitor's name is that of its file, as the answer without a name lists it")
            found = await agent.get(f"monitors/{name}")
            shown = (
                "name",
                "title",
                "state",
                "since",
                "query",
                "words",
                "thresholds",
                "groups",
                "preview",
                "problem",
            )
            return bounded(_only(found, shown))
        order = {"Alert": 0, "Warn": 1, "No Data": 2}
        rows = sorted((await agent.get("monitors"))["monitors"], key=lambda row: order.get(row["state"], 3))
        return bounded(
            {
                "monitors": [
                    _only(row, ("name", "title", "state", "since", "query", "problem")) for row in rows
                ]
            }
        )

    async def capacity(range: Range = "1h") -> Answer:
        """What is measured for planning: tasks a second, durations, concurrency, CPU and memory per task."""
        return bounded(await agent.get("capacity", range=range))

    return [health, slowest, errors, traces, trace, logs, tasks, monitors, capacity]


def _only(found: Answer, names: Iterable[str]) -> Answer:
    return {name: found[name] for name in names if name in found}


def _without(found: Answer, names: Iterable[str]) -> Answer:
    return {name: value for name, value in found.items() if name not in names}


def _plain(attributes: Answer) -> Answer:
    """Return attributes without those that only tracers read."""
    return {key: value for key, value in attributes.items() if not key.startswith("_")}


def _span(span: Answer) -> Answer:
    return {**_only(span, SPAN), "start": span["start_ns"] / 1e9, "seconds": span["duration_ns"] / 1e9}


def _lines(logs: list[Answer]) -> list[Answer]:
    """Return log lines as a model needs them: what is in columns is not said again."""
    shown = ("timestamp", "status", "service", "message", "trace_id", "attributes")
    return [{name: log[name] for name in shown if log.get(name)} for log in logs]


def _kinds(tasks: list[Answer]) -> list[Answer]:
    """Return one row per kind of task, slowest first: how many, the median and longest duration, how it ended."""
    kinds: dict[tuple[str, str, str], list[Answer]] = {}
    for task in tasks:
        kinds.setdefault((task["service"], task["app"], task["model"]), []).append(task)
    rows = []
    for (service, app, model), seen in kinds.items():
        took = sorted(task["duration"] for task in seen if task["duration"] is not None)
        ends = {
            state: sum(task["state"] == state for task in seen) for state in {task["state"] for task in seen}
        }
        rows.append(
            {
                "service": service, "app": app, "model": model, "seen": len(seen), "states": ends,
                "median": took[len(took) // 2] if took else None, "longest": took[-1] if took else None,
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: -(row["longest"] or 0))
