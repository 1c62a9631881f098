"""`/v1.0/traces`: strings that are sent once, typed attributes, ids in bytes.

The format is that of datadog-agent's pkg/proto/pbgo/trace/idx.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent.intake import spans, traces, traces_v1
from streaming_dd.local_agent.intake.spans import Span, SpanLink

TRACE = bytes.fromhex("6b0485c200000000ffffffffffffffff")
START = 1_700_000_000 * 10**9


class Writer:
    """Writes strings as the format does: in full where they are first used, then as their number."""

    def __init__(self) -> None:
        self._numbers = {"": 0}

    def __call__(self, text: str) -> str | int:
        if text in self._numbers:
            return self._numbers[text]
        self._numbers[text] = len(self._numbers)
        return text


def payload() -> bytes:
    """Write a payload that uses every field."""
    s = Writer()
    return msgspec.msgpack.encode(
        {
            3: s("go"), 7: s("prod"), 9: s("1.2"), 10: [s("_dd.apm_mode"), 1, s("edge")],
            11: [
                {
                    1: 2, 2: s("synthetics"), 3: [s("chunk"), 4, 7], 6: TRACE, 7: 4,
                    4: [
                        {
                            1: s("web"), 2: s("web.request"), 3: s("GET /"), 4: 2**64 - 1, 5: 0, 6: START, 7: 5, 8: True,
                            9: [
                                s("text"), 1, s("web"), s("yes"), 2, True, s("half"), 3, 0.5, s("whole"), 4, -3,
                                s("struct"), 5, b"\x80",
                                s("list"), 6, [1, s("a"), 4, 1, 2, False],
                                s("map"), 7, [s("k"), 1, s("v"), s("n"), 6, [4, 2]],
                            ],
                            10: s("web"),
                            11: [{1: TRACE[::-1], 2: 7, 3: [s("link.kind"), 1, s("submitted"), s("at"), 4, 1], 4: s("s:1")}],
                            12: [{1: START, 2: s("exception"), 3: [s("line"), 4, 3, s("all"), 6, [1, s("x"), 2, True]]}],
                            13: s("dev"), 14: s(""), 15: s("net/http"), 16: 2,
                        },
                        {1: s("web"), 2: s("child"), 3: s("x"), 4: 3, 5: 2**64 - 1, 6: START, 7: 1},
                    ],
                },
                {1: -1, 6: TRACE, 4: [{1: s("web"), 2: s("web.request"), 3: s("GET /"), 4: 9}]},
            ],
        }
    )  # fmt: skip


def test_every_field_arrives() -> None:
    """Texts and what is no number are tags, numbers metrics; what a payload or a chunk says is so for its spans."""
    (first, second), (third,) = traces_v1.chunks(payload())
    assert first == Span(
        TRACE.hex(), str(2**64 - 1), "0", "web.request", "GET /", "web", "web", START, 5, 1,
        {
            "text": "web", "yes": "true", "list": "[a,1,false]", "map": "{k=v,n=[2]}", "env": "dev", "version": "1.2",
            "component": "net/http", "span.kind": "server", "_dd.p.dm": "-4", "_dd.origin": "synthetics",
            "_dd.apm_mode": "edge",
        },
        {"half": 0.5, "whole": -3.0, "chunk": 7.0, "_sampling_priority_v1": 2.0},
        [SpanLink(TRACE[::-1].hex(), "7", {"link.kind": "submitted", "at": "1"})],
        [{"time_unix_nano": START, "name": "exception", "attributes": {"line": 3, "all": ["x", True]}}],
    )  # fmt: skip
    assert (second.trace_id, second.parent_id, second.error) == (first.trace_id, first.span_id, 0)
    assert (second.meta["env"], second.meta["version"]) == ("prod", "1.2")
    assert (third.name, third.resource, third.metrics["_sampling_priority_v1"]) == (
        "web.request",
        "GET /",
        -1.0,
    )


def test_another_reader_finds_the_same() -> None:
    """Datadog's own test agent reads the same names, ids and times out of the payload."""
    theirs = pytest.importorskip("ddapm_test_agent.trace").decode_v1(payload())
    ours = list(traces_v1.chunks(payload()))
    for chunk, same in zip(ours, theirs, strict=True):
        for span, other in zip(chunk, same, strict=True):
            assert (span.name, span.resource, span.service) == (
                other["name"],
                other["resource"],
                other["service"],
            )
            assert int(span.span_id) == other["span_id"]
            assert int(span.trace_id[16:], 16) == other["trace_id"]
            assert span.start_ns == other.get("start", 0)
            assert {**other["meta"], **span.meta}.keys() >= {"env", "version"}


