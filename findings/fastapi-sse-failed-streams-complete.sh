#!/usr/bin/env bash
# fastapi 0.165.0 with starlette 1.10.0, anyio 4.16.0 and uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-30.
# Behaviour: a path operation that yields into fastapi.sse's EventSourceResponse runs in a task of its own. When it raises, the response is
#   completed first: the client reads a stream that ended well. HTTPException before the first event, too, is a complete 200, without
#   events. The error comes out after the last chunk, as an ExceptionGroup.
# Expected: as with StreamingResponse over the same generator: the client sees a cut stream, and middleware the error itself.
#   A reader that takes the end of the response for the end of the answer is misled; access logs and metrics have a success.
# Output seen:
#   EventSourceResponse, raises after an event           200, ['data: 1'], complete; middleware: ExceptionGroup of LookupError after the end
#   EventSourceResponse, HTTPException(404) before any   200, [], complete; middleware: ExceptionGroup of HTTPException after the end
#   StreamingResponse, raises after an event             200, ['data: 1'], cut; middleware: LookupError before the end
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  fastapi==0.165.0 starlette==1.10.0 anyio==4.16.0 uvicorn==0.54.0
cat > "$work/probe.py" <<'PY'
import asyncio, http.client, logging, sys, threading, time
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

logging.disable(logging.CRITICAL)
app = FastAPI()
raised = {}

@app.get("/events", response_class=EventSourceResponse)
async def events():
    yield 1
    await asyncio.sleep(0.3)
    raise LookupError("no second event")

@app.get("/refused", response_class=EventSourceResponse)
async def refused():
    await asyncio.sleep(0.3)  # such as a query
    raise HTTPException(404)
    yield

@app.get("/plain")
async def plain():
    async def body():
        yield "data: 1\n\n"
        await asyncio.sleep(0.3)
        raise LookupError("no second event")
    return StreamingResponse(body(), media_type="text/event-stream")

async def watched(scope, receive, send):
    ended = False

    async def sending(message):
        nonlocal ended
        ended |= message["type"] == "http.response.body" and not message.get("more_body")
        await send(message)

    try:
        await app(scope, receive, sending)
    except Exception as error:
        inner = f" of {type(error.exceptions[0]).__name__}" if isinstance(error, ExceptionGroup) else ""
        raised[scope["path"]] = f"{type(error).__name__}{inner} {'after' if ended else 'before'} the end"
        raise

server = uvicorn.Server(uvicorn.Config(watched, port=0, lifespan="off", http="h11", log_config=None))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.05)
port = server.servers[0].sockets[0].getsockname()[1]

def read(path):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path)
    response = client.getresponse()
    try:
        body, end = response.read(), "complete"
    except http.client.IncompleteRead as error:
        body, end = error.partial, "cut"
    for _ in range(100):
        if path in raised:
            break
        time.sleep(0.05)
    return f"{response.status}, {body.decode().split(chr(10) * 2)[:-1]}, {end}; middleware: {raised.get(path)}"

EXPECTED = {
    "/events": "200, ['data: 1'], complete; middleware: ExceptionGroup of LookupError after the end",
    "/refused": "200, [], complete; middleware: ExceptionGroup of HTTPException after the end",
    "/plain": "200, ['data: 1'], cut; middleware: LookupError before the end",
}
seen = {path: read(path) for path in EXPECTED}
for label, shown in zip(("EventSourceResponse, raises after an event", "EventSourceResponse, HTTPException(404) before any",
                         "StreamingResponse, raises after an event"), seen.values()):
    print(f"{label:53}{shown}")
sys.exit(seen != EXPECTED)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 90 "$work/venv/bin/python" "$work/probe.py"
