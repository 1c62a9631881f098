"""What leaves by the direct path is what ddtrace's own start_span() and finish() send, field by field.

Each configuration runs `span_scenarios.py` in a process of its own, once by each path, against a receiver. What may
differ is listed in `DIFFERS`, with its reason; nothing else does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trace_receiver import TraceReceiver

pytestmark = pytest.mark.process

#: Field -> why it is not compared by its value.
DIFFERS = {
    "trace_id": "random; which spans share one is compared",
    "span_id": "random; which span is whose parent is compared",
    "parent_id": "random; which span is whose parent is compared",
    "start": "the moment of the run; that it is one is compared",
    "duration": "the length of the run; that it is positive is compared",
    "_dd.p.tid": "the second in which the trace began",
    "_dd.tracer_kr": "the share of traces that the writer has kept so far, a number of the moment",
    "_dd.p.ksr": "of a rate between 0 and 1: compared by the test of rates",
    "task.trace_id": "names a random trace",
    "task.cpu_ms": "measured",
    "task.queue_time_ms": "measured",
    "task.loop_ms": "measured, and said of slow steps only",
    "task.longest_step_ms": "measured, and said of slow steps only",
    "task.longest_step_at": "said of slow steps only",
    "task.waited_at": "said of long waits only",
    "stream.gap_ms": "measured",
    "stream.first_event_ms": "measured",
    "thread.id": "of the run",
}
_SOMETIMES = {"task.loop_ms", "task.longest_step_ms", "task.longest_step_at", "task.waited_at"}

#: Spans that are made of slow work only: a busy machine has more of them.
_SLOW_WORK = {"asgi.background"}

#: Configuration -> environment, and how the reason for the full path begins ("" for the direct path).
CONFIGURATIONS: dict[str, tuple[dict[str, str], str]] = {
    "v0.4": ({"DD_TRACE_API_VERSION": "v0.4"}, ""),
    "v0.5": ({"DD_TRACE_API_VERSION": "v0.5"}, ""),
    "nothing set": ({"DD_SERVICE": "", "DD_ENV": "", "DD_VERSION": ""}, ""),
    "DD_TAGS": ({"DD_TAGS": "team:data,span.kind:other,version:9"}, ""),
    "tags by code": ({"SCENARIO_SETUP": "tags"}, ""),
    "git": ({"DD_GIT_REPOSITORY_URL": "https://example.org/a.git", "DD_GIT_COMMIT_SHA": "abc"}, ""),
    "hostname": ({"DD_TRACE_REPORT_HOSTNAME": "true"}, ""),
    "64 bits": ({"DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED": "false"}, ""),
    "client-side stats": ({"DD_TRACE_STATS_COMPUTATION_ENABLED": "true"}, ""),
    "peer service": ({"DD_TRACE_SPAN_ATTRIBUTE_SCHEMA": "v1"}, ""),
    "telemetry": ({"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "true"}, ""),
    "partial flush": ({"DD_TRACE_PARTIAL_FLUSH_MIN_SPANS": "5"}, ""),
    "restart": ({"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "restart"}, ""),
    "ignore": ({"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "ignore"}, ""),
    "b3 alone": ({"DD_TRACE_PROPAGATION_STYLE": "b3"}, ""),
    "native span events": ({"DD_TRACE_NATIVE_SPAN_EVENTS": "true"}, ""),
    "exception replay": ({"DD_EXCEPTION_REPLAY_ENABLED": "true"}, ""),
    "tasks as children": ({"STREAMING_TASK_TRACE": "child"}, ""),
    "DD_TAGS that keep": ({"DD_TAGS": "manual.keep:true"}, "DD_TAGS decide"),
    "service mapping": ({"DD_SERVICE_MAPPING": "site:shop"}, "service mapping"),
    "sampling rules": ({"DD_TRACE_SAMPLING_RULES": '[{"sample_rate":1}]'}, "sampling rules"),
    "span sampling": ({"DD_SPAN_SAMPLING_RULES": '[{"name":"*"}]'}, "sampling rules"),
    "trace filter": ({"SCENARIO_SETUP": "filter"}, "trace filters"),
    "span processor": ({"SCENARIO_SETUP": "span processor"}, "span processors"),
    "AppSec": ({"DD_APPSEC_ENABLED": "true", "RUN": "ddtrace-run"}, "span processors"),
    "profiler": ({"RUN": "ddtrace-run", "DD_PROFILING_ENABLED": "true"}, "the profiler"),
    "OTLP": ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTLP"),
    "a name is missing": ({"SCENARIO_SETUP": "missing"}, "ddtrace: Span has no"),
}  # fmt: skip


def run(framework: str, environment: dict[str, str], receiver: TraceReceiver) -> dict[str, str]:
    """Run the scenarios; return why each phase took ddtrace's own path, if it did."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DD_", "OTEL_", "STREAMING_"))
    }
    settings = {
        "DD_TRACE_AGENT_URL": receiver.url,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.url}/v1/traces",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_WRITER_INTERVAL_SECONDS": "3600",  # who flushes does not wait for what the writer's thread sends
        "DD_SERVICE": "site",
        "DD_ENV": "test",
        "DD_VERSION": "1.2",
        "STREAMING_METRICS_ENABLED": "false",
        "STREAMING_LOGS_ENABLED": "false",
        **environment,
    }
    launcher = settings.pop("RUN", "")
    command = [sys.executable, str(Path(__file__).with_name("span_scenarios.py")), framework]
    if launcher:
        command = [sys.executable, "-m", "ddtrace.commands.ddtrace_run", *command]
    finished = subprocess.run(
        command, env={**kept, **settings}, capture_output=True, text=True, timeout=250, check=False
    )
    assert finished.returncode == 0, finished.stderr[-600:]
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def comparable(spans: list[dict[str, Any]]) -> list[str]:
    """Return the spans without what is random, their relations in its place, one text a span."""
    spans = [span for span in spans if span["name"] not in _SLOW_WORK]
    by_id = {span["span_id"]: span for span in spans}
    members: dict[int, int] = {}
    for span in spans:
        members[span["trace_id"]] = members.get(span["trace_id"], 0) + 1

    def lineage(span: dict[str, Any]) -> list[str]:
        parent = by_id.get(span["parent_id"])
        if parent is None:
            return [str(span["parent_id"])]
        return [f"{parent['name']} {parent['resource']}", *lineage(parent)]

    found = []
    for span in spans:
        assert span["start"] > 1e18
        assert span["duration"] >= 0
        said = {key: value for key, value in span.items() if key not in DIFFERS}
        said["lineage"] = lineage(span)
        said["spans of the trace"] = members[span["trace_id"]] if not span["parent_id"] else "of a caller"
        for group in ("meta", "metrics"):
            said[group] = {
                key: value if key not in DIFFERS else "differs"
                for key, value in span[group].items()
                if key not in _SOMETIMES
            }
        if said["meta"].get("_dd.span_links"):
            said["meta"]["_dd.span_links"] = len(json.loads(said["meta"]["_dd.span_links"]))
        said["span_links"] = [sorted(link) for link in span.get("span_links") or ()]
        found.append(json.dumps(said, sort_keys=True, default=str))
    return sorted(found)


