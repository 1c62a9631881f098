#!/usr/bin/env bash
# ddtrace 4.16.0, uvloop 0.23.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a task that begins in a span and opens its own after that span has finished belongs to the span's trace under asyncio's
#   own loop, and to a new trace under uvloop: the patch wraps asyncio.BaseEventLoop.create_task, and uvloop's loop is no such class.
# Expected: the same tree of spans whichever loop runs. uvicorn takes uvloop as soon as it is installed, so work that requests
#   leave behind is linked on a laptop and not in production.
# Output seen:
#   asyncio: same trace True, parent is the request True
#   uvloop: same trace False, parent is the request False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 uvloop==0.23.0
cat > "$work/probe.py" <<'PY'
import ddtrace.auto  # before asyncio, as ddtrace-run does
import asyncio, sys
import uvloop
from ddtrace.trace import tracer

async def later():
    await asyncio.sleep(0.05)
    with tracer.trace("later") as span:
        return span

async def main():
    with tracer.trace("request") as request:
        task = asyncio.create_task(later())
    span = await task
    return span.trace_id == request.trace_id, span.parent_id == request.span_id

seen = {"asyncio": asyncio.run(main()), "uvloop": uvloop.run(main())}
for loop, (trace, parent) in seen.items():
    print(f"{loop}: same trace {trace}, parent is the request {parent}")
tracer.shutdown(0)
sys.exit(seen != {"asyncio": (True, True), "uvloop": (False, False)})
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false \
  DD_TRACE_AGENT_URL=http://127.0.0.1:9 timeout 120 "$work/venv/bin/python" "$work/probe.py"
