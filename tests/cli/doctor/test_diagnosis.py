"""The doctor against agents that are there, half there, somebody else, or gone."""

from __future__ import annotations

import argparse
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

import streaming_dd as dd
from streaming_dd import recorder, timers
from streaming_dd.cli.doctor import Elsewhere, Report, application, command, connections, diagnose
from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.settings import Settings
from streaming_dd.tasks.hooks import wrapping

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
    report = diagnose(timeout=60)
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


def test_a_look_leaves_no_group_in_monitors(local_agent: LocalAgent) -> None:
    """Of metrics the probe alone is sent, with the tags of the configuration."""
    use(local_agent)
    assert diagnose(timeout=60).ok
    assert {item.name for item in local_agent.received.metrics} == {"streaming_dd.doctor.probe"}


def test_the_page_in_place_of_the_trace_port(local_agent: LocalAgent) -> None:
    """Whoever sends spans to the local agent's page is told where it takes them."""
    use(local_agent, trace_agent_url=local_agent.page_url)
    (finding,) = [item for item in diagnose(send=False).findings if item.id == "agent.traces"]
    assert finding.message == f"{local_agent.page_url} is the local agent's page: it takes no spans"
    assert finding.fix.startswith(f"Its traces are at port {local_agent.trace_port}: correct trace_agent_url")


def test_an_agent_that_was_asked_for_by_offset_is_started_with_it() -> None:
    """The proposed command is the one whose agent was looked for."""
    use()
    fixes = [item.fix for item in diagnose(send=False, agent=Elsewhere(port_offset=23_000)).findings]
    assert sum("Start one (`streaming-dd agent --port-offset 23000`)" in fix for fix in fixes) == 3
    assert Elsewhere("10.0.0.7").start == "`streaming-dd agent --host 10.0.0.7`"


def test_a_second_time_in_the_same_process(local_agent: LocalAgent) -> None:
    """Each run has a probe of its own: what an earlier one sent proves nothing."""
    use(local_agent)
    assert diagnose(timeout=60).ok
    assert diagnose(timeout=60).ok
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
    report = diagnose(timeout=60)
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
    report = diagnose(timeout=60)
    for name in ("agent.dogstatsd", "agent.traces", "agent.logs"):
        assert message(report, name).endswith("the host name does not resolve")


