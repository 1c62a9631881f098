"""The doctor against agents that are there, half there, somebody else, or gone."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

import streaming_dd as dd
from streaming_dd import recorder
from streaming_dd.doctor import Report, application, connections, diagnose
from streaming_dd.local_agent import LocalAgent

CLOSED = "127.0.0.1:1"


def use(agent: LocalAgent | None = None, **settings: Any) -> None:
    """Configure this process, to send to `agent` unless told otherwise."""
    addresses: dict[str, Any] = {"dogstatsd_url": f"udp://{CLOSED}", "trace_agent_url": f"http://{CLOSED}"}
    if agent is not None:
        addresses = {
            "dogstatsd_url": f"udp://127.0.0.1:{agent.dogstatsd_port}",
            "trace_agent_url": f"http://127.0.0.1:{agent.trace_port}",
            "log_agent": f"127.0.0.1:{agent.logs_port}",
        }
    base = {"service": "shop", "env": "test", "version": "1", "log_stdout": False, "worker": "0"}
    recorder.configure(**{**base, **addresses, **settings})


def levels(report: Report, prefix: str = "") -> dict[str, str]:
    return {item.id: item.level for item in report.findings if item.id.startswith(prefix)}


def message(report: Report, name: str) -> str:
    return next(item.message for item in report.findings if item.id == name)


def test_against_the_local_agent_everything_is_verified(local_agent: LocalAgent) -> None:
    """Each kind is sent as an application's own is, and is asked for at the other end; nothing is wrong."""
    use(local_agent)
    report = diagnose()
    assert levels(report, "agent") == {"agent.dogstatsd": "ok", "agent.traces": "ok", "agent.logs": "ok"}
    assert levels(report, "probe") == {"probe.metric": "ok", "probe.span": "ok", "probe.log": "ok"}
    assert report.ok
    assert report.exit_code(strict=True) == 0
    assert "the local agent takes spans" in message(report, "agent.traces")
    (span,) = local_agent.received.spans
    assert (span.name, span.service) == ("streaming_dd.doctor", "shop")
    (line,) = [log for log in local_agent.received.logs if "probe" in log]
    assert line["dd.trace_id"] == span.trace_id
    (sample,) = [item for item in local_agent.received.metrics if item.name == "streaming_dd.doctor.probe"]
    assert "service:shop" in sample.tags


def test_a_second_time_in_the_same_process(local_agent: LocalAgent) -> None:
    """Each run has a probe of its own: what an earlier one sent proves nothing."""
    use(local_agent)
    assert diagnose().ok
    assert diagnose().ok
    assert len(local_agent.received.spans) == 2


def test_without_probes_nothing_is_sent(local_agent: LocalAgent) -> None:
    """`send=False` only looks."""
    use(local_agent)
    report = diagnose(send=False)
    assert levels(report, "probe") == {}
    assert levels(report, "agent")["agent.dogstatsd"] == "ok"
    assert not local_agent.received.spans


def test_with_no_agent_each_intake_is_an_error() -> None:
    """Refused connections are said with what to start or to correct, and no probe is tried."""
    use(log_agent=CLOSED)
    report = diagnose()
    assert levels(report, "agent") == {
        "agent.dogstatsd": "error",
        "agent.traces": "error",
        "agent.logs": "error",
    }
    assert levels(report, "probe") == {}
    assert (
        message(report, "agent.dogstatsd") == f"nothing takes metrics at udp://{CLOSED}: connection refused"
    )
    assert report.exit_code() == 1
    assert "streaming-dd agent" in report.findings[-1].fix or any(
        "streaming-dd agent" in i.fix for i in report.findings
    )


def test_an_agent_whose_parts_are_not_the_same(local_agent: LocalAgent) -> None:
    """Metrics that go to another agent than spans are seen not to arrive."""
    with LocalAgent(dogstatsd_port=0, trace_port=None, logs_port=None, page_port=None).running() as other:
        use(local_agent, dogstatsd_url=f"udp://127.0.0.1:{other.dogstatsd_port}")
        report = diagnose(timeout=1.0)
    assert levels(report, "probe") == {"probe.metric": "error", "probe.span": "ok", "probe.log": "ok"}
    assert "did not arrive" in message(report, "probe.metric")


def test_a_host_that_does_not_resolve() -> None:
    """It is said in words, for each kind of address."""
    use(
        dogstatsd_url="udp://nowhere.invalid:8125",
        trace_agent_url="http://nowhere.invalid:8126",
        log_agent="nowhere.invalid:10518",
    )
    report = diagnose()
    for name in ("agent.dogstatsd", "agent.traces", "agent.logs"):
        assert message(report, name).endswith("the host name does not resolve")


def test_datadogs_own_agent_cannot_be_asked(
    local_agent: LocalAgent, http_server: Callable[[tuple[int, bytes]], str]
) -> None:
    """What went out is said, and that nobody here can say whether it arrived; that is nothing wrong."""
    info = {"version": "7.70.0", "endpoints": ["/v0.4/traces"], "client_drop_p0s": True}
    use(local_agent, trace_agent_url=http_server((200, json.dumps(info).encode())))
    report = diagnose()
    assert message(report, "agent.traces").startswith(
        "a Datadog Agent 7.70.0 takes spans at http://127.0.0.1:"
    )
    assert levels(report, "probe") == {"probe.metric": "info", "probe.span": "info", "probe.log": "info"}
    assert report.ok
    (sample,) = [item for item in local_agent.received.metrics if item.name == "streaming_dd.doctor.probe"]
    assert (
        "probe:doctor" in sample.tags
    )  # the same tag each time: in Datadog, another would be another series


