"""Spans and logs in SQLite: what is kept, what a search finds, and how it stays bounded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_agent_helpers import START, make_span

from streaming_dd.assets.query_language import parse_search
from streaming_dd.errors import LocalAgentError, QueryError
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.intake.spans import SpanLink
from streaming_dd.local_agent.queries import explorer
from streaming_dd.local_agent.store import records, search
from streaming_dd.local_agent.store.records import Records, flat

EVER = {"start": 0.0, "end": 1e10}

LOGS = [
    Log(START, "info", "task reports.Summary started", "web", attributes={"task.model": "Summary", "n": 1}),
    Log(START + 1, "error", "Timeout: it timed out (100%)", "web", tags=("env:prod", "team:data"),
        trace_id=f"{7:032x}", span_id="9", attributes={"error.kind": "TimeoutError", "http.status_code": 504, "n": 20}),
    Log(START + 2, "warn", "errors_total is high_", "worker", attributes={"dd.env": "dev", "n": "30", "x*y": "a*b"}),
    Log(START + 3, "info", 'user said "a_b" [x]', "web", "nginx", attributes={"n": "many", "duration": 2_000_000_000}),
]  # fmt: skip


@pytest.fixture
def empty() -> Iterator[Callable[..., Records]]:
    """Make records, closed when the test ends."""
    with ExitStack() as stack:

        def make(*arguments: object, **options: object) -> Records:
            made = Records(*arguments, **options)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def kept(empty: Callable[..., Records]) -> Records:
    kept = empty()
    kept.add_logs(LOGS)
    return kept


def found(kept: Records, query: str) -> list[int]:
    """Return the numbers of the logs that a search finds."""
    rows = explorer.logs(kept, parse_search(query), **EVER)
    return sorted(int(row["timestamp"]) - START for row in rows)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("*", [0, 1, 2, 3]),
        ("timeout", [1]),
        ("TIMED", [1]),
        ("time*", [1]),
        ("error", []),
        ("error*", [2]),
        ('"timed out"', [1]),
        ('"100%"', [1]),
        ('"high_"', [2]),
        ('"a_b"', [3]),
        ("service:web", [0, 1, 3]),
        ("service:we?", [0, 1, 3]),
        ("-service:web", [2]),
        ("status:(error OR warn)", [1, 2]),
        ("status:error service:web", [1]),
        ("status:error OR service:worker", [1, 2]),
        ("NOT (status:info OR status:error)", [2]),
        ("source:nginx", [3]),
        ("env:prod", [1]),
        ("env:dev", [2]),
        ("team:*", [1]),
        ("team:da*", [1]),
        ("@task.model:Summary", [0]),
        ("@task.model:*", [0]),
        ("-@task.model:*", [1, 2, 3]),
        ("@error.kind:Time*", [1]),
        ("@http.status_code:504", [1]),
        ("@http.status_code:[500 TO 599]", [1]),
        ("@http.status_code:[505 TO *]", []),
        ("@n:>5", [1, 2]),
        ("@n:<=1", [0]),
        ("@n:[* TO 25]", [0, 1]),
        ("@duration:>1s", [3]),
        ("@duration:<1s", []),
        ("trace_id:" + f"{7:032x}", [1]),
        ("message:timed", [1]),
        (r"@x*y:a\*b", [2]),
        ("nothing", []),
    ],
)
def test_search_finds_what_datadog_would(kept: Records, query: str, numbers: list[int]) -> None:
    """Words, phrases, fields, tags, wildcards, numbers and boolean operators select logs."""
    assert found(kept, query) == numbers


@pytest.mark.parametrize(
    "query", ["service:>5", "@n:>many", "@n:[a TO b]", "$env", " OR ".join(f"a{i}" for i in range(200))]
)
def test_search_that_cannot_work_is_explained(kept: Records, query: str) -> None:
    """A search that parses but makes no sense is refused with a sentence."""
    with pytest.raises(QueryError, match=r"\w+ \w+"):
        found(kept, query)


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=15)


@given(message=words, value=words, key=st.from_regex(r"[a-z][a-z.]{0,8}", fullmatch=True))
def test_hostile_text_is_found_by_itself_and_by_nothing_else(message: str, value: str, key: str) -> None:
    """Quotes, wildcards, brackets and backslashes in data are data, and none of it reaches SQL."""
    kept = Records()
    kept.add_logs([Log(START, "info", message, attributes={key: value}), Log(START, "info", "other")])
    rows = explorer.logs(kept, search_phrase(None, message), **EVER)
    assert message in [row["message"] for row in rows]
    assert [row["attributes"] for row in explorer.logs(kept, search_phrase(f"@{key}", value), **EVER)] == [
        {key: value}
    ]
    kept.close()


def search_phrase(key: str | None, value: str):
    from streaming_dd.assets.query_language import Phrase

    return Phrase(key, value)


def test_logs_come_newest_first_and_page(kept: Records) -> None:
    """`before_id` goes back, `after_id` follows, `limit` ends."""
    assert [row["id"] for row in explorer.logs(kept, **EVER)] == [4, 3, 2, 1]
    assert [row["id"] for row in explorer.logs(kept, **EVER, limit=2, before_id=4)] == [3, 2]
    assert [row["id"] for row in explorer.logs(kept, **EVER, after_id=2)] == [4, 3]
    assert [row["id"] for row in explorer.logs(kept, start=START + 1, end=START + 3)] == [3, 2]
    assert explorer.log(kept, 2)["attributes"]["http.status_code"] == 504
    assert explorer.log(kept, 99) is None


def test_lines_that_arrived_late_are_paged_too(empty: Callable[..., Records]) -> None:
    """Pages go by time: each line comes once, newest first, in whatever order they arrived."""
    kept = empty()
    times = [n * 7 % 50 // 3 for n in range(50)]
    kept.add_logs([Log(START + time, "info", str(n)) for n, time in enumerate(times)])
    seen: list[tuple[float, int]] = []
    before = None
    while page := explorer.logs(kept, before_id=before, limit=8, **EVER):
        seen += [(row["timestamp"], row["id"]) for row in page]
        before = page[-1]["id"]
    assert len(seen) == 50
    assert seen == sorted(set(seen), reverse=True)


def test_logs_are_counted_by_time_and_status_and_by_facet(kept: Records) -> None:
    """The histogram and the facets of the log view."""
    assert explorer.log_counts(kept, start=START, end=START + 4, step=2) == [
        (0, "error", 1), (0, "info", 1), (1, "info", 1), (1, "warn", 1),
    ]  # fmt: skip
    facets = explorer.log_facets(kept, ["status", "env", "@task.model"], **EVER)
    assert facets == {
        "status": [("info", 2), ("error", 1), ("warn", 1)],
        "env": [("dev", 1), ("prod", 1)],
        "@task.model": [("Summary", 1)],
    }


def test_values_for_log_monitors(kept: Records) -> None:
    """A monitor gets time, measured value and group of each matching log of the window."""
    values = explorer.log_values(
        kept, parse_search("service:web"), "@n", ["service", "env"], start=START, end=START + 3
    )
    assert values == [(START, 1, "web", None), (START + 1, 20, "web", "prod")]


def test_trace_is_joined_by_the_low_half_of_its_id(empty: Callable[..., Records]) -> None:
    """Spans with the full id, logs with the 64-bit one, and spans that link to the trace are found together."""
    kept = empty()
    full, short = f"6b0485c200000000{7:016x}", f"{7:032x}"
    task = make_span(
        trace_id=f"{8:032x}", name="task.run", links=[SpanLink(short, "1", {"link.kind": "submitted_by"})]
    )
    kept.add_spans(
        [
            make_span(trace_id=full, span_id="2", parent_id="1", start_ns=START * 10**9 + 5, error=1),
            make_span(trace_id=full, events=[{"name": "e"}], meta={"a": "1"}, metrics={"b": 2.0}), task,
        ]
    )  # fmt: skip
    kept.add_logs(LOGS)
    assert [span["span_id"] for span in explorer.trace(kept, full)] == ["1", "2"]
    assert explorer.trace(kept, short)[0]["attributes"] == {"a": "1", "b": 2.0}
    assert explorer.trace(kept, short)[0]["events"] == [{"name": "e"}]
    assert [log["message"] for log in explorer.trace_logs(kept, full)] == [LOGS[1].message]
    assert explorer.trace_logs(kept, f"{9:032x}") == []
    (linked,) = explorer.linked_from(kept, full)
    assert (linked["name"], linked["to_span"]) == ("task.run", "1")
    assert explorer.trace(kept, task.trace_id)[0]["links"] == [
        {"trace_id": short, "span_id": "1", "attributes": {"link.kind": "submitted_by"}}
    ]
    assert explorer.trace_sizes(kept, [full, task.trace_id]) == {full[16:]: (2, 1), f"{8:016x}": (1, 0)}


def test_spans_are_searched_by_their_own_fields(empty: Callable[..., Records]) -> None:
    """Service, operation, resource, status, duration and tags; entry spans only, if asked."""
    kept = empty()
    kept.add_spans(
        [
            make_span(span_id="1", resource="GET /slow", duration_ns=3 * 10**9, meta={"env": "prod", "model": "Summary"}),
            make_span(span_id="2", parent_id="1", name="db.query", error=1, metrics={"rows": 5.0}),
            make_span(span_id="3", service="worker", meta={"error.message": "disk full"}),
        ]
    )  # fmt: skip

    def ids(query: str, **options: object) -> list[str]:
        return sorted(row["span_id"] for row in explorer.spans(kept, parse_search(query), **EVER, **options))

    assert ids("service:web") == ["1", "2"]
    assert ids("service:web", entries=True) == ["1"]
    assert ids("status:error") == ["2"]
    assert ids("status:ok") == ["1", "3"]
    assert ids("@duration:>1.5s") == ["1"]
    assert ids("operation_name:db.query @rows:>=5") == ["2"]
    assert ids('resource_name:"GET /slow"') == ["1"]
    assert ids("env:prod @model:Summary") == ["1"]
    assert ids("disk") == ["3"]
    assert explorer.span_values(kept, None, "@duration", ["service"], start=START, end=START + 2) == [
        (START + 1, 10**9, "web"), (START + 1, 10**9, "worker"),
    ]  # fmt: skip


@pytest.mark.parametrize("limits", [{"max_logs": 2500}, {"max_bytes": 700_000}])
def test_oldest_rows_go_when_there_are_too_many(
    limits: dict[str, int], empty: Callable[..., Records]
) -> None:
    """Rows and bytes are bounded; the newest stay, the dropped are counted."""
    kept = empty(**limits)
    for start in range(0, 10_000, 500):
        kept.add_logs([replace(LOGS[0], timestamp=START + i) for i in range(start, start + 500)])
        kept.flush()
    counts = kept.counts()["logs"]
    assert counts["rows"] + counts["dropped"] == 10_000
    assert counts["rows"] <= counts["max_rows"]
    assert counts["bytes"] <= counts["max_bytes"]
    rows = explorer.logs(kept, **EVER, limit=100_000)
    assert len(rows) == counts["rows"]
    assert rows[0]["timestamp"] == START + 9_999


def test_dropped_spans_take_their_links_with_them(empty: Callable[..., Records]) -> None:
    """A link of a span that is gone leads nowhere."""
    kept = empty(max_spans=10)
    kept.add_spans([make_span(trace_id=f"{8:032x}", links=[SpanLink(f"{7:032x}", "1")])])
    kept.flush()
    kept.add_spans([make_span(span_id=str(i)) for i in range(20)])
    assert explorer.linked_from(kept, f"{7:032x}") == []
    assert kept.counts()["spans"]["dropped"] == 1


def test_file_keeps_records_over_a_restart(tmp_path: Path) -> None:
    """With `--persist` what was kept is there again, counted, and ids go on."""
    path = tmp_path / "kept.sqlite"
    first = Records(path)
    first.add_logs(LOGS)
    first.add_spans([make_span()])
    first.close()
    second = Records(path)
    assert second.counts()["logs"]["rows"] == 4
    assert second.counts()["spans"]["rows"] == 1
    second.add_logs(LOGS[:1])
    assert explorer.logs(second, **EVER, limit=10)[-1]["id"] == 1
    assert len(explorer.logs(second, **EVER)) == 5
    second.close()


def test_unusable_file_is_refused_with_the_fix(tmp_path: Path) -> None:
    """A file that is no database, or of another version, is named, with what to do."""
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no database, but longer than a header would be" * 10)
    with pytest.raises(LocalAgentError, match=r"rubbish.*Choose"):
        Records(rubbish)
    with pytest.raises(LocalAgentError, match="must exist and be writable"):
        Records(tmp_path / "nowhere" / "file")
    other = tmp_path / "other"
    Records(other).close()
    with closing(sqlite3.connect(other)) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    with pytest.raises(LocalAgentError, match="another version"):
        Records(other)


def test_slow_search_is_stopped(kept: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search shares the loop with the intake, so it may not take long."""
    monkeypatch.setattr(records, "MAX_SECONDS", 0.0)
    kept.add_logs([replace(LOGS[0], message="x" * 100)] * 5_000)
    with pytest.raises(TimeoutError, match="narrow the time range"):
        explorer.logs(kept, parse_search("nothing*like*this"), **EVER)


