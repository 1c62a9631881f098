"""Trace payloads: v0.4 and v0.5 as real clients write them, links, 128-bit ids, and rubbish."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent.intake import spans, traces
from streaming_dd.local_agent.intake.spans import Span, SpanLink, trace_id_of

BIG = 2**64 - 1


def v04(*chunks: list[dict[str, object]]) -> bytes:
    return msgspec.msgpack.encode(chunks)


def v05(*chunks: list[dict[str, object]]) -> bytes:
    """Write spans as the v0.5 format does: 12 places, strings by their number."""
    strings: dict[str, int] = {"": 0}

    def number(text: str) -> int:
        return strings.setdefault(text, len(strings))

    packed = [
        [
            [
                number(span["service"]), number(span["name"]), number(span["resource"]), span["trace_id"],
                span["span_id"], span["parent_id"], span["start"], span["duration"], span["error"],
                {number(k): number(v) for k, v in span["meta"].items()},
                {number(k): v for k, v in span["metrics"].items()}, number(span["type"]),
            ]
            for span in chunk
        ]
        for chunk in chunks
    ]  # fmt: skip
    return msgspec.msgpack.encode([list(strings), packed])


WRITERS = {"v0.4": v04, "v0.5": v05}


def wire(**changes: object) -> dict[str, object]:
    span: dict[str, object] = {
        "service": "web", "name": "web.request", "resource": "GET /", "trace_id": 1, "span_id": 2, "parent_id": 0,
        "start": 1_700_000_000 * 10**9, "duration": 5, "error": 0, "meta": {}, "metrics": {}, "type": "web",
    }  # fmt: skip
    return {**span, **changes}


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_payload_gives_spans_with_ids_as_strings(version: str) -> None:
    """Both formats give the same spans; ids beyond 2^53 survive as text, the high half comes from the chunk's root."""
    root = wire(
        trace_id=BIG, span_id=BIG - 1, meta={"_dd.p.tid": "6b0485c200000000", "k": "v"}, metrics={"_dd.top_level": 1.0}
    )  # fmt: skip
    child = wire(trace_id=BIG, span_id=3, parent_id=BIG - 1, error=1, resource="")
    ((first, second),) = traces.decode(version, WRITERS[version]([root, child]))
    assert first == Span(
        "6b0485c200000000ffffffffffffffff", "18446744073709551614", "0", "web.request", "GET /", "web", "web",
        1_700_000_000 * 10**9, 5, 0, {"_dd.p.tid": "6b0485c200000000", "k": "v"}, {"_dd.top_level": 1.0},
    )  # fmt: skip
    assert second.trace_id == first.trace_id
    assert second.parent_id == first.span_id
    assert (second.error, second.resource) == (1, "")


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_trace_without_a_high_half_is_padded(version: str) -> None:
    """A 64-bit trace id is written as 32 digits, the upper 16 zero."""
    ((span,),) = traces.decode(version, WRITERS[version]([wire(trace_id=255)]))
    assert span.trace_id == "000000000000000000000000000000ff"


def test_links_of_v04_and_v05_are_the_same() -> None:
    """v0.4 has numbers in `span_links`, v0.5 has JSON with hexadecimal ids in meta: both give the same links."""
    expected = [SpanLink("6b0485c200000000000000000000000a", str(BIG), {"link.kind": "submitted_by"})]
    numbers = {
        "trace_id": 10, "trace_id_high": 0x6B0485C200000000, "span_id": BIG,
        "attributes": {"link.kind": "submitted_by"}, "tracestate": "dd=s:1", "flags": 1,
    }  # fmt: skip
    ((old,),) = traces.decode("v0.4", v04([wire(span_links=[numbers])]))
    text = json.dumps(
        [{"trace_id": "6b0485c200000000000000000000000a", "span_id": "f" * 16, "attributes": {"link.kind": "submitted_by"}}]
    )  # fmt: skip
    ((new,),) = traces.decode("v0.5", v05([wire(meta={"_dd.span_links": text})]))
    assert old.links == new.links == expected


@pytest.mark.parametrize("text", ["", "not json", "{}", "[1]", '[{"span_id": "xyz"}]'])
def test_broken_link_text_costs_the_link_not_the_span(text: str) -> None:
    """Links that cannot be read are left out; the span stays, with the text in its meta."""
    ((span,),) = traces.decode("v0.5", v05([wire(meta={"_dd.span_links": text})]))
    assert span.links == []
    assert span.meta["_dd.span_links"] == text


def test_v04_nulls_and_unknown_fields_are_borne() -> None:
    """Clients send nil for what they do not have, and fields of newer versions."""
    body = v04(
        [
            wire(
                service=None,
                resource=None,
                type=None,
                parent_id=None,
                meta=None,
                metrics=None,
                meta_struct={},
            )
        ]
    )
    ((span,),) = traces.decode("v0.4", body)
    assert (span.service, span.resource, span.type, span.parent_id) == ("", "", "", "0")


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"{}", b"\x93\x01\x02\x03", msgspec.msgpack.encode([["a"], [[[9] * 12]]])]
)
def test_rubbish_is_refused(version: str, body: bytes) -> None:
    """A body that is no payload raises ValueError that names the version."""
    with pytest.raises(ValueError, match=version):
        traces.decode(version, body)


