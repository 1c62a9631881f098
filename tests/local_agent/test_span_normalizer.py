"""The trace-agent's normaliser: names, services, tags, times, ids.

The cases are those of datadog-agent's pkg/trace/traceutil/normalize/normalize_test.go and
pkg/trace/agent/normalizer_test.go, written anew.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest
from local_agent_helpers import START

from streaming_dd.local_agent import Span
from streaming_dd.local_agent.intake import names, normalize
from streaming_dd.local_agent.intake.spans import SpanLink

NOW = int(START) * 10**9
TRACE = f"{0:016x}{424242:016x}"


def span(**changes: Any) -> Span:
    values: dict[str, Any] = {
        "trace_id": TRACE, "span_id": "7", "parent_id": "1111", "name": "django.controller", "resource": "GET /",
        "service": "django", "type": "http", "start_ns": NOW - 5 * 10**9, "duration_ns": 10_000_000, "error": 0,
    }  # fmt: skip
    return Span(**{**values, **changes})


def put_right(*spans: Span, language: str = "") -> tuple[bool, Counter[str]]:
    reasons: Counter[str] = Counter()
    kept = normalize.chunk(spans, now_ns=NOW, language=language, note=lambda reason: reasons.update([reason]))
    return kept, reasons


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("#test_starting_hash", "test_starting_hash"),
        ("TestCAPSandSuch", "testcapsandsuch"),
        ("Test Conversion Of Weird !@#$%^&**() Characters", "test_conversion_of_weird_characters"),
        ("$#weird_starting", "weird_starting"),
        ("allowed:c0l0ns", "allowed:c0l0ns"),
        ("1love", "love"),
        ("ünicöde:metäl", "ünicöde:metäl"),
        ("Data🐨dog🐶 繋がっ⛰てて", "data_dog_繋がっ_てて"),
        (" spaces   ", "spaces"),
        (" #hashtag!@#spaces #__<>#  ", "hashtag_spaces"),
        (":testing", ":testing"),
        (":::test", ":::test"),
        ("_foo", "foo"),
        ("contiguous_____underscores", "contiguous_underscores"),
        ("foo_", "foo"),
        ("ſodd_ſcaseſ", "ſodd_ſcaseſ"),
        ("", ""),
        (" ", ""),
        ("™Ö™Ö™™Ö™", "ö_ö_ö"),
        ("AlsO:ök", "also:ök"),
        ("12.:trim@@", ":trim"),
        ("fun:ky@@@tag/3", "fun:ky_tag/3"),
        ("tag:1/2.3", "tag:1/2.3"),
        ("---fun:k####y_ta@#g/1_@@#", "fun:k_y_ta_g/1"),
        ("AlsO:œ#@ö))œk", "also:œ_ö_œk"),
        ("x²½", "x"),
        ("a" * 888, "a" * 200),
        ("a" + "🐶" * 799 + "b", "a"),
        ("a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b", "a_b"),
        ("A" + "0" * 195 + " " + "0" * 11, "a" + "0" * 195 + "_000"),
        ("a" + "_" * 250 + "b", "a"),
    ],
)
def test_tag_is_kept_as_the_agent_keeps_it(written: str, kept: str) -> None:
    """Lower case, from the first letter or colon on, unsafe characters as one `_`, cut before those are made one."""
    assert names.tag(written) == kept


@pytest.mark.parametrize(
    ("written", "kept", "reason"),
    [
        ("good", "good", ""),
        ("127.0.0.1", "127.0.0.1", ""),
        ("127.site.platform-db-replica1", "127.site.platform-db-replica1", ""),
        ("🐨animal-db🐶", "_animal-db", ""),
        ("1🐨1animal-db🐶", "1_1animal-db", ""),
        ("bad$service", "bad_service", ""),
        ("retargeting(api-Staging ", "retargeting_api-staging", ""),
        ("Reports", "reports", ""),
        ("My Service!", "my_service", ""),
        ("Too$Long$." * 11, "too_long_." * 10, "service_truncate"),
        ("", "unnamed-python-service", "service_empty"),
        ("$", "unnamed-python-service", "service_invalid"),
    ],
)
def test_service_is_kept_as_the_agent_keeps_it(written: str, kept: str, reason: str) -> None:
    """A service is the value of a tag of at most 100 bytes; without one it is named after the client's language."""
    assert normalize.service(written, "python") == (kept, reason)
    assert normalize.service("", "")[0] == "unnamed-service"


@pytest.mark.parametrize(
    ("written", "kept", "reason"),
    [
        ("", "unnamed_operation", "span_name_empty"),
        ("/", "unnamed_operation", "span_name_invalid"),
        ("good", "good", ""),
        ("bad-name", "bad_name", ""),
        ("trace-api.request", "trace_api.request", ""),
        ("task run-1.x", "task_run_1.x", ""),
        ("a-.b", "a.b", ""),
        ("a.-b", "a.b", ""),
        ("a_-_b", "a_b", ""),
        ("a..b", "a..b", ""),
        ("Too-Long-." * 11, "Too_Long." * 10, "span_name_truncate"),
    ],
)
def test_operation_is_kept_as_the_agent_keeps_it(written: str, kept: str, reason: str) -> None:
    """An operation is a metric name of at most 100 bytes: no `_` beside a dot, none doubled."""
    assert normalize.operation(written) == (kept, reason)


