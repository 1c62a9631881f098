#!/usr/bin/env bash
# ddtrace 4.16.0, gevent 26.9.0, anyio 4.16.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: where gevent is installed, used or not, ddtrace.auto (ddtrace-run too) unloads the modules that it had imported. asyncio is
#   then imported a second time, and its C part raises the first one's CancelledError: `except asyncio.CancelledError` does not catch
#   it, wait_for() ends with it instead of TimeoutError, and an anyio scope or task group that cancels itself raises it to its caller:
#   so does each streaming response of Starlette that ends, and each connection that httpx opens.
# Expected: a package that nobody imports changes nothing. It comes with locust, or stays in the image from other workers.
#   DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE=0 mends it where gevent is not used.
# Output seen:
#   without gevent: cancelled task caught True, wait_for TimeoutError, anyio scope ends in order
#   gevent installed: cancelled task caught False, wait_for CancelledError, anyio scope raises CancelledError
#   gevent installed, unloading off: cancelled task caught True, wait_for TimeoutError, anyio scope ends in order
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
install() { python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check "$@"; }
cat > "$work/probe.py" <<'PY'
import ddtrace.auto
import asyncio
import anyio

async def look():
    task = asyncio.create_task(asyncio.sleep(9))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except BaseException as error:
        caught = isinstance(error, asyncio.CancelledError)
    try:
        await asyncio.wait_for(asyncio.sleep(9), 0.01)
    except BaseException as error:
        timeout = type(error).__name__
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 9)
            group.cancel_scope.cancel()
        scope = "ends in order"
    except BaseException as error:
        scope = f"raises {type(error).__name__}"
    return f"cancelled task caught {caught}, wait_for {timeout}, anyio scope {scope}"

print(asyncio.run(look()))
PY
look() {
  local name=$1
  shift
  echo "$name: $(env -i PATH="$PATH" HOME="$work" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false DD_REMOTE_CONFIGURATION_ENABLED=false \
    DD_TRACE_ENABLED=false "$@" timeout 60 "$work/venv/bin/python" "$work/probe.py" 2>/dev/null)" | tee -a "$work/seen"
}
install ddtrace==4.16.0 anyio==4.16.0
look "without gevent"
install gevent==26.9.0
look "gevent installed"
look "gevent installed, unloading off" DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE=0
diff "$work/seen" - <<'SEEN'
without gevent: cancelled task caught True, wait_for TimeoutError, anyio scope ends in order
gevent installed: cancelled task caught False, wait_for CancelledError, anyio scope raises CancelledError
gevent installed, unloading off: cancelled task caught True, wait_for TimeoutError, anyio scope ends in order
SEEN
