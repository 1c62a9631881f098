"""A probe metric, span and log line, sent as an application's own are, and looked for at the other end. No state."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from ...catalog import Metric, SpanOperation
from ...config import Config
from ...output import tracing as tracing_door
from ...output.logs.agent import AgentTcp
from ...output.logs.lines import LineRenderer
from ...output.metrics import AgentSender, Metrics
from ...output.tracing import Tracing
from .connections import Intake, fetch
from .report import Finding

METRIC: Final = Metric(
    "streaming_dd.doctor.probe", "count", "unit", ("probe",), "Probes of `streaming-dd doctor`."
)
OPERATION: Final = SpanOperation("streaming_dd.doctor", "probe", "The span of `streaming-dd doctor`.")
_MESSAGE: Final = "probe of streaming-dd doctor"
_POLL: Final = 0.1


def probe(
    config: Config, tracing: Tracing, intake: Intake | None, reachable: set[str], timeout: float
) -> Iterator[Finding]:
    """Send what can be sent, and say of each how far it was seen to go.

    `reachable` names the findings that were fine. Only the local agent can be asked what it received.
    """
    page = intake.page if intake is not None and intake.is_local_agent else None
    name = f"doctor-{secrets.token_hex(4)}" if page else "doctor"  # Datadog keeps a series for each tag value
    deadline = time.monotonic() + timeout
    if config.metrics_enabled and "agent.dogstatsd" in reachable:
        _send_metric(config, name)
        yield _judge("metric", METRIC.name, page, deadline, lambda get: _has_metric(get, name))
    trace_id = ""
    if tracing.enabled and "agent.traces" in reachable:
        trace_id = _send_span(tracing)
        yield _judge(
            "span", OPERATION.name, page, deadline, lambda get: bool(_trace(get, trace_id).get("spans"))
        )
    if config.logs_enabled and config.log_agent and "agent.logs" in reachable:
        delivered = _send_log(config, name, trace_id, max(5.0, deadline - time.monotonic()))
        yield (
            _judge("log", _MESSAGE, page, deadline, lambda get: _has_log(get, name))
            if delivered
            else Finding("probe.log", "error", f"{config.log_agent} did not take the log line")
        )


# --- sending ----------------------------------------------------------------------------------------------------


class _ProbeSender(AgentSender):
    """Sends the probe alone: the zeros of our own telemetry would stay as groups of monitors, of no service."""

    def send(self, payload: bytes) -> bool:
        lines = [line for line in payload.splitlines() if line.startswith(METRIC.name.encode())]
        return super().send(b"\n".join(lines)) if lines else True


def _send_metric(config: Config, name: str) -> None:
    metrics = Metrics(config, _ProbeSender(config))
    try:
        metrics.counter(METRIC, probe=name).increment()
        metrics.flush()
    finally:
        metrics.sender.close()


def _send_span(tracing: Tracing) -> str:
    before = tracing.active()
    span = tracing.start_request("probe", (), OPERATION)
    span.finish()
    tracing.activate(before)
    tracing.flush()
    return f"{span.trace_id:032x}"


def _send_log(config: Config, name: str, trace_id: str, timeout: float) -> bool:
    fields: dict[str, object] = {"message": _MESSAGE, "logger.name": "streaming_dd.doctor", "probe": name}
    if trace_id:
        fields["dd.trace_id"] = trace_id
    destination = AgentTcp(config.log_agent, 10)
    destination.put(LineRenderer(config, tracing_door.correlation).from_fields(fields, 20))
    return destination.stop(timeout)


# --- looking for it ---------------------------------------------------------------------------------------------

Get = Callable[[str], Any]


def _judge(
    kind: str, what: str, page: tuple[str, int] | None, deadline: float, seen: Callable[[Get], bool]
) -> Finding:
    if page is None:
        return Finding(
            f"probe.{kind}",
            "info",
            f"a {kind} ({what}) was sent; whether it arrived cannot be asked here",
            "Look for it in Datadog; it takes a minute. The local agent (`streaming-dd agent`) can be asked.",
        )

    def get(path: str) -> Any:
        status, body = fetch(f"http://{page[0]}:{page[1]}", "GET", path)
        return json.loads(body) if status == 200 else {}

    while True:
        try:
            if seen(get):
                return Finding(
                    f"probe.{kind}", "ok", f"a {kind} ({what}) went all the way to the local agent"
                )
        except (OSError, ValueError, http.client.HTTPException) as error:
            return Finding(f"probe.{kind}", "warning", f"the local agent's API does not answer ({error!r})")
        if time.monotonic() > deadline:
            return Finding(
                f"probe.{kind}",
                "error",
                f"a {kind} ({what}) was sent and did not arrive at the local agent",
                "Do metrics, spans and logs go to the same agent? `streaming-dd config` prints the addresses.",
            )
        time.sleep(_POLL)


def _has_metric(get: Get, name: str) -> bool:
    return any(
        metric["name"] == METRIC.name and f"probe:{name}" in metric["tags"]
        for metric in get("/api/summary").get("metrics", ())
    )


def _trace(get: Get, trace_id: str) -> dict[str, Any]:
    found: dict[str, Any] = get(f"/api/traces/{trace_id}")
    return found


def _has_log(get: Get, name: str) -> bool:
    return bool(get(f"/api/logs?range=5m&query=%40probe%3A{name}").get("logs"))