@given(st.sampled_from(["v0.3", "v0.4", "v0.5", "v0.7"]), st.binary(max_size=300))
def test_any_bytes_decode_or_raise_value_error(version: str, body: bytes) -> None:
    """No body makes the decoder fail in another way."""
    with suppress(ValueError):
        assert isinstance(traces.decode(version, body), list)


@pytest.mark.parametrize(
    ("text", "trace_id"),
    [
        ("6b0485c20000000003691dac390be835", "6b0485c20000000003691dac390be835"),
        ("6B0485C20000000003691DAC390BE835", "6b0485c20000000003691dac390be835"),
        ("18446744073709551615", "0000000000000000ffffffffffffffff"),
        ("255", "000000000000000000000000000000ff"),
        ("00f067aa0ba902b7", "000000000000000000f067aa0ba902b7"),
        ("0", ""),
        ("", ""),
        ("0" * 32, ""),
        ("xyz", ""),
        ("①②", ""),
    ],
)
def test_trace_id_of_any_written_form(text: str, trace_id: str) -> None:
    """Decimal, 16 and 32 hexadecimal digits become 32 digits; zero and rubbish become nothing."""
    assert trace_id_of(text) == trace_id


def test_v07_says_once_what_its_spans_have_in_common() -> None:
    """Env, version, origin and priority of a v0.7 payload reach every span; what a span says itself wins."""
    body = msgspec.msgpack.encode(
        {
            "language_name": "python", "env": "prod", "app_version": "1.2", "tags": {"a": "b"},
            "chunks": [
                {"priority": 2, "origin": "synthetics", "spans": [wire(), wire(span_id=3, meta={"env": "dev"})]},
                {"priority": -1, "spans": []},
            ],
        }
    )  # fmt: skip
    (first, second), empty = traces.decode("v0.7", body)
    assert first.meta == {"env": "prod", "version": "1.2", "_dd.origin": "synthetics"}
    assert first.metrics == {"_sampling_priority_v1": 2.0}
    assert second.meta["env"] == "dev"
    assert empty == []


def test_native_events_have_plain_values() -> None:
    """Event attributes, which the wire types one by one, are plain values: bool, text, numbers, arrays."""
    attributes = {
        "b": {"type": 1, "bool_value": True},
        "s": {"type": 0, "string_value": "x"},
        "i": {"type": 2, "int_value": 3},
        "d": {"type": 3, "double_value": 0.5},
        "a": {
            "type": 4,
            "array_value": {"values": [{"type": 2, "int_value": 1}, {"type": 2, "int_value": 2}]},
        },
    }
    event = {"time_unix_nano": 1, "name": "exception", "attributes": attributes}
    ((span,),) = traces.decode("v0.4", v04([wire(span_events=[event])]))
    (found,) = span.events
    assert found["attributes"] == {"b": True, "s": "x", "i": 3, "d": 0.5, "a": [1, 2]}


@pytest.mark.parametrize("name", ["negative string", "thirteen fields"])
def test_v05_span_that_the_agent_refuses_is_refused(name: str) -> None:
    """A string by a negative number and a span of 13 fields are no payload."""
    span: list[object] = [0, 0, 0, 1, 2, 0, 3, 4, 0, {}, {}, 0]
    if name == "negative string":
        span[1] = -1
    else:
        span.append(1)
    with pytest.raises(ValueError, match=r"v0\.5"):
        traces.decode("v0.5", msgspec.msgpack.encode([["a"], [[span]]]))


@pytest.mark.parametrize(
    ("bound", "version", "payload"),
    [
        ("MAX_SPANS", "v0.4", [[wire()] * 2, [wire()] * 2]),
        ("MAX_SPANS", "v0.7", {"chunks": [{"spans": [wire()] * 2}] * 2}),
        ("MAX_ENTRIES", "v0.4", [[wire(meta={"a": "b", "c": "d"}, metrics={"e": 1.0, "f": 1.0})]]),
        ("MAX_ENTRIES", "v0.5", [["a"], [[[0, 0, 0, 1, 2, 0, 3, 4, 0, {0: 0, 1: 0, 2: 0, 3: 0}, {}, 0]]]]),
    ],
)
def test_payload_beyond_the_bounds_is_too_much(
    monkeypatch, bound: str, version: str, payload: object
) -> None:
    """Spans and tags are counted over the whole payload, before more of it is decoded."""
    monkeypatch.setattr(spans, bound, 3)
    with pytest.raises(spans.TooMuch):
        traces.decode(version, msgspec.msgpack.encode(payload))


@pytest.mark.parametrize("version", ["v0.3", "v0.4", "v0.5", "v0.7"])
def test_claimed_or_nested_size_costs_nothing(version: str) -> None:
    """A header that promises four billion chunks, and a body nested 100,000 deep, are refused at once."""
    for body in (b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000 + b"\x90"):
        with pytest.raises(ValueError):  # noqa: PT011 - either reason is right
            traces.decode(version, body)
