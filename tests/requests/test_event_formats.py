"""Which bytes are an event: tables from the rules, and the same sum for any split into pieces."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.requests.streams.event_formats import (
    JSON_ARRAY,
    SERVER_SENT_EVENTS,
    UNKNOWN,
    JsonLines,
    JsonSequence,
    Parts,
    Unknown,
    format_of,
)
from streaming_dd.requests.streams.position import Position
from streaming_dd.requests.streams.server_sent_events import ServerSentEvents


def read(kind: Any, *pieces: bytes) -> dict[str, int]:
    """All events of a stream that is sent in these pieces."""
    at = Position()
    counts: dict[str, int] = {}
    for piece in pieces:
        for name, count in kind.read(at, piece).items():
            counts[name] = counts.get(name, 0) + count
    unfinished = kind.end(at)
    return {**counts, "end": unfinished} if unfinished else counts


SSE = [
    (b"", {}),
    (b"data: 1\n\n", {"message": 1}),
    (b"data:1\n\n", {"message": 1}),
    (b"data\n\n", {"message": 1}),  # an empty event is dispatched
    (b"data:\n\n", {"message": 1}),
    (b"data\n\ndata\ndata\n\ndata:", {"message": 2}),  # the rules' own example
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", {"message": 1}),
    (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event", {"message": 2}),
    (b": ping\n\n", {}),
    (b":\n\n:\n\n", {}),
    (b": ping\ndata: 1\n\n", {"message": 1}),
    (b"retry: 3000\n\n", {}),
    (b"id: 7\n\n", {}),
    (b"id: 7\nretry: 1\n\ndata: 1\n\n", {"message": 1}),
    (b"event: add\n\n", {}),  # a type without data is dropped
    (b"event: add\n\ndata: 1\n\n", {"message": 1}),  # and does not reach the next block
    (b"event: add\ndata: 1\n\n", {"add": 1}),
    (b"event:add\ndata: 1\n\n", {"add": 1}),
    (b"event:  add\ndata: 1\n\n", {" add": 1}),  # one space is taken off
    (b"event:\ndata: 1\n\n", {"message": 1}),
    (b"event\ndata: 1\n\n", {"message": 1}),
    (b"data: 1\nevent: late\n\n", {"late": 1}),
    (b"event: a\nevent: b\ndata: 1\n\n", {"b": 1}),
    (b"id: 1\nevent: a\ndata: 1\n\nid: 2\nevent: b\ndata: 2\n\n", {"a": 1, "b": 1}),
    (b"event: a\nid: 1\ndata: 1\n\n", {"a": 1}),
    (b"event: a\ndata: 1\n\nevent: a\ndata: 2\n\ndata: 3\n\n", {"a": 2, "message": 1}),
    (b"event: a\n: comment\ndata: 1\n\n", {"a": 1}),
    (b"data: 1\r\n\r\ndata: 2\r\n\r\n", {"message": 2}),
    (b"data: 1\r\rdata: 2\r\r", {"message": 2}),
    (b"data: 1\r\n\ndata: 2\n\r\n", {"message": 2}),
    (b"data: 1\n\r\n", {"message": 1}),
    (b"data: 1\n\n\n\ndata: 2\n\n\n", {"message": 2}),
    (b"\n\n\ndata: 1\n\n", {"message": 1}),
    (b"data: 1\n", {}),  # unfinished
    (b"\xef\xbb\xbfdata: 1\n\n", {"message": 1}),  # one mark of the byte order is taken off
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", {}),
    (b"data: \xef\xbb\xbf\n\n", {"message": 1}),
    (b"dat: 1\n\ndatas: 2\n\n data: 3\n\n", {}),
    (b"Data: 1\n\n", {}),
    (b"data: event: a\n\n", {"message": 1}),
    (b"eventually: x\ndata: 1\n\n", {"message": 1}),
    (b"event: a\ndataset: 1\n\n", {}),
    (b"data: [DONE]\n\n", {"message": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("data", "counts"), SSE)
def test_the_rules_of_server_sent_events(data: bytes, counts: dict[str, int]) -> None:
    """Whole, byte by byte, and in two pieces cut anywhere, the events are those that a browser dispatches."""
    assert read(SERVER_SENT_EVENTS, data) == counts
    assert read(SERVER_SENT_EVENTS, *(data[i : i + 1] for i in range(len(data)))) == counts
    for cut in range(len(data)):
        assert read(SERVER_SENT_EVENTS, data[:cut], data[cut:]) == counts


def browser(data: bytes) -> dict[str, int]:
    """The rules, as they are written, for a stream that is there as a whole."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    counts: dict[str, int] = {}
    buffer, kind = "", ""
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if buffer:
                counts[kind or "message"] = counts.get(kind or "message", 0) + 1
            buffer, kind = "", ""
        elif name == "data":
            buffer += value + "\n"
        elif name == "event":
            kind = value
    return counts


LINES = st.sampled_from(
    [b"data: 1", b"data:", b"data", b"event: a", b"event:b", b"event", b": ping", b":", b"id: 1", b"retry: 5",
     b"", b"", b"", b"x", b"datax: 1", b"data: event: z", b"\xef\xbb\xbfdata: 1"]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.lists(st.integers(0, 300), max_size=8))
