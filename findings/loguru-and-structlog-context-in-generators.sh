#!/usr/bin/env bash
# loguru 0.7.3, structlog 26.1.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: logger.contextualize() and bound_contextvars() inside an async generator hold in whoever reads it. Two such streams read in turns by
#   one task (a merge, a fan-out) write each other's ids on their lines. Closed by another task, as the event loop closes a generator whose
#   reader has gone, loguru's raises ValueError, and structlog's stays in the first task for good.
# Expected: a `with` ends where it was begun, and what stands in it carries its ids. In a generator that streams, bind a logger
#   (logger.bind()) instead of a context.
# Output seen:
#   loguru lines: a has a, b has b, a has b, b has b; closed by another task: ValueError; then on the reader's lines: b
#   structlog lines: a has a, b has b, a has b, b has b; closed by another task: nothing raised; then on the reader's lines: b
#   loguru, bind() lines: a has a, b has b, a has a, b has b; closed by another task: nothing raised; then on the reader's lines: nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check loguru==0.7.3 structlog==26.1.0
cat > "$work/probe.py" <<'PY'
import asyncio, sys
import structlog
from loguru import logger
from structlog.contextvars import bound_contextvars, merge_contextvars

lines = []
logger.remove()
logger.add(lambda message: lines.append((message.record["message"], message.record["extra"].get("task", "nothing"))))

def take(_, __, event):
    lines.append((event["event"], event.get("task", "nothing")))
    raise structlog.DropEvent

structlog.configure(processors=[merge_contextvars, take])
struct = structlog.get_logger()

async def loguru_stream(name):
    with logger.contextualize(task=name):
        for n in range(3):
            logger.info(name)
            yield n

async def structlog_stream(name):
    with bound_contextvars(task=name):
        for n in range(3):
            struct.info(name)
            yield n

async def bind_stream(name):
    log = logger.bind(task=name)
    for n in range(3):
        log.info(name)
        yield n

async def look(stream, say):
    lines.clear()
    a, b = stream("a"), stream("b")
    for _ in range(2):
        await anext(a)
        await anext(b)
    said = ", ".join(f"{name} has {task}" for name, task in lines)
    closed = set()
    for generator in (a, b):
        [error] = await asyncio.gather(asyncio.ensure_future(generator.aclose()), return_exceptions=True)
        closed.add(type(error).__name__ if error else "nothing raised")
    say("reader")
    return f"lines: {said}; closed by another task: {' and '.join(sorted(closed))}; then on the reader's lines: {lines[-1][1]}"

seen = []
for name, stream, say in (("loguru", loguru_stream, logger.info), ("structlog", structlog_stream, struct.info), ("loguru, bind()", bind_stream, logger.info)):
    seen.append(f"{name} {asyncio.run(look(stream, say))}")
    print(seen[-1])
mixed = "lines: a has a, b has b, a has b, b has b; closed by another task:"
sys.exit(seen != [
    f"loguru {mixed} ValueError; then on the reader's lines: b",
    f"structlog {mixed} nothing raised; then on the reader's lines: b",
    "loguru, bind() lines: a has a, b has b, a has a, b has b; closed by another task: nothing raised; then on the reader's lines: nothing",
])
PY
env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py"
