"""Datadog's typed models made strict, and a local stand-in for its API that checks requests with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from streaming_dd.assets.documents import Asset, resolved

API_KEY = "a1b2c3d4e5f60718"
APP_KEY = "f0e1d2c3b4a59687"


def with_ids(asset: Asset) -> dict[str, Any]:
    """Fill in ids of the right form."""
    return resolved(
        asset.document,
        {(kind, name): 4711 if kind == "monitor" else "0" * 32 for kind, name in asset.references()},
    )


def model_complaints(kind: str, document: Any) -> list[str]:
    """List what Datadog's typed models refuse, unknown fields and words included."""
    return list(_complaints(kind, json.dumps(document)))


@lru_cache(maxsize=500)
def _complaints(kind: str, text: str) -> tuple[str, ...]:
    """Check a document once: the models take a third of a second for a dashboard."""
    from datadog_api_client.configuration import Configuration
    from datadog_api_client.exceptions import ApiTypeError, ApiValueError
    from datadog_api_client.model_utils import validate_and_convert_types
    from datadog_api_client.v1 import models

    model = {"dashboard": "Dashboard", "monitor": "Monitor", "slo": "ServiceLevelObjectiveRequest"}[kind]
    try:
        value = validate_and_convert_types(
            json.loads(text),
            (getattr(models, model),),
            ["document"],
            True,
            True,
            configuration=Configuration(),
        )
    except (ApiTypeError, ApiValueError, TypeError) as error:
        return (str(error).splitlines()[0],)
    return tuple(_unparsed(value, ""))


