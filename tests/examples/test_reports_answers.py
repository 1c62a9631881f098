"""Answers of a language model's form: what a real client saw, beside what was sent and counted."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from example_site import UVICORN, listening_socket, server
from test_reports_observed import observed, totals

from examples.reports.answers import PACE, THINKS, WORDS
from streaming_dd import catalog
from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process

ROUTE = "/v1/chat/completions"
#: Role, tokens, the reason for the end, `[DONE]`: events of a whole answer.
WHOLE = 1 + len(WORDS) + 1 + 1


@pytest.fixture
def agent() -> Iterator[LocalAgent]:
    """An agent of the test's own."""
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None).running() as running:
        yield running


class Reader:
    """A client of the real package, and what it saw: seconds to the first event and between events, texts, reason."""

    def __init__(self, url: str) -> None:
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
        self.began = math.inf

    def read(self, leave_after: int = 0, **asked: Any) -> dict[str, Any]:
        began = last = time.perf_counter()
        self.began = min(self.began, began)
        chunks: list[Any] = []
        times: list[float] = []
        with self.client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": "Who sold most?"}], stream=True, **asked
        ) as stream:
            for chunk in stream:
                times.append(time.perf_counter() - last)
                last = time.perf_counter()
                chunks.append(chunk)
                if len(chunks) == leave_after:
                    break
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
        return {
            "first": times[0],
            "between": times[1:],
            "chunks": len(chunks),
            "text": "".join(texts),
            "tokens": sum(1 for text in texts if text),
            "reason": chunks[-1].choices[0].finish_reason,
        }


def test_what_a_client_saw_is_what_was_counted(
    agent: LocalAgent, database: Path, prices: str, tmp_path: Path
) -> None:
    """First token, tokens, events, reasons and readers who gave up, by the `openai` package and by the agent."""
    with server(UVICORN, listening_socket(), observed(agent, database, prices), tmp_path / "log") as url:
        reader = Reader(url)
        answers = [reader.read(), reader.read(), reader.read(max_tokens=5)]
        left = reader.read(leave_after=3)
        reader.client.close()
    took = time.perf_counter() - reader.began
    assert [answer["reason"] for answer in answers] == ["stop", "stop", "length"]
    assert answers[0]["text"] == "".join(WORDS)
    assert [answer["tokens"] for answer in answers] == [len(WORDS), len(WORDS), 5]
    seen = totals(agent)
    assert seen.count(catalog.STREAMS_OPENED, route=ROUTE) == 4
    assert seen.count(catalog.STREAMS_CLOSED, route=ROUTE, outcome="completed") == 3
    assert seen.count(catalog.STREAMS_CLOSED, route=ROUTE, outcome="client_disconnect") == 1
    assert seen.count(catalog.STREAMS_FINISHED, reason="stop") == 2
    assert seen.count(catalog.STREAMS_FINISHED, reason="length") == 1
    # `[DONE]` is an event that the client does not show. Of the stream that was left, more may have been sent than read.
    whole = sum(answer["chunks"] + 1 for answer in answers)
    assert whole == 2 * WHOLE + 5 + 3
    assert whole + left["chunks"] <= seen.count(catalog.STREAM_EVENTS, route=ROUTE) < whole + WHOLE
    tokens = sum(answer["tokens"] for answer in answers)
    assert (
        tokens + left["tokens"] <= seen.count(catalog.STREAM_COUNTED, counted="tokens") < tokens + len(WORDS)
    )
    _in_time(agent, [*answers, left], took)


#: Milliseconds by which a sleep may seem too short: the loop's clock counts whole ones.
TICK = 1


def _in_time(agent: LocalAgent, seen: list[dict[str, Any]], took: float) -> None:
    """The server's times lie between what the example waits and what its clients waited, all of them in `took`."""
    first = _values(agent, catalog.STREAM_FIRST_EVENT)
    assert len(first) == len(seen)
    for value, answer in zip(first, seen, strict=True):
        assert THINKS * 1000 - TICK <= value <= answer["first"] * 1000
    between = sorted(_values(agent, catalog.STREAM_EVENT_INTERVAL))
    assert between
    assert between[-1] <= took * 1000
    median = between[len(between) // 2]
    assert PACE * 1000 * 0.9 <= median <= (max(max(answer["between"]) for answer in seen) + PACE) * 1000


def _values(agent: LocalAgent, metric: catalog.Metric) -> list[float]:
    name, route = metric.full_name("streaming"), f"route:{ROUTE}"
    return [
        value
        for sample in agent.received.metrics
        if sample.name == name and route in sample.tags
        for value in sample.values
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (b"{", "no JSON"),
        (b"[1]", "stream"),
        (b'{"messages": [{}]}', "stream"),
        (b'{"messages": [{}], "stream": true, "max_tokens": 0}', "max_tokens"),
    ],
)
def test_a_wrong_question_is_told_what_to_write(site: Any, asked: bytes, words: str) -> None:
    """400 with a sentence."""
    answer = site.client.post(f"{site.url}{ROUTE}", content=asked)
    assert (answer.status_code, words in answer.text) == (400, True)
