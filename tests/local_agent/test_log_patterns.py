"""Log patterns: which lines are one row, and what it counts."""

from __future__ import annotations

from contextlib import closing

import pytest
from local_agent_helpers import START

from streaming_dd.assets.query_language import parse_search
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.queries.patterns import pattern, patterns
from streaming_dd.local_agent.store.records import Records


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("took 12.5 ms", "took <number> ms"),
        ("at 10:20:30, line 7", "at <number>, line <number>"),
        ("user 'a b' said \"x\"", "user <text> said <text>"),
        ("task 123e4567-e89b-12d3-a456-426614174000 ended", "task <id> ended"),
        ("trace 00ff00ff00ff00ff", "trace <id>"),
        ("object at 0x7f00aa", "object at <id>"),
        ("from 10.0.0.1:8080", "from <address>"),
        ("defaced facade of v2 in utf8", "defaced facade of v2 in utf8"),
        ("don't stop", "don't stop"),
        ("it's 5 o'clock", "it's <number> o'clock"),
        ("", ""),
    ],
)
def test_what_differs_from_line_to_line_is_a_mark(message: str, expected: str) -> None:
    """Numbers, ids, addresses and quoted text are marks; words stay, also those that hold digits or apostrophes."""
    assert pattern(message) == expected


def test_lines_of_one_pattern_are_one_row() -> None:
    """Lines that differ in their numbers are one row with their counts by step; another service or status is another row."""
    lines = [Log(START + n, "info", f"took {n} ms", "web") for n in range(20)]
    lines += [Log(START + 1, "error", "took 5 ms", "web"), Log(START + 2, "info", "took 5 ms", "worker")]
    with closing(Records()) as records:
        records.add_logs(lines)
        found = patterns(records, start=START, end=START + 20, steps=2)
        assert [
            (row["pattern"], row["service"], row["status"], row["counts"]) for row in found["patterns"]
        ] == [
            ("took <number> ms", "web", "info", [10, 10]),
            ("took <number> ms", "worker", "info", [1, 0]),
            ("took <number> ms", "web", "error", [1, 0]),
        ]
        first = found["patterns"][0]
        assert (first["first"], first["last"], first["example"]) == (START, START + 19, "took 19 ms")
        some = patterns(records, parse_search("status:error"), start=START, end=START + 20)
        assert [row["count"] for row in some["patterns"]] == [1]