def compare(receiver: TraceReceiver) -> int:
    direct, full = comparable(receiver.spans("direct")), comparable(receiver.spans("full"))
    only_direct = [span for span in direct if span not in full]
    only_full = [span for span in full if span not in direct]
    differing = ["only direct:", *only_direct[:3], "only full:", *only_full[:3]]
    assert only_direct == only_full == [], "\n".join(differing)
    assert len(direct) == len(full)
    return len(direct)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_both_paths_send_the_same(name: str) -> None:
    """Whatever ddtrace is set up to do, a span says the same by both paths; what we would skip takes ddtrace's own."""
    environment, reason = CONFIGURATIONS[name]
    receiver = TraceReceiver()
    with receiver.listening():
        paths = run("starlette", environment, receiver)
    assert paths["full"] == "the test asks for it" or paths["full"].startswith("ddtrace:")
    assert paths["direct"].startswith(reason) if reason else paths["direct"] == ""
    if reason:  # both were ddtrace's own
        direct, full = (
            [span for span in receiver.spans(phase) if span["name"] not in _SLOW_WORK]
            for phase in ("direct", "full")
        )
        assert len(direct) == len(full) > 60
    else:
        assert compare(receiver) > 60


@pytest.mark.parametrize("framework", ["fastapi", "django"])
def test_both_paths_send_the_same_in_every_framework(framework: str) -> None:
    """FastAPI's and Django's requests say the same by both paths, too."""
    pytest.importorskip(framework)
    receiver = TraceReceiver()
    with receiver.listening():
        paths = run(framework, {}, receiver)
    assert paths["direct"] == ""
    assert compare(receiver) > 60


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_the_agents_rates_are_obeyed(rate: float) -> None:
    """A trace of the direct path has the priority that the Agent's rate for its service means, decided by its id."""
    receiver = TraceReceiver()
    receiver.rates = {"service:,env:": 1.0, "service:site,env:test": rate}
    with receiver.listening():
        assert run("starlette", {}, receiver)["direct"] == ""
    checked = 0
    for span in receiver.spans("direct"):
        if span["meta"].get("http.url") == "http://site:1/items/plain" and not span["parent_id"]:
            decided = (span["trace_id"] % 2**64 * 1111111111111111111) % 2**64 <= rate * (2**64 - 1)
            assert span["metrics"]["_sampling_priority_v1"] == decided
            assert span["metrics"]["_dd.agent_psr"] == rate
            checked += 1
    assert checked
    if rate in (0.0, 1.0):
        compare(receiver)


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "django"])
def test_sampling_rules_see_the_route_also_when_another_service_is_called(framework: str) -> None:
    """A rule by resource and tag decides alike on a request that has called another service and on one that has not."""
    pytest.importorskip(framework)
    rule = {"resource": "GET /items/*name*", "tags": {"http.route": "/items/*"}, "sample_rate": 0}
    receiver = TraceReceiver()
    with receiver.listening():
        run(framework, {"DD_TRACE_SAMPLING_RULES": json.dumps([rule])}, receiver)
    priorities = {
        span["meta"]["http.url"].rpartition("/")[2]: span["metrics"]["_sampling_priority_v1"]
        for span in receiver.spans("direct")
        if span["name"] == "asgi.request" and not span["parent_id"] and "items" in span["meta"]["http.url"]
    }
    assert priorities["plain"] == priorities["inject"] == priorities["child"] == -1
    assert priorities["keep"] == 2