@pytest.mark.parametrize("answer", [(404, b"no such page"), (200, b"<html>"), (200, b'{"hello": 1}')])
def test_somebody_else_on_the_trace_port(
    http_server: Callable[[tuple[int, bytes]], str], answer: tuple[int, bytes]
) -> None:
    """A web server in the Agent's place is not taken for one."""
    use(trace_agent_url=http_server(answer))
    report = diagnose()
    assert levels(report)["agent.traces"] == "error"
    assert f"GET /info gave status {answer[0]}" in message(report, "agent.traces")


def test_a_port_that_does_not_speak_http() -> None:
    """A server that closes at once, or says something else, is told from one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"220 smtp ready\r\n")
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        use(trace_agent_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        report = diagnose(send=False)
        thread.join(10)
    assert "it does not speak HTTP" in message(report, "agent.traces")


def test_unix_sockets(tmp_path: Path) -> None:
    """Sockets that take datagrams, that are missing, and files that are none."""
    path = tmp_path / "dsd.socket"
    with LocalAgent(
        dogstatsd_port=None,
        dogstatsd_socket=str(path),
        trace_port=0,
        trace_socket=str(tmp_path / "apm.socket"),
        logs_port=None,
        page_port=0,
        headless=True,
    ).running():
        use(dogstatsd_url=f"unix://{path}", trace_agent_url=f"unix://{tmp_path}/apm.socket")
        report = diagnose()
        assert message(report, "agent.dogstatsd") == f"unix://{path} takes datagrams"
        assert levels(report, "probe") == {"probe.metric": "ok", "probe.span": "ok"}
    use(dogstatsd_url=f"unix://{path}")
    assert "there is no such socket" in message(diagnose(), "agent.dogstatsd")
    path.write_text("")
    assert "socket operation on non-socket" in message(diagnose(), "agent.dogstatsd")


def test_an_otlp_receiver(local_agent: LocalAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OTLP configured, the receiver is asked, not the Agent."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{local_agent.trace_port}")
    use()
    report = diagnose(send=False)
    assert message(report, "agent.traces") == (
        f"an OTLP receiver takes spans at http://127.0.0.1:{local_agent.trace_port}/v1/traces"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://{CLOSED}/v1/traces")
    assert "connection refused" in message(diagnose(send=False), "agent.traces")


def test_an_otlp_receiver_that_refuses(
    http_server: Callable[[tuple[int, bytes]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that wants a token is told from one that is not there."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", http_server((401, b"who are you?")))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b, nonsense, =x")
    use()
    report = diagnose(send=False)
    assert "answers an empty OTLP request with status 401" in message(report, "agent.traces")
    assert connections._otlp_headers({"OTEL_EXPORTER_OTLP_HEADERS": "x-token=a%20b, nonsense, =x"}) == {
        "x-token": "a b"
    }


def test_pillars_that_are_off_are_not_looked_for() -> None:
    """Who sends no spans needs nobody who takes them."""
    use(tracing_enabled=False, logs_enabled=False)
    assert list(levels(diagnose(), "agent")) == ["agent.dogstatsd"]
    use(enabled=False)
    assert levels(diagnose(), "agent") == {}


def test_settings_that_cannot_be_used_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting is reported with its name and what to write, not raised."""
    monkeypatch.setenv("STREAMING_LOG_LEVEL", "LOUD")
    report = diagnose()
    (finding,) = report.findings
    assert finding.id == "settings.invalid"
    assert "STREAMING_LOG_LEVEL" in finding.message
    assert "DEBUG" in finding.fix
    assert report.exit_code() == 1


# --- the application's layers -----------------------------------------------------------------------------------


class Slow(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


def test_layers_of_a_wrapped_application() -> None:
    """A wrapped application is fine; Starlette's own GZip leaves event streams alone."""
    app = dd.DatadogMiddleware(Starlette(middleware=[Middleware(GZipMiddleware)]))
    (finding,) = application.findings(app)
    assert (finding.level, finding.message) == (
        "ok",
        "layers: DatadogMiddleware > Starlette > GZipMiddleware",
    )


def test_layers_that_harm() -> None:
    """An unwrapped application, a wrapper that is not outermost, BaseHTTPMiddleware, GZip of an old Starlette."""
    bare = [item.id for item in application.findings(Starlette())]
    assert bare == ["application.middleware"]
    inner = GZipMiddleware(dd.DatadogMiddleware(Starlette(middleware=[Middleware(Slow)])))
    found = {item.id: item for item in application.findings(inner)}
    assert "is inside GZipMiddleware" in found["application.middleware"].message
    assert "Slow is a BaseHTTPMiddleware" in found["application.base_http_middleware"].message
    assert "application.gzip" not in found


def test_gzip_of_an_old_starlette(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 0.46, GZipMiddleware compressed everything."""
    monkeypatch.delattr("starlette.middleware.gzip.DEFAULT_EXCLUDED_CONTENT_TYPES")
    app = dd.DatadogMiddleware(Starlette(middleware=[Middleware(GZipMiddleware)]))
    assert "application.gzip" in {item.id for item in application.findings(app)}


def test_ddtraces_middleware_twice() -> None:
    """Added by hand around what ddtrace has wrapped already: every request has two spans."""
    from ddtrace.contrib.asgi import TraceMiddleware

    app = dd.DatadogMiddleware(TraceMiddleware(TraceMiddleware(Starlette())))
    assert "application.ddtrace_twice" in {item.id for item in application.findings(app)}
    app = dd.DatadogMiddleware(TraceMiddleware(Starlette()))
    assert "application.ddtrace_twice" not in {item.id for item in application.findings(app)}


def test_an_app_that_is_its_own_inner() -> None:
    """A cycle of wrappers ends."""
    app = Starlette()
    app.app = app  # type: ignore[attr-defined]
    assert application.layers(app) == [Starlette]