def test_span_in_order_stays_as_it_was() -> None:
    """Nothing of a good span is touched, and nothing noted."""
    good, before = (
        span(meta={"user": "leo"}, metrics={"n": 1.0}),
        span(meta={"user": "leo"}, metrics={"n": 1.0}),
    )
    assert put_right(good) == (True, Counter())
    assert good == before


@pytest.mark.parametrize(
    ("start", "duration", "kept_start", "kept_duration", "reason"),
    [
        (42, 10, NOW - 10, 10, "invalid_start_date"),
        (42, 2 * NOW, NOW, 2 * NOW, "invalid_start_date"),
        (NOW, -50, NOW, 0, "invalid_duration"),
        (NOW, 2**63 - 1, NOW, 0, "invalid_duration"),
        (NOW, 0, NOW, 0, ""),
    ],
)
def test_times_are_put_right(
    start: int, duration: int, kept_start: int, kept_duration: int, reason: str
) -> None:
    """A start before 2000 is now, less the duration; a duration below zero, or beyond 63 bits with its start, is zero."""
    one = span(start_ns=start, duration_ns=duration)
    assert put_right(one) == (True, Counter([reason] if reason else []))
    assert (one.start_ns, one.duration_ns) == (kept_start, kept_duration)


def test_start_beyond_63_bits_can_be_stored() -> None:
    """A start that no database holds is now."""
    one = span(start_ns=2**64 - 1)
    assert put_right(one)[0]
    assert one.start_ns == NOW


@pytest.mark.parametrize(
    ("status", "kept"),
    [("100", True), ("599", True), ("99", False), ("600", False), ("Invalid", False), ("٢٠٠", False)],
)
def test_status_outside_of_http_is_no_tag(status: str, kept: bool) -> None:
    """`http.status_code` is 100 to 599, or it is removed."""
    one = span(meta={"http.status_code": status})
    assert put_right(one)[1] == Counter([] if kept else ["invalid_http_status_code"])
    assert ("http.status_code" in one.meta) is kept


def test_tags_that_name_something_are_normalized() -> None:
    """Env, peer service, base service and a link's name follow the rules of what they name; long ones are cut."""
    one = span(
        name="x", resource="", type="sql" * 1000,
        meta={"env": "DEVELOPMENT", "peer.service": "My DB", "_dd.base_service": "Web App", "k" * 300: "v" * 30_000},
        links=[SpanLink(TRACE, "1", {"link.name": "!@#$"})],
    )  # fmt: skip
    kept, reasons = put_right(one)
    assert kept
    assert reasons == Counter(["resource_empty", "type_truncate"])
    assert (one.resource, len(one.type)) == ("x", 100)
    assert {key: one.meta[key] for key in ("env", "peer.service", "_dd.base_service")} == {
        "env": "development", "peer.service": "my_db", "_dd.base_service": "web_app",
    }  # fmt: skip
    assert one.meta[f"{'k' * 200}..."] == f"{'v' * 25_000}..."
    assert one.links[0].attributes == {"link.name": "unnamed_operation"}


def test_zipkins_root_has_no_parent() -> None:
    """A span whose id, parent and trace are one number is a root."""
    one = span(span_id="424242", parent_id="424242")
    put_right(one)
    assert one.parent_id == "0"


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([], "empty_trace"),
        ([span(trace_id="0" * 32)], "trace_id_zero"),
        ([span(trace_id="1" * 16 + "0" * 16)], "trace_id_zero"),
        ([span(), span(span_id="0")], "span_id_zero"),
        ([span(), span(trace_id=f"{5:032x}")], "foreign_span"),
    ],
)
def test_chunk_that_is_no_trace_is_dropped(spans: list[Span], reason: str) -> None:
    """Empty chunks, ids of zero and spans of another trace drop the chunk, with the reason."""
    assert put_right(*spans) == (False, Counter([reason]))


def test_spans_and_their_metrics_have_one_name(run_agent) -> None:
    """What the services view shows is what the trace search finds, and health says what was put right."""
    agent = run_agent(page_port=0)
    body = [[{
        "trace_id": 5, "span_id": 6, "name": "Web Request", "service": "Reports", "resource": "GET /", "start": 42,
        "duration": 1, "meta": {"env": "Prod", "http.status_code": "600"},
    }], [{"trace_id": 0, "span_id": 6, "name": "x", "service": "x"}]]  # fmt: skip
    headers = {"datadog-meta-lang": "python"}
    with httpx.Client(timeout=60) as client:
        port = f"http://127.0.0.1:{agent.trace_port}"
        content = msgspec.msgpack.encode(body)
        assert client.post(f"{port}/v0.4/traces", content=content, headers=headers).status_code == 200
        agent._on_loop(lambda: agent.holdings.trace_metrics.flush(everything=True))
        found = client.get(f"{agent.page_url}/api/traces?query=service:reports env:prod").json()["spans"]
        services = client.get(f"{agent.page_url}/api/services").json()["services"]
        health = client.get(f"{agent.page_url}/api/health").json()["traces"]
    assert [(each["service"], each["name"]) for each in found] == [("reports", "Web_Request")]
    assert [(each["service"], each["operation"]) for each in services] == [("reports", "Web_Request")]
    assert health["put_right"] == {"invalid_start_date": 1, "invalid_http_status_code": 1, "trace_id_zero": 1}
