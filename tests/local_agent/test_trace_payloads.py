"""Trace payloads: v0.4 and v0.5 as real clients write them, links, 128-bit ids, and rubbish."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent import traces
from streaming_dd.local_agent.traces import Span, SpanLink

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
    assert (second.error, second.resource) == (1, "web.request")


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
    assert (span.service, span.resource, span.type, span.parent_id) == ("", "web.request", "", "0")


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
def test_times_out_of_range_are_clamped(version: str) -> None:
    """A clock that stepped back, or nonsense, gives times that a database can hold."""
    ((span,),) = traces.decode(version, WRITERS[version]([wire(start=BIG, duration=-5)]))
    assert (span.start_ns, span.duration_ns) == (2**63 - 1, 0)


@pytest.mark.parametrize("version", ["v0.4", "v0.5"])
@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"{}", b"\x93\x01\x02\x03", msgspec.msgpack.encode([["a"], [[[9] * 12]]])]
)
def test_rubbish_is_refused(version: str, body: bytes) -> None:
    """A body that is no payload raises ValueError that names the version."""
    with pytest.raises(ValueError, match=version):
        traces.decode(version, body)


@given(st.sampled_from(["v0.4", "v0.5"]), st.binary(max_size=300))
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
    assert traces.trace_id_of(text) == trace_id
