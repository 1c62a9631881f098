#!/usr/bin/env bash
# taskiq 0.13.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with SimpleRetryMiddleware, max_retries is the number of runs, not of retries: a task with max_retries=1 that fails is run once,
#   and one with max_retries=3 three times. Beside that, registering a function renames it: its __name__ ends in __taskiq_original.
# Expected: two runs and four, as Celery, dramatiq and RQ do for the same number; a function that keeps its name (log lines, profiles and
#   stacks show the other one).
# Output seen:
#   max_retries=1: 1 run, max_retries=3: 3 runs
#   __name__ of the function: fails__taskiq_original
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check taskiq==0.13.0
cat > "$work/probe.py" <<'PY'
import asyncio, logging, sys
from taskiq import InMemoryBroker, SimpleRetryMiddleware

logging.disable(logging.CRITICAL)
runs = {}

async def tried(number):
    broker = InMemoryBroker(await_inplace=True).with_middlewares(SimpleRetryMiddleware())
    runs[number] = 0

    async def fails():
        runs[number] += 1
        raise LookupError("again")

    task = broker.register_task(fails, task_name=f"fails:{number}", retry_on_error=True, max_retries=number)
    await broker.startup()
    await task.kiq()
    for _ in range(100):
        await asyncio.sleep(0.01)
    await broker.shutdown()
    return fails.__name__

name = [asyncio.run(tried(number)) for number in (1, 3)][0]
print(f"max_retries=1: {runs[1]} run{'s' * (runs[1] != 1)}, max_retries=3: {runs[3]} runs")
print(f"__name__ of the function: {name}")
sys.exit((runs, name) != ({1: 1, 3: 3}, "fails__taskiq_original"))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
