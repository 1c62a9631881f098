"""OTLP traces: our decoder against opentelemetry's own messages, and the Agent's naming rules."""

from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent.intake.otlp import protobuf, spans
from streaming_dd.local_agent.intake.spans import SpanLink

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
from google.protobuf.json_format import MessageToDict  # noqa: E402
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList  # noqa: E402
from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: E402
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status  # noqa: E402

TRACE, SPAN = bytes.fromhex("6b0485c20000000003691dac390be835"), bytes.fromhex("00f067aa0ba902b7")
START = 1_700_000_000 * 10**9


def attributes(**values: object) -> list[KeyValue]:
    def wrap(value: object) -> AnyValue:
        match value:
            case bool():
                return AnyValue(bool_value=value)
            case int():
                return AnyValue(int_value=value)
            case float():
                return AnyValue(double_value=value)
            case str():
                return AnyValue(string_value=value)
            case list():
                return AnyValue(array_value=ArrayValue(values=map(wrap, value)))
            case dict():
                return AnyValue(kvlist_value=KeyValueList(values=attributes(**value)))
        raise TypeError(value)

    return [KeyValue(key=key.replace("__", "."), value=wrap(value)) for key, value in values.items()]


def request(span: Span, **resource: object) -> object:
    return trace_service.ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=Resource(attributes=attributes(**resource)), scope_spans=[ScopeSpans(spans=[span])])
        ]
    )  # fmt: skip


def decoded(span: Span, **resource: object):
    ((found,),) = spans.decode(request(span, **resource).SerializeToString(), "application/x-protobuf")
    return found


def full_span() -> Span:
    return Span(
        trace_id=TRACE, span_id=SPAN, parent_span_id=b"\0" * 7 + b"\1", name="GET /x", kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=START, end_time_unix_nano=START + 5_000, flags=256, trace_state="dd=s:1",
        attributes=attributes(
            http__request__method="GET", http__response__status_code=500, http__route="/x", n=-3, f=0.5, b=True,
            l=["a", 1], d={"k": "v"},
        ),
        events=[
            Span.Event(
                time_unix_nano=START, name="exception",
                attributes=attributes(exception__type="ValueError", exception__message="no", exception__stacktrace="Tb"),
            )
        ],
        links=[Span.Link(trace_id=TRACE, span_id=SPAN, attributes=attributes(kind="task"))],
        status=Status(code=Status.STATUS_CODE_ERROR, message="failed"),
    )  # fmt: skip


def test_span_is_translated_whole() -> None:
    """Ids, times, tags, error, links and events of an OTLP span are those of the Datadog span."""
    span = decoded(full_span(), service__name="web", deployment__environment="prod", service__version="1.4")
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE.hex(), str(0x00F067AA0BA902B7), "1")
    assert (span.name, span.resource, span.service, span.type) == (
        "http.server.request",
        "GET /x",
        "web",
        "web",
    )
    assert (span.start_ns, span.duration_ns, span.error) == (START, 5_000, 1)
    assert span.meta == {
        "env": "prod", "version": "1.4", "http.method": "GET", "http.status_code": "500",
        "http.route": "/x", "b": "true", "l": '["a",1]', "d": '{"k":"v"}', "span.kind": "server",
        "error.type": "ValueError", "error.message": "no", "error.stack": "Tb",
    }  # fmt: skip
    assert span.metrics == {"n": -3, "f": 0.5, "_dd.top_level": 1.0}
    assert span.links == [SpanLink(TRACE.hex(), str(0x00F067AA0BA902B7), {"kind": "task"})]
    assert span.events[0]["name"] == "exception"


