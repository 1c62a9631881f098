"""Log lines: Datadog's reserved attributes, plain text, and lines that want to be a problem."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent.intake import logs
from streaming_dd.local_agent.intake.sockets import LineSplitter

NOW = 1_700_000_000.5


def parse(**attributes: object) -> logs.Log:
    return logs.parse(json.dumps(attributes).encode(), now=NOW)


def test_line_of_this_package_is_understood() -> None:
    """Flat JSON with reserved names gives time, status, service, ids and all attributes."""
    line = {
        "timestamp": "2023-11-14T22:13:20.123456Z", "status": "error", "message": "no", "service": "web",
        "dd.trace_id": "6b0485c20000000003691dac390be835", "dd.span_id": "18446744073709551615", "ddsource": "python",
        "ddtags": "env:prod,team:data", "error.kind": "ValueError", "host": "web-1",
    }  # fmt: skip
    log = parse(**line)
    assert (log.timestamp, log.status, log.message) == (1_700_000_000.123456, "error", "no")
    assert (log.service, log.source, log.host, log.tags) == (
        "web",
        "python",
        "web-1",
        ("env:prod", "team:data"),
    )
    assert (log.trace_id, log.span_id) == ("6b0485c20000000003691dac390be835", "18446744073709551615")
    assert log.attributes == line


def test_plain_text_becomes_a_message_of_its_source() -> None:
    """What is no JSON object is the message, with the time of arrival and what the source says of it."""
    for text in ("Traceback (most recent call last):", "[1, 2]", '{"cut": ', "42"):
        log = logs.parse(text.encode(), now=NOW, service="web", source="python", tags=("a:1",))
        assert (log.message, log.status, log.timestamp) == (text, "info", NOW)
        assert (log.service, log.source, log.tags, log.attributes) == ("web", "python", ("a:1",), {})


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("INFO", "info"), ("Warning", "warn"), ("WARN", "warn"), ("error", "error"), ("ERR", "error"),
        ("CRITICAL", "critical"), ("fatal", "emergency"), ("EMERG", "emergency"), ("alert", "alert"), ("notice", "notice"),
        ("DEBUG", "debug"), ("trace", "debug"), ("verbose", "debug"), ("ok", "ok"), ("SUCCESS", "ok"), ("", "info"),
        ("strange", "ok"), ("exotic", "info"), ("0", "emergency"), ("3", "error"), ("8", "info"), (4, "warn"),
        (30, "info"), (True, "debug"), (None, "info"),
    ],
)  # fmt: skip
def test_level_becomes_datadogs_status(written: object, status: str) -> None:
    """Levels are told by their first letters, numbers 0 to 7 as Syslog's; everything else is info."""
    assert logs.status_of(written) == status


@pytest.mark.parametrize("key", ["status", "severity", "level"])
def test_status_is_found_under_its_names(key: str) -> None:
    """`status`, `severity` and `level` are read."""
    assert parse(message="m", **{key: "warn"}).status == "warn"


@pytest.mark.parametrize(
    ("key", "value", "timestamp"),
    [
        ("@timestamp", "2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("timestamp", "2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        ("date", "2023-11-14 22:13:20,250", 1_700_000_000.25),
        ("eventTime", 1_700_000_000_123, 1_700_000_000.123),
        ("timestamp", 1_700_000_000, NOW),
        ("timestamp", "yesterday", NOW),
        ("timestamp", True, NOW),
    ],
)
def test_date_is_iso_8601_or_unix_milliseconds(key: str, value: object, timestamp: float) -> None:
    """A date in another form is not understood by Datadog either: the time of arrival is taken."""
    assert parse(message="m", **{key: value}).timestamp == timestamp


@pytest.mark.parametrize(
    "attributes",
    [
        {"dd": {"trace_id": "255", "span_id": "7"}},
        {"dd.trace_id": "255", "dd.span_id": "7"},
        {"dd.trace_id": 255, "dd.span_id": 7},
        {"trace_id": "000000000000000000000000000000ff", "span_id": "0000000000000007"},
    ],
)
def test_trace_ids_are_found_in_every_form(attributes: dict[str, object]) -> None:
    """Nested or flat, decimal or OpenTelemetry's hexadecimal: the ids join the trace."""
    log = parse(message="m", **attributes)
    assert (log.trace_id, log.span_id) == (
        f"{255:032x}",
        "7" if "dd" in str(attributes) else "0000000000000007",
    )


def test_missing_or_zero_ids_are_no_ids() -> None:
    """ddtrace writes 0 where there is no span."""
    log = parse(**{"message": "m", "dd.trace_id": "0", "dd.span_id": "0"})
    assert (log.trace_id, log.span_id) == ("", "")


@given(st.binary(max_size=200))
def test_any_line_is_a_log(line: bytes) -> None:
    """No line is refused: at worst it is a message."""
    assert isinstance(logs.parse(line, now=NOW).message, str)


@given(st.lists(st.binary(max_size=30)), st.lists(st.integers(1, 20), min_size=1))
def test_lines_survive_any_cutting_of_the_stream(lines: list[bytes], sizes: list[int]) -> None:
    """However TCP cuts the stream, the same lines come out."""
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    stream, splitter, found = b"".join(line + b"\r\n" for line in lines), LineSplitter(1000), []
    position = 0
    while position < len(stream):
        size = sizes[position % len(sizes)]
        found += splitter.feed(stream[position : position + size])
        position += size
    assert found == [line.strip() for line in lines if line.strip()]
    assert splitter.flush() == []


def test_long_line_is_several_and_the_next_is_whole() -> None:
    """A line of 5 MB is marked wherever it was cut, memory stays bounded, and the next line is read."""
    splitter = LineSplitter(1000)
    found = []
    for _ in range(5 * 1024):
        found += splitter.feed(b"x" * 1024)
        assert len(splitter._buffer) <= 1000
    found += splitter.feed(b"tail\nnext\nrest")
    mark = b"...TRUNCATED..."
    assert found[0] == b"x" * 1000 + mark
    assert found[1] == mark + b"x" * 1000 + mark
    assert found[-2:] == [mark + b"x" * (5 * 1024 * 1024 % 1000) + b"tail", b"next"]
    assert b"".join(found[:-1]).replace(mark, b"") == b"x" * (5 * 1024 * 1024) + b"tail"
    assert splitter.cut == 1
    assert splitter.flush() == [b"rest"]


def test_time_is_written_in_utc() -> None:
    """Times are ISO 8601 with milliseconds and a Z."""
    assert logs.format_time(NOW) == "2023-11-14T22:13:20.500Z"