def test_nested_attributes_become_flat() -> None:
    """Nested objects are found by dotted names; integers that JavaScript cannot hold become text."""
    nested = {"http": {"method": "GET", "url_details": {"path": "/"}}, "id": 2**63, "list": [1], "empty": {}}
    assert flat(nested) == {
        "http.method": "GET", "http.url_details.path": "/", "id": str(2**63), "list": [1], "empty": {},
    }  # fmt: skip
    deep: dict[str, object] = {}
    level = deep
    for _ in range(100):
        level["a"] = level = {}
    level["end"] = 1
    assert len(flat(deep)) == 1


@given(st.text(max_size=20), st.text(max_size=30))
def test_words_match_whole_words_only(word: str, text: str) -> None:
    """The word matcher never fails, and finds a word that stands alone."""
    search.has_word(text, word)
    assert search.has_word(None, word) is False
    assert search.has_word("before Word after", "word")
    assert not search.has_word("beforeWordafter", "word")


def test_spans_are_paged_backwards(empty: Callable[..., Records]) -> None:
    """`before_id` goes on where a page ended, also among spans of one moment; each span comes once, newest first."""
    kept = empty()
    kept.add_spans(replace(make_span(), start_ns=(START + n // 7) * 10**9, span_id=str(n)) for n in range(50))
    seen: list[str] = []
    before = None
    while page := explorer.spans(kept, before_id=before, limit=8, **EVER):
        seen += [row["span_id"] for row in page]
        before = page[-1]["id"]
    assert seen == [str(n) for n in reversed(range(50))]


def test_roots_alone(empty: Callable[..., Records]) -> None:
    """`roots` leaves out what another service's span called, which is an entry span, too."""
    kept = empty()
    top = {"_dd.top_level": 1.0}
    kept.add_spans([make_span(metrics=top), make_span(span_id="2", parent_id="1", service="db", metrics=top)])
    assert len(explorer.spans(kept, entries=True, **EVER)) == 2
    assert [row["span_id"] for row in explorer.spans(kept, roots=True, **EVER)] == ["1"]