@pytest.mark.slow
def test_an_agent_without_the_endpoint_that_ddtrace_uses(
    http_server: Callable[[tuple[int, bytes]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that knows no /v0.5/traces would lose every span: it is a warning, until v0.4 was asked for."""
    info = {"version": "6.10.0", "endpoints": ["/v0.4/traces"]}
    use(trace_agent_url=http_server((200, json.dumps(info).encode())))
    assert levels(diagnose(send=False), "agent")["agent.traces"] == "warning"
    monkeypatch.setenv("DD_TRACE_API_VERSION", "v0.4")
    assert levels(diagnose(send=False), "agent")["agent.traces"] == "info"


def test_without_tracing_the_local_agent_is_asked_all_the_same(local_agent: LocalAgent) -> None:
    """Whether metrics and lines arrived is asked of the local agent also where no spans are made."""
    use(local_agent, tracing_enabled=False)
    assert levels(diagnose(timeout=60), "probe") == {"probe.metric": "ok", "probe.log": "ok"}


def test_datadogs_own_agent_cannot_be_asked(
    local_agent: LocalAgent, http_server: Callable[[tuple[int, bytes]], str]
) -> None:
    """What went out is said, and that nobody here can say whether it arrived; that is nothing wrong."""
    info = {"version": "7.70.0", "endpoints": ["/v0.4/traces", "/v0.5/traces"], "client_drop_p0s": True}
    use(local_agent, trace_agent_url=http_server((200, json.dumps(info).encode())))
    report = diagnose(timeout=60)
    assert message(report, "agent.traces").startswith(
        "a Datadog Agent 7.70.0 takes spans at http://127.0.0.1:"
    )
    assert levels(report, "probe") == {"probe.metric": "info", "probe.span": "info", "probe.log": "info"}
    assert report.ok
    (sample,) = [item for item in local_agent.received.metrics if item.name == "streaming_dd.doctor.probe"]
    assert (
        "probe:doctor" in sample.tags
    )  # the same tag each time: in Datadog, another would be another series


@pytest.mark.slow
@pytest.mark.parametrize("answer", [(404, b"no such page"), (200, b"<html>"), (200, b'{"hello": 1}')])
def test_somebody_else_on_the_trace_port(
    http_server: Callable[[tuple[int, bytes]], str], answer: tuple[int, bytes]
) -> None:
    """A web server in the Agent's place is not taken for one."""
    use(trace_agent_url=http_server(answer))
    report = diagnose(timeout=60)
    assert levels(report)["agent.traces"] == "error"
    assert f"GET /info gave status {answer[0]}" in message(report, "agent.traces")


def test_a_port_that_does_not_speak_http() -> None:
    """A server that closes at once, or says something else, is told from one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):  # the test has ended
                while True:  # the first to ask may be ddtrace, which looks for its Agent by itself
                    with server.accept()[0] as connection, suppress(ConnectionError):
                        connection.recv(1000)
                        connection.sendall(b"220 smtp ready\r\n")

        threading.Thread(target=answer, daemon=True).start()
        use(trace_agent_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        report = diagnose(send=False)
        server.shutdown(socket.SHUT_RDWR)
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
        report = diagnose(timeout=60)
        assert message(report, "agent.dogstatsd") == f"unix://{path} takes datagrams"
        assert levels(report, "probe") == {"probe.metric": "ok", "probe.span": "ok"}
    use(dogstatsd_url=f"unix://{path}")
    assert "there is no such socket" in message(diagnose(timeout=60), "agent.dogstatsd")
    path.write_text("")
    assert "socket operation on non-socket" in message(diagnose(timeout=60), "agent.dogstatsd")


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


@pytest.mark.slow
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
    assert list(levels(diagnose(timeout=60), "agent")) == ["agent.dogstatsd"]
    use(enabled=False)
    assert levels(diagnose(timeout=60), "agent") == {}


def test_settings_that_cannot_be_used_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong setting is reported with its name and what to write, not raised."""
    monkeypatch.setenv("STREAMING_LOG_LEVEL", "LOUD")
    report = diagnose(timeout=60)
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


def test_the_first_middleware_of_an_application_misses_nothing() -> None:
    """What `add_middleware` put outermost sees all that the application answers; what came before it does not."""
    app = FastAPI()
    app.add_middleware(dd.DatadogMiddleware)
    assert [item.level for item in application.findings(app)] == ["ok"]
    app.add_middleware(GZipMiddleware)
    (finding,) = application.findings(app)
    assert finding.message.startswith("DatadogMiddleware is inside GZipMiddleware")


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


def test_what_is_instrumented_twice() -> None:
    """A second middleware, and a coordinator that is decorated and instrumented, are named; each counts once."""
    wrapping._doubles.clear()

    class Jobs:
        @timers.starts_task
        async def start_task(self, task: Any, app: str, model: str) -> None: ...

        @timers.runs_task
        async def _run_task(self, task: Any, key: str) -> None: ...

    app = dd.DatadogMiddleware(Starlette(middleware=[Middleware(dd.DatadogMiddleware)]))
    assert {item.id for item in application.doubled(application.layers(app))} == {
        "application.middleware_twice"
    }
    timers.instrument(Jobs())
    (found,) = application.doubled(application.layers(dd.DatadogMiddleware(Starlette())))
    assert (found.id, found.level) == ("application.task_twice", "warning")
    assert "Jobs._run_task by @timers.runs_task and instrument()" in found.message
    wrapping._doubles.clear()


def test_an_app_that_is_its_own_inner() -> None:
    """A cycle of wrappers ends."""
    app = Starlette()
    app.app = app  # type: ignore[attr-defined]
    assert application.layers(app) == [Starlette]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the path itself."""


def test_an_application_without_routes_needs_patterns() -> None:
    """Its requests would all be `unmatched`; with patterns, or with a router, there is nothing to say."""
    use()
    found = "application.routes"
    assert levels(diagnose(dd.DatadogMiddleware(bare), send=False))[found] == "warning"
    assert levels(diagnose(dd.instrument(bare, service="shop"), send=False))[found] == "warning"
    routed = Starlette(routes=[Route("/", bare)])
    assert found not in levels(diagnose(dd.DatadogMiddleware(routed), send=False))
    use(route_patterns=("/stream/:id",))
    assert found not in levels(diagnose(dd.DatadogMiddleware(bare), send=False))


@pytest.fixture
def moved() -> Iterator[tuple[LocalAgent, int]]:
    """A local agent as `streaming-dd agent --port-offset N` starts it, and N."""
    for _ in range(50):
        # Ports that neither `free_port` nor another test of an offset takes.
        offset = random.randrange(22_000, 22_240)
        agent = LocalAgent(Settings(headless=True).shifted(offset))
        with suppress(LocalAgentError), ExitStack() as stack:
            stack.enter_context(agent.running())
            yield agent, offset
            return
    pytest.fail("no row of free ports")


def test_an_agent_on_other_ports_is_found_where_it_is_said_to_be(moved: tuple[LocalAgent, int]) -> None:
    """The settings lead nowhere; asked for at its host and offset, the agent has all three, and the export line is given."""
    agent, offset = moved
    use(log_agent=CLOSED)
    assert set(levels(diagnose(send=False), "agent").values()) == {"error"}
    report = diagnose(agent=Elsewhere(port_offset=offset), timeout=60)
    assert set(levels(report, "agent").values()) == {"ok"}
    assert levels(report, "probe") == {"probe.metric": "ok", "probe.span": "ok", "probe.log": "ok"}
    (told,) = [finding for finding in report.findings if finding.id == "settings.agent"]
    assert f"sends to udp://{CLOSED}, http://{CLOSED} and {CLOSED}" in told.message
    assert f"export DD_DOGSTATSD_URL=udp://127.0.0.1:{agent.dogstatsd_port} " in told.fix
    assert f"STREAMING_LOG_AGENT=127.0.0.1:{agent.logs_port}" in told.fix


def test_settings_that_lead_to_the_named_agent_need_no_word(moved: tuple[LocalAgent, int]) -> None:
    """Where the application sends there already, nothing is said of it."""
    agent, offset = moved
    use(agent)
    assert "settings.agent" not in levels(diagnose(send=False, agent=Elsewhere(port_offset=offset)))


def test_both_commands_take_the_agents_place() -> None:
    """`--agent` and `--port-offset` are options of `streaming-dd doctor` and of Django's command."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    options = parser.parse_args(["--agent", "box", "--port-offset", "100"])
    assert command.elsewhere(options) == Elsewhere("box", 100)
    assert Elsewhere("box", 100).addresses()["dogstatsd_url"] == "udp://box:8225"
    assert Elsewhere("::1").addresses()["trace_agent_url"] == "http://[::1]:8126"
    assert command.elsewhere(parser.parse_args([])) is None
    with pytest.raises(argparse.ArgumentError, match="write a whole number from 0 to 50000"):
        parser.parse_args(["--port-offset", "-1"])


def test_no_password_of_an_address_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither findings nor the list of variables show the password of an address or of a tag."""
    environ = {
        "DD_TRACE_AGENT_URL": "http://u:hunter2x@127.0.0.1:1",
        "DD_DOGSTATSD_URL": "udp://u:hunter2x@127.0.0.1:1",
        "DD_TAGS": "password:hunter2x",
        "STREAMING_LOG_TRACE_URL": "http://u:hunter2x@h/",
        "STREAMING_LOG_AGENT": "u:hunter2x@127.0.0.1:1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    report = diagnose(send=False)
    assert levels(report, "agent")["agent.traces"] == "error"
    assert "hunter2x" not in report.text()
    assert "hunter2x" not in str(report.as_dict())
