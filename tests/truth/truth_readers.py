"""Reads each number where it is shown: the terminal, the endpoints, the agent's page and its dashboards, the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from truth_books import TOKEN, Workers

from examples.demo.view import View, Watch
from streaming_dd.assets.lint.dashboards import widgets
from streaming_dd.assets.rendering import render
from streaming_dd.assets.truth import Number, Shown
from streaming_dd.cli.capacity import Window, sources
from streaming_dd.local_agent import LocalAgent

Truth = float | tuple[float, float]
"""What really happened, or the bounds that are sure."""


def _last(points: list[float]) -> float:
    return points[-1]


#: Charts (by title or curve) of levels: their points are not added up.
LEVELS: dict[str, Callable[[list[float]], float]] = {
    "workers": _last,
    "Time until they are back": max,
    "Waiting by queue": max,
    "Age of the oldest by queue (s)": max,
}


class Readers:
    """Reads a number where it is shown; without `workers`, on the agent's page alone."""

    def __init__(
        self, agent: LocalAgent, since: float, workers: Workers | None = None, watch: Watch | None = None
    ) -> None:
        self.agent = agent
        self.since = since
        self.base = f"http://127.0.0.1:{agent.page_port}/api"
        #: Up to when is asked, at all places: what is read takes time on a busy machine.
        self.until = agent.holdings.clock()
        self.client = httpx.Client(timeout=120, trust_env=False)
        if workers is not None and watch is not None:
            self.urls = workers.urls
            self.view: View = watch.look()
            headers = {"authorization": f"Bearer {TOKEN}"}
            # Whichever worker is asked answers for all.
            self.stats = self.client.get(f"{self.urls[-1]}/stats", headers=headers).json()
            self.metrics = self.client.get(f"{self.urls[0]}/metrics").text
        self.dashboards = {asset.name: asset.document for asset in render() if asset.kind == "dashboard"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def read(self, place: Shown) -> float | None:
        """Return what is shown at a place."""
        readers: dict[str, Callable[[str], float | None]] = {
            "terminal": self._terminal,
            "/stats": lambda name: float(self.stats["totals"][name]),
            "/metrics": self._prometheus,
            "dashboard": self._dashboard,
            "SLO": self._slo,
            "monitor": self._monitor,
            "page": self._page,
            "capacity": self._capacity,
        }
        value = readers[place.where](place.what)
        return None if value is None else value * place.times

    def _terminal(self, what: str) -> float:
        name, _, part = what.partition(".")
        found: Any = getattr(self.view, name)
        if name == "tasks":
            return float(sum(getattr(row, part) for row in found))
        return float(found.get(part, 0) if part else found)

    def _prometheus(self, metric: str) -> float:
        wanted = metric.replace(".", "_") + "_total"
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics)
            for sample in family.samples
            if sample.name == wanted
        )

    def _range(self) -> dict[str, float]:
        return {"start": self.since, "end": self.until}

    def _ask(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        names = ("env", "service", "version", "app", "model")
        body = {
            **self._range(),
            "requests": [{"kind": kind, "request": request}],
            "variables": {name: {"key": name, "values": ["*"]} for name in names},
        }
        answer = self.client.post(f"{self.base}/query", json=body).raise_for_status().json()["results"][0]
        assert "error" not in answer, answer
        return dict(answer)

    def _dashboard(self, what: str) -> float | None:
        name, title, *curve = what.split(": ")
        found = [each for _, each in widgets(self.dashboards[name]) if each.get("title") == title]
        assert found, f"{name} has no widget {title!r}"
        request = found[0]["requests"][0]
        if request["response_format"] == "scalar":
            rows = self._ask("scalar", request)["rows"]
            return rows[0]["values"][0] if rows else None
        curves = self._ask("timeseries", request)["curves"]
        formulas = [each["formula"] for each in request["formulas"]]
        if curve:
            number = formulas.index(curve[0]) if curve[0] in formulas else None
            curves = [
                each
                for index, each in enumerate(curves)
                if (index == number if number is not None else curve[0] in each["group"].values())
            ]
        points = [value for each in curves for value in each["values"] if value is not None]
        if not points:
            return None
        how = LEVELS.get(title, LEVELS.get(curve[0] if curve else "", sum))
        return float(how(points))

    def _slo(self, name: str) -> float | None:
        slos = self.client.get(f"{self.base}/slos").json()["slos"]
        (slo,) = (each for each in slos if each["name"] == name)
        value: float | None = slo["statuses"][0]["indicator"]
        return value

    def groups(self, monitor: str) -> list[dict[str, Any]]:
        """Return the groups of a shipped monitor with their states."""
        return list(self.client.get(f"{self.base}/monitors/{monitor}").json()["groups"])

    def _monitor(self, name: str) -> float | None:
        groups = self.groups(name)
        return groups[0]["value"] if groups else None

    def _page(self, what: str) -> float | None:
        view, _, name = what.partition(": ")
        if view == "capacity":
            found = self.client.get(f"{self.base}/capacity", params=self._range()).json()[name]
            return found["value"] if isinstance(found, dict) else found
        if view == "tasks":
            tasks = self.client.get(f"{self.base}/tasks", params={"limit": 3000}).json()["tasks"]
            return float(sum(task["state"] == name for task in tasks))
        if view == "services":
            rows = self.client.get(f"{self.base}/services", params=self._range()).json()["services"]
            field, _, operations = name.rpartition(" of ")
            wanted = operations.split(" and ")
            return float(sum(row[field or "hits"] for row in rows if row["operation"] in wanted))
        return self._tile(name)

    def _tile(self, title: str) -> float | None:
        """Evaluate a tile of the overview: the page asks in the words of its own script."""
        asked = {
            "Request errors": (
                {
                    "a": "sum:streaming.http.errors{*}.as_count()",
                    "b": "sum:streaming.http.requests{*}.as_count()",
                },
                "default_zero(a) / b * 100",
                "sum",
            ),
            "Requests": ({"a": "sum:streaming.http.requests{*}.as_rate()"}, "a", "avg"),
            "p95 first byte": ({"a": "p95:streaming.http.time_to_first_byte{*}"}, "a", "percentile"),
        }
        queries, formula, aggregator = asked[title]
        request = {
            "response_format": "scalar",
            "queries": [
                {"data_source": "metrics", "name": name, "query": query, "aggregator": aggregator}
                for name, query in queries.items()
            ],
            "formulas": [{"formula": formula}],
        }
        rows = self._ask("scalar", request)["rows"]
        return rows[0]["values"][0] if rows else None

    def _capacity(self, what: str) -> float | None:
        field, _, of = what.partition(" of ")
        window: Window
        if of:
            now = self.agent.holdings.clock
            page = f"http://127.0.0.1:{self.agent.page_port}"
            window = sources.from_agent(page, now() - self.since + 1, now=now)
        else:
            window = sources.from_stats([f"{url}/stats" for url in self.urls], TOKEN, expect=len(self.urls))
        value: float | None = getattr(window, field)
        return value


def told(truth: Truth) -> str:
    return f"{truth[0]:.4g}..{truth[1]:.4g}" if isinstance(truth, tuple) else f"{truth:.4g}"


def shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def holds(number: Number, value: float | None, expected: Truth) -> bool:
    """Say whether what is shown is what happened, as near as the table promises."""
    if value is None:
        return False
    if isinstance(expected, tuple):
        low, high = expected
        return (
            low <= value <= high
            or value == pytest.approx(low, rel=1e-9)
            or value == pytest.approx(high, rel=1e-9)
        )
    return value == pytest.approx(expected, rel=number.within or 1e-9, abs=1e-9)
