"""OTLP logs: opentelemetry's own messages over HTTP to a real agent, as Datadog's lines."""

from __future__ import annotations

import json
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_agent_helpers import START, Clock
from test_otlp_traces import SPAN, TRACE, attributes

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.intake.otlp import logs as otlp_logs

logs_service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValueList  # noqa: E402
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs  # noqa: E402
from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: E402

NS = 10**9


def request(*records: LogRecord, **resource: object):
    return logs_service.ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=attributes(**resource)),
                scope_logs=[ScopeLogs(log_records=records)],
            )
        ]
    )


def decoded(record: LogRecord, **resource: object):
    (log,) = otlp_logs.decode(request(record, **resource).SerializeToString(), "", START + 0.5)
    return log


def test_lines_arrive_with_status_service_and_ids(run_agent, clock: Clock) -> None:
    """Posted as an exporter does: the line is in the records, found by its trace."""
    agent: LocalAgent = run_agent(clock=clock)
    record = LogRecord(
        time_unix_nano=START * NS, severity_number=17, severity_text="SEVERE", body=AnyValue(string_value="no\nroom"),
        trace_id=TRACE, span_id=SPAN, attributes=attributes(disk="a", free=0),
    )  # fmt: skip
    message = request(record, service__name="reports", deployment__environment="prod", host__name="h1")
    answer = httpx.post(
        f"http://127.0.0.1:{agent.trace_port}/v1/logs", content=message.SerializeToString(), timeout=60
    )
    assert (answer.status_code, answer.content) == (200, b"")
    (line,) = agent.received.logs
    assert line["message"] == "no\nroom"
    assert (line["status"], line["service"], line["disk"], line["free"]) == ("error", "reports", "a", 0)
    assert (line["dd.trace_id"], line["dd.span_id"]) == (TRACE.hex(), str(int.from_bytes(SPAN)))
    assert agent.holdings.records.counts()["logs"]["rows"] == 1


@pytest.mark.parametrize(
    ("number", "text", "status"),
    [
        (1, "", "debug"), (5, "", "debug"), (9, "", "info"), (13, "", "warn"), (18, "", "error"), (21, "", "emergency"),
        (0, "WARNING", "warn"), (0, "", "info"), (99, "error", "error"), (17, "SEVERE", "error"),
    ],
)  # fmt: skip
def test_status_is_that_of_the_severity(number, text, status) -> None:
    """The number says it; without one the text."""
    record = json.dumps({"severityNumber": number, "severityText": text})
    body = b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [' + record.encode() + b"]}]}]}"
    (log,) = otlp_logs.decode(body, "application/json", START)
    assert log.status == status


def test_resource_names_the_tags() -> None:
    """Service, environment and version are Datadog's; what else is known of the resource is the line's."""
    log = decoded(
        LogRecord(time_unix_nano=START * NS), service__name="web", deployment__environment__name="eu,x",
        service__version="2", cloud__region="r",
    )  # fmt: skip
    assert (log.service, log.tags, log.trace_id, log.span_id) == (
        "web", ("service:web", "env:eu_x", "version:2"), "", "",
    )  # fmt: skip
    assert log.attributes == {"cloud.region": "r"}


def test_structured_body_gives_attributes() -> None:
    """A body of fields is a line of JSON: its message is the message."""
    body = AnyValue(kvlist_value=KeyValueList(values=attributes(message="done", rows=5)))
    log = decoded(LogRecord(body=body, observed_time_unix_nano=(START - 1) * NS))
    assert (log.message, log.attributes, log.timestamp) == ("done", {"rows": 5}, START - 1)


def test_a_line_without_a_time_is_of_now() -> None:
    """So is one of the year 1970."""
    assert decoded(LogRecord()).timestamp == decoded(LogRecord(time_unix_nano=5)).timestamp == START + 0.5


@pytest.mark.parametrize(
    "record",
    [
        5, {"traceId": "zz"}, {"traceId": "1" * 40}, {"severityNumber": "loud"}, {"body": 5}, {"timeUnixNano": []},
        {"body": {"stringValue": 5}}, {"body": {"intValue": 10**30}}, {"attributes": [{}]},
    ],
)  # fmt: skip
def test_wrong_types_are_refused_and_counted(run_agent, record) -> None:
    """Nothing of such a request is kept."""
    agent: LocalAgent = run_agent()
    answer = httpx.post(
        f"http://127.0.0.1:{agent.trace_port}/v1/logs",
        json={"resourceLogs": [{"scopeLogs": [{"logRecords": [{}, record]}]}]},
        timeout=60,
    )
    assert answer.status_code == 400, answer.text
    assert agent.holdings.trace_api.rejected == {"/v1/logs": 1}
    assert agent.received.logs == []


@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/x-protobuf"]))
def test_any_bytes_are_lines_or_raise_value_error(body: bytes, content_type: str) -> None:
    """No body makes the decoder fail in another way."""
    with suppress(ValueError):
        assert isinstance(otlp_logs.decode(body, content_type, START), list)