def _unparsed(value: Any, path: str) -> Iterator[str]:
    from datadog_api_client.model_utils import ModelNormal, ModelSimple, UnparsedObject

    if isinstance(value, UnparsedObject):
        yield f"{path}: matches no model"
    elif isinstance(value, ModelSimple):
        if value._unparsed:
            yield f"{path}: unknown value {value.value!r}"
    elif isinstance(value, ModelNormal):
        for name, item in value._data_store.items():
            if name not in value.attribute_map:
                yield f"{path}.{name}: unknown field"
            yield from _unparsed(item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unparsed(item, f"{path}[{index}]")


@dataclass
class Failure:
    """An answer to give instead of the right one, `times` times."""

    method: str
    path: str
    status: int
    body: Any = field(default_factory=lambda: {"errors": ["scripted"]})
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1


class StandIn:
    """The part of Datadog's API that `push` uses, in memory. `requests` holds (method, path, body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.failures: list[Failure] = []
        self.monitors: dict[int, dict[str, Any]] = {}
        self.slos: dict[str, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.metadata: dict[str, dict[str, Any]] = {}
        self.tag_configurations: dict[str, dict[str, Any]] = {}
        self.url = ""
        self._next = 1_000_000

    def writes(self) -> list[tuple[str, str]]:
        """List the requests that change something."""
        return [(method, path) for method, path, _ in self.requests if method != "GET"]

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: Any, headers: Any
    ) -> tuple[int, Any, dict[str, str]]:
        self.requests.append((method, path, body))
        for failure in self.failures:
            if failure.times and failure.method == method and re.fullmatch(failure.path, path):
                failure.times -= 1
                return failure.status, failure.body, failure.headers
        if headers.get("DD-API-KEY") != API_KEY:
            return 401, {"errors": ["Unauthorized"]}, {}
        if headers.get("DD-APPLICATION-KEY") != APP_KEY:
            return 403, {"errors": ["Forbidden"]}, {}
        for pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                return *handler(self, method, found.groups(), query, body), {}
        return 404, {"errors": ["no such path"]}, {}

    def id(self) -> int:
        self._next += 1
        return self._next


def _monitor(
    api: StandIn, method: str, ids: tuple[str, ...], query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    if method == "GET":
        tag = query["monitor_tags"][0]
        page, size = int(query["page"][0]), int(query["page_size"][0])
        found = [monitor for monitor in api.monitors.values() if tag in monitor["tags"]]
        return 200, found[page * size : (page + 1) * size]
    complaints = model_complaints("monitor", body)
    if complaints:
        return 400, {"errors": complaints}
    if method == "POST":
        for other in api.monitors.values():
            if all(other.get(key) == body.get(key) for key in ("name", "query", "message", "tags")):
                return 409, {"errors": [f"Duplicate of an existing monitor_id:{other['id']}"]}
        id = api.id()
    else:
        id = int(ids[0])
        if id not in api.monitors:
            return 404, {"errors": ["Monitor not found"]}
    api.monitors[id] = {
        **body,
        "id": id,
        "overall_state": "No Data",
        "created": "2026-01-01T00:00:00Z",
        "multi": True,
    }
    return 200, api.monitors[id]


def _slo(
    api: StandIn, method: str, ids: tuple[str, ...], query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    if method == "GET":
        tag, offset, limit = query["tags_query"][0], int(query["offset"][0]), int(query["limit"][0])
        return 200, {
            "data": [slo for slo in api.slos.values() if tag in slo["tags"]][offset : offset + limit]
        }
    complaints = model_complaints("slo", body)
    if complaints:
        return 400, {"errors": complaints}
    if any(monitor not in api.monitors for monitor in body.get("monitor_ids", [])):
        return 400, {"errors": ["monitor_ids: no such monitor"]}
    id = ids[0] if ids else f"{api.id():032x}"
    api.slos[id] = {
        **body,
        "id": id,
        "created_at": 1,
        "modified_at": 2,
        "creator": {"email": "a@example.com"},
    }
    return 200, {"data": [api.slos[id]], "error": None}


def _dashboard(
    api: StandIn, method: str, ids: tuple[str, ...], query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    if method == "GET" and not ids:
        keys = ("id", "title", "description", "layout_type")
        return 200, {"dashboards": [{key: each[key] for key in keys} for each in api.dashboards.values()]}
    if method == "GET":
        return 200, api.dashboards[ids[0]]
    complaints = model_complaints("dashboard", body)
    if complaints:
        return 400, {"errors": complaints}
    id = ids[0] if ids else f"abc-{api.id()}-xyz"
    widgets = [{**widget, "id": api.id()} for widget in body["widgets"]]
    api.dashboards[id] = {
        **body,
        "widgets": widgets,
        "id": id,
        "url": f"/dashboard/{id}",
        "author_handle": "a@example.com",
    }
    return 200, api.dashboards[id]


def _metadata(
    api: StandIn, method: str, ids: tuple[str, ...], query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    if ids[0] not in api.metadata:
        return 404, {"errors": ["Metric not found"]}
    if method == "PUT":
        api.metadata[ids[0]] |= body
    return 200, api.metadata[ids[0]]


def _tag_configuration(
    api: StandIn, method: str, ids: tuple[str, ...], query: dict[str, list[str]], body: Any
) -> tuple[int, Any]:
    there = api.tag_configurations.get(ids[0])
    if method == "GET" and there is None:
        return 404, {"errors": ["Not found"]}
    if method == "POST" and there is not None:
        return 409, {"errors": ["exists"]}
    if method != "GET":
        assert body["data"]["id"] == ids[0]
        api.tag_configurations[ids[0]] = {**(there or {}), **body["data"]["attributes"]}
    return 200, {"data": {"type": "manage_tags", "id": ids[0], "attributes": api.tag_configurations[ids[0]]}}


ROUTES: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
    (
        r"/api/v1/monitor(?:/(\d+))?",
        lambda api, m, ids, q, b: _monitor(api, m, tuple(filter(None, ids)), q, b),
    ),
    (r"/api/v1/slo(?:/(\w+))?", lambda api, m, ids, q, b: _slo(api, m, tuple(filter(None, ids)), q, b)),
    (
        r"/api/v1/dashboard(?:/([\w-]+))?",
        lambda api, m, ids, q, b: _dashboard(api, m, tuple(filter(None, ids)), q, b),
    ),
    (r"/api/v1/metrics/([\w.]+)", _metadata),
    (r"/api/v2/metrics/([\w.]+)/tags", _tag_configuration),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body; two would wait for the client's delayed acknowledgement

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        url = urlsplit(self.path)
        api: StandIn = self.server.api  # type: ignore[attr-defined]
        status, body, headers = api.answer(
            self.command, url.path, parse_qs(url.query), json.loads(raw) if raw else None, self.headers
        )
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *arguments: Any) -> None:
        pass