def test_any_split_of_a_stream_gives_the_events_of_a_browser(
    lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    """However a stream is cut into chunks, its events and their types are the same."""
    data = b"".join(line + end for line, end in lines)
    assert read(SERVER_SENT_EVENTS, *pieces_of(data, cuts)) == browser(data)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_no_bytes_are_too_strange(data: bytes, cuts: list[int]) -> None:
    """Whatever an application sends, every format counts it, the same in pieces as at once, and keeps little."""
    for kind in (SERVER_SENT_EVENTS, JsonLines(), JsonSequence(), Parts(b"b"), JSON_ARRAY, UNKNOWN):
        assert read(kind, *pieces_of(data, cuts)) == read(kind, data)


def test_a_long_line_is_not_kept() -> None:
    """An event of a megabyte that comes in pieces costs a few hundred bytes of memory, and is one event."""
    at = Position()
    SERVER_SENT_EVENTS.read(at, b"data: ")
    for _ in range(100):
        assert SERVER_SENT_EVENTS.read(at, b"x" * 10_000) == {}
    assert len(at.line) < 500
    assert SERVER_SENT_EVENTS.read(at, b"\n\n") == {"message": 1}


def test_a_long_type_is_cut() -> None:
    """A type is a tag's value: bounded, and valid text whatever the bytes are."""
    ((name, count),) = read(SERVER_SENT_EVENTS, b"event: " + b"\xff" * 1000 + b"\ndata: 1\n\n").items()
    assert (len(name), count) == (64, 1)


@pytest.mark.parametrize(
    ("pieces", "done"),
    [
        ([b"data: [DONE]\n\n"], True),
        ([b"data:[DONE]\n\n"], True),
        ([b"data: 1\n\ndata: [DO", b"NE]\n\n"], True),
        ([b"data: [DONE]\r\n\r\n"], True),
        ([b'data: "[DONE]"\n\n'], False),
        ([b": [DONE]\n\n"], False),
        ([b"data: 1\n\n"], False),
    ],
)
def test_the_mark_of_a_models_end_is_seen(pieces: list[bytes], done: bool) -> None:
    """`data: [DONE]` says that a model's answer is whole."""
    at = Position()
    for piece in pieces:
        SERVER_SENT_EVENTS.read(at, piece)
    assert at.done is done


JSON_LINES = [
    (b'{"a":1}\n{"a":2}\n', {"message": 2}),
    (b'{"a":1}\r\n\r\n{"a":2}\r\n', {"message": 2}),
    (b"\n\n \n\t\n", {}),  # keep-alives
    (b'{"a":1}\n{"a":2}', {"message": 1, "end": 1}),
    (b"1\n  ", {"message": 1}),
    (b"", {}),
]


@pytest.mark.parametrize(("data", "counts"), JSON_LINES)
def test_json_lines(data: bytes, counts: dict[str, int]) -> None:
    """A line that is not blank is an event, in any pieces; the last one needs no end."""
    for cut in range(len(data) + 1):
        assert read(JsonLines(), data[:cut], data[cut:]) == counts
    assert read(JsonLines(), *(data[i : i + 1] for i in range(len(data)))) == counts


PART = b"Content-Type: image/jpeg\r\n\r\n\xff\xd8--frame?\xff\xd9\r\n"
PARTS = [
    (b"--frame\r\n" + PART + b"--frame\r\n" + PART + b"--frame--\r\n", 2),
    (b"preamble\r\n--frame\r\n" + PART, 1),
    (b"--frame\n" + PART, 1),
    (b"--frame--\r\n", 0),
    (b"x--frame\r\n", 0),
]


@pytest.mark.parametrize(("data", "count"), PARTS)
def test_parts(data: bytes, count: int) -> None:
    """Each delimiter at the start of a line begins a part, the closing one none, wherever chunks end."""
    expected = {"message": count} if count else {}
    for cut in range(len(data) + 1):
        assert read(Parts(b"frame"), data[:cut], data[cut:]) == expected
    assert read(Parts(b"frame"), *(data[i : i + 1] for i in range(len(data)))) == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 1]), st.lists(st.integers(0, 200), max_size=6))
def test_a_json_array_in_pieces(values: list[Any], indent: int | None, cuts: list[int]) -> None:
    """Each element is an event, whatever its strings hold and wherever the chunks end."""
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    assert sum(read(JSON_ARRAY, *pieces_of(data, cuts)).values()) == len(values)


def test_other_json_has_no_elements() -> None:
    """An object that is sent in pieces has no events."""
    assert read(JSON_ARRAY, b' {"a": [1,2', b",3]}") == {}


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"text/event-stream", ServerSentEvents),
        (b"Text/Event-Stream; charset=utf-8", ServerSentEvents),
        (b"application/x-ndjson", JsonLines),
        (b"application/jsonl", JsonLines),
        (b"application/stream+json;charset=UTF-8", JsonLines),
        (b"application/json-seq", JsonSequence),
        (b"multipart/x-mixed-replace; boundary=frame", Parts),
        (b'multipart/x-mixed-replace;boundary="a b"', Parts),
        (b"multipart/x-mixed-replace", Unknown),
        (b"text/event-streams", None),
        (b"text/html", None),
        (b"", None),
    ],
)
def test_the_type_tells_the_format(content_type: bytes, expected: type | None) -> None:
    """A response of a streaming type is a stream from its first byte."""
    found = format_of(content_type)
    assert (found and type(found)) == expected