def test_strings_may_be_sent_ahead() -> None:
    """A table of strings may come first; what follows counts on from it."""
    chunk = {6: TRACE, 4: [{1: 1, 2: 2, 3: "new", 4: 1}, {1: 3, 2: 0, 4: 2}]}
    ((first, second),) = traces_v1.chunks(msgspec.msgpack.encode({1: ["", "web", "op"], 11: [chunk]}))
    assert (first.service, first.name, first.resource) == ("web", "op", "new")
    assert (second.service, second.name) == ("new", "")


@pytest.mark.parametrize(
    "fields",
    [
        {11: [{4: [{1: 5}]}]},
        {11: [{4: [{1: -1}]}]},
        {11: [{6: b"short", 4: []}]},
        {11: [{4: [{9: ["a", 1]}]}]},
        {11: [{4: [{9: ["a", 9, 1]}]}]},
        {11: [{4: [{9: ["a", 6, [1]]}]}]},
        {11: [{4: [{8: 1}]}]},
        {11: 3},
        {"chunks": []},
        [],
    ],
)
def test_what_is_no_payload_is_refused(fields: object) -> None:
    """A string that was never sent, half an attribute, an unknown kind, a short trace id: 400, with the version named."""
    with pytest.raises(ValueError, match=r"v1\.0"):
        list(traces_v1.chunks(msgspec.msgpack.encode(fields)))


@pytest.mark.parametrize(
    ("bound", "body"),
    [
        ("MAX_SPANS", {11: [{4: [{}] * 2}] * 2}),
        ("MAX_ENTRIES", {11: [{4: [{9: ["a", 4, 1, "b", 4, 2]}]}]}),
    ],
)
def test_bounds_hold_for_the_whole_payload(monkeypatch: Any, bound: str, body: object) -> None:
    """Spans and attributes are counted over all chunks."""
    monkeypatch.setattr(spans, bound, 3)
    with pytest.raises(spans.TooMuch):
        list(traces_v1.chunks(msgspec.msgpack.encode(body)))


def test_depth_is_bounded() -> None:
    """Arrays in arrays end at ten."""
    value: list[Any] = []
    for _ in range(12):
        value = [6, value]
    with pytest.raises(spans.TooMuch):
        list(traces_v1.chunks(msgspec.msgpack.encode({11: [{4: [{9: ["a", 6, value]}]}]})))


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_raise_value_error(body: bytes) -> None:
    """No body makes the decoder fail in another way."""
    with suppress(ValueError):
        list(traces_v1.chunks(body))


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 20) | st.text(max_size=3) | st.binary(max_size=16),
        lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.integers(1, 16), inner, max_size=8),
    )
)
def test_any_structure_decodes_or_raises_value_error(content: Any) -> None:
    """Payloads that are nearly right are refused or read, too."""
    with suppress(ValueError):
        list(traces_v1.chunks(msgspec.msgpack.encode({11: [content], 10: content})))


def test_json_is_taken_as_by_the_agent() -> None:
    """v0.3 and v0.4 may be JSON; a body that is neither is refused."""
    body = b'[[{"trace_id": 1, "span_id": 2, "name": "a", "service": "b", "start": 5, "duration": 1, "meta": {"k": "v"}}]]'
    for version in ("v0.3", "v0.4"):
        ((span,),) = traces.decode(version, body)
        assert (span.name, span.meta) == ("a", {"k": "v"})
    with pytest.raises(ValueError, match=r"v0\.4"):
        traces.decode("v0.4", b"[[{]]")
