#!/usr/bin/env bash
# ddtrace 4.16.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: the span of @tracer.wrap on an async generator is the active one in the code that consumes it, too, between its items; after
#   `break` it stays so until the loop gets to close the generator. A span opened there becomes a child of a generator nobody reads.
# Expected: what the generator runs is inside, what its consumer does is not: a handler that relays a stream has its database
#   calls and logs under "gen".
# Output seen:
#   in the loop's body: gen
#   after break: gen
#   parent of a span opened then: gen
#   one turn of the loop later: None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0
cat > "$work/probe.py" <<'PY'
import asyncio, sys
from ddtrace.trace import tracer

def active():
    span = tracer.current_span()
    return span and span.name

@tracer.wrap("gen")
async def numbers():
    for number in range(3):
        yield number

async def main():
    seen = {}
    async for _ in numbers():
        seen["in the loop's body"] = active()
        break
    seen["after break"] = active()
    parent = tracer.current_span()
    with tracer.trace("other") as span:
        seen["parent of a span opened then"] = parent and span.parent_id == parent.span_id and parent.name
    await asyncio.sleep(0.05)
    seen["one turn of the loop later"] = active()
    return seen

seen = asyncio.run(main())
for what, name in seen.items():
    print(f"{what}: {name}")
tracer.shutdown(0)
sys.exit(list(seen.values()) != ["gen", "gen", "gen", None])
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false \
  DD_TRACE_AGENT_URL=http://127.0.0.1:9 timeout 120 "$work/venv/bin/python" "$work/probe.py"