def test_json_and_protobuf_give_the_same_span() -> None:
    """OTLP's JSON form, ids in hexadecimal and numbers as text, is the same trace."""
    message = request(full_span(), service__name="web")
    as_json = MessageToDict(message)
    span = as_json["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    for holder in (span, *span["links"]):
        holder.update(traceId=TRACE.hex(), spanId=SPAN.hex())
    span.update(parentSpanId="0000000000000001", kind=2)
    span["status"]["code"] = 2
    from_json = spans.decode(json.dumps(as_json).encode(), "application/json; charset=utf-8")
    assert from_json == spans.decode(message.SerializeToString(), "application/x-protobuf")


@pytest.mark.parametrize(
    ("kind", "tags", "name", "type_"),
    [
        (Span.SPAN_KIND_SERVER, {"http__method": "GET"}, "http.server.request", "web"),
        (Span.SPAN_KIND_CLIENT, {"http__method": "GET"}, "http.client.request", "http"),
        (Span.SPAN_KIND_CLIENT, {"db__system": "PostgreSQL"}, "postgresql.query", "db"),
        (Span.SPAN_KIND_PRODUCER, {"messaging__system": "kafka"}, "kafka.producer", "custom"),
        (Span.SPAN_KIND_CLIENT, {"rpc__system": "grpc"}, "grpc.client.request", "http"),
        (Span.SPAN_KIND_SERVER, {}, "server.request", "web"),
        (Span.SPAN_KIND_INTERNAL, {}, "internal", "custom"),
        (Span.SPAN_KIND_INTERNAL, {"operation__name": "task.run", "span__type": "worker"}, "task.run", "worker"),
    ],
)  # fmt: skip
def test_operation_follows_the_agents_rules(kind, tags, name, type_) -> None:
    """The operation is what the span says, else protocol and kind."""
    span = decoded(Span(trace_id=TRACE, span_id=SPAN, name="n", kind=kind, attributes=attributes(**tags)))
    assert (span.name, span.type, span.service) == (name, type_, spans.NO_SERVICE)


def test_spans_own_service_goes_before_the_resources() -> None:
    """ddtrace writes a span's service beside it, where it is not the process's own."""
    own = Span(trace_id=TRACE, span_id=SPAN, attributes=attributes(service__name="reports-db"))
    plain = Span(trace_id=TRACE, span_id=SPAN)
    services = [decoded(span, service__name="reports").service for span in (own, plain)]
    assert services == ["reports-db", "reports"]
    assert "service.name" not in decoded(own, service__name="reports").meta


@pytest.mark.parametrize(
    ("kind", "parent", "entry"),
    [
        (Span.SPAN_KIND_INTERNAL, b"", True),
        (Span.SPAN_KIND_INTERNAL, SPAN, False),
        (Span.SPAN_KIND_SERVER, SPAN, True),
        (Span.SPAN_KIND_CLIENT, SPAN, False),
    ],
)
def test_roots_and_servers_are_top_level(kind, parent, entry) -> None:
    """An OTLP client marks nothing: roots, servers and consumers are a service's entry."""
    span = decoded(Span(trace_id=TRACE, span_id=SPAN, parent_span_id=parent, kind=kind))
    assert (span.metrics.get("_dd.top_level") == 1.0) is entry


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', "application/json"),
        (b"\x0a\xff", "application/x-protobuf"),
        (b"\x0b\x00", "application/x-protobuf"),
    ],
)
def test_rubbish_is_refused(body: bytes, content_type: str) -> None:
    """A body that is no OTLP request raises ValueError."""
    with pytest.raises(ValueError, match="not an OTLP"):
        spans.decode(body, content_type)


@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/x-protobuf"]))
def test_any_bytes_decode_or_raise_value_error(body: bytes, content_type: str) -> None:
    """No body makes the decoder fail in another way."""
    with suppress(ValueError):
        assert isinstance(spans.decode(body, content_type), list)


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=20), st.booleans())
def test_every_value_that_protobuf_writes_is_read(integer, number, text, flag) -> None:
    """Attribute values of every type come back as they were written."""
    for value, name in (
        (AnyValue(int_value=integer), "intValue"),
        (AnyValue(double_value=number), "doubleValue"),
        (AnyValue(string_value=text), "stringValue"),
        (AnyValue(bool_value=flag), "boolValue"),
    ):
        expected = {"intValue": integer, "doubleValue": number, "stringValue": text, "boolValue": flag}[name]
        assert protobuf.decode(value.SerializeToString(), "AnyValue") == {name: expected}


def test_nesting_is_bounded() -> None:
    """A value nested a thousand times is refused, not followed."""
    body = b""
    for _ in range(1000):
        inner = b"\x0a" + _varint(len(body)) + body
        body = b"\x2a" + _varint(len(inner)) + inner
    with pytest.raises(ValueError, match="too deeply"):
        protobuf.decode(body, "AnyValue")


def test_unknown_fields_are_skipped() -> None:
    """Fields of a newer OTLP, of every wire type, do not disturb."""
    extra = b"\x98\x06\x01" + b"\x91\x06" + struct.pack("<d", 1.0) + b"\x95\x06" + b"abcd" + b"\x9a\x06\x02hi"
    assert protobuf.decode(extra + b"\x0a\x01k", "KeyValue") == {"key": "k"}


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes((number & 127 | 128,))
        number >>= 7
    return out + bytes((number,))
