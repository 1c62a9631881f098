"""An app without routes: one line proposes patterns from the paths that were asked for, and holds no id or secret."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streaming_dd.output import notices
from streaming_dd.requests.routes import Routes, compile_pattern
from streaming_dd.requests.routes.proposal import ENOUGH, proposed, shape

PATHS = [f"/stream/reports/export/{number}" for number in range(12)]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the path itself."""


def ask(routes: Routes, paths: list[str]) -> list[str]:
    scope = {"type": "http", "method": "GET", "headers": []}
    return [routes.template(dict(scope), path, "") for path in paths]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "streaming_dd"]


def test_the_tenth_request_makes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The line has the setting as it is to be written; nothing is said before, and nothing after."""
    routes = Routes(bare)
    with caplog.at_level(logging.WARNING, "streaming_dd"):
        ask(routes, ["/", *PATHS[: ENOUGH - 2]])
        assert not said(caplog)
        assert set(ask(routes, PATHS)) == {"unmatched"}
        notices.reset()  # a minute later
        ask(routes, PATHS)
    (line,) = said(caplog)
    assert "STREAMING_ROUTE_PATTERNS=/,/stream/reports/export/:id (" in line


def test_what_is_proposed_can_be_set() -> None:
    """With the proposal as the setting every one of the paths has a template."""
    paths = [*PATHS, *(f"/u/{name}/orders" for name in ("ann", "bob", "cy", "dee", "eve")), "/health"]
    patterns = proposed([shape(path) for path in paths])
    assert patterns == ["/stream/reports/export/:id", "/u/:id/orders", "/health"]
    assert "unmatched" not in ask(Routes(bare, tuple(patterns)), paths)


@pytest.mark.parametrize("app", [Starlette(routes=[Route("/", lambda request: PlainTextResponse(""))])])
def test_an_app_with_routes_is_not_told(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What a router does not know is a wrong path, no missing pattern; nor is it for who has set patterns."""
    with caplog.at_level(logging.WARNING, "streaming_dd"):
        ask(Routes(app), PATHS)
        ask(Routes(bare, ("/other",)), PATHS)
        noting = Routes(bare)
        for path in PATHS:  # Django told us that its resolver does not know it
            noting.template({"type": "http", "root_path": ""}, path, "", "unmatched")
        ask(noting, PATHS)
    assert not said(caplog)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9",
        "3f0e1c2a-1111-2222-3333-123456789abc",
        "0123456789abcdef",
        "a b",
        "x\ny",
        "ü",
        "12",
    ],
)
def test_ids_and_what_is_no_plain_word_are_left_out(secret: str) -> None:
    """Numbers, hashes, tokens and other characters become `:id`."""
    assert shape(f"/reset/{secret}/now") == ("reset", ":id", "now")


@given(st.lists(st.text(max_size=200).map(lambda text: "/" + text), min_size=1, max_size=30))
def test_any_path_gives_patterns_of_bounded_size(paths: list[str]) -> None:
    """Whatever is asked for: at most eight patterns, printable, without a comma, and each can be compiled."""
    patterns = proposed(list(dict.fromkeys(shape(path) for path in paths)))
    assert 1 <= len(patterns) <= 8
    for pattern in patterns:
        assert pattern.isprintable()
        assert "," not in pattern
        assert len(pattern) < 300
        compile_pattern(pattern)
