#!/usr/bin/env bash
# ddtrace 4.16.0, starlette 1.10.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: work after a response has a trace of its own, linked to the request, if it is added by BackgroundTasks.add_task(); the
#   same function given as BackgroundTask(function) is not: its spans have no parent and no link.
# Expected: one rule for both spellings that Starlette documents.
# Output seen:
#   BackgroundTask: in the request's trace False, root work, links to the request: 0
#   BackgroundTasks: in the request's trace False, root starlette.background_task, links to the request: 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 starlette==1.10.0
cat > "$work/probe.py" <<'PY'
import ddtrace.auto
import asyncio, sys
from ddtrace.trace import TraceFilter, tracer
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.responses import PlainTextResponse
from starlette.routing import Route

spans = []

class Keep(TraceFilter):
    def process_trace(self, trace):
        spans.extend(trace)
        return None

tracer.configure(trace_processors=[Keep()])

def work():
    with tracer.trace("work"):
        pass

async def one(request):
    return PlainTextResponse("x", background=BackgroundTask(work))

async def several(request):
    tasks = BackgroundTasks()
    tasks.add_task(work)
    return PlainTextResponse("x", background=tasks)

app = Starlette(routes=[Route("/one", one), Route("/several", several)])

async def get(path):
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    await app({"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": "",
               "scheme": "http", "server": ("x", 80), "client": ("x", 1), "asgi": {"version": "3.0"}}, receive, send)

seen = []
for name, path in (("BackgroundTask", "/one"), ("BackgroundTasks", "/several")):
    spans.clear()
    asyncio.run(get(path))
    request = next(s for s in spans if s.name == "starlette.request")
    inner = next(s for s in spans if s.name == "work")
    root = next(s for s in spans if s.trace_id == inner.trace_id and not s.parent_id)
    links = sum(link.trace_id == request.trace_id for link in root._get_links())
    seen.append((inner.trace_id == request.trace_id, root.name, links))
    print(f"{name}: in the request's trace {seen[-1][0]}, root {root.name}, links to the request: {links}")
tracer.shutdown(0)
sys.exit(seen != [(False, "work", 0), (False, "starlette.background_task", 1)])
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false \
  DD_TRACE_AGENT_URL=http://127.0.0.1:9 timeout 120 "$work/venv/bin/python" "$work/probe.py"
