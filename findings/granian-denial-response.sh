#!/usr/bin/env bash
# granian 2.8.9, starlette 1.10.0, uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: granian lists "websocket.http.response" among the extensions of a WebSocket's scope, and takes such an answer in one body message. For
#   one in several (more_body, as Starlette's StreamingResponse and middleware send it) it raises RuntimeError("Unsupported ASGI message"), and
#   the client gets a bare 403.
# Expected: both, as the extension says and uvicorn does.
# Output seen:
#   uvicorn    one piece: 401 wait; two pieces: 401 wait
#   granian    one piece: 401 wait; two pieces: RuntimeError: Unsupported ASGI message, the client got 403
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check granian==2.8.9 starlette==1.10.0 uvicorn==0.54.0 websockets==17.4
cat > "$work/probe.py" <<'PY'
import pathlib, socket, subprocess, sys, time

pathlib.Path("app.py").write_text("""
import os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import WebSocketRoute

async def denies(websocket):
    error = "no error"
    try:
        pieces = "pieces" in websocket.query_params
        answer = StreamingResponse(iter(["wa", "it"]), 401) if pieces else PlainTextResponse("wait", 401)
        await websocket.send_denial_response(answer)
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        raise
    finally:
        with open("seen.part", "w") as file:
            file.write(error)
        os.rename("seen.part", "seen")

app = Starlette(routes=[WebSocketRoute("/", denies)])
""")
seen = pathlib.Path("seen")
HEAD = (b"GET /?%b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

def denied(command, query):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen.unlink(missing_ok=True)
    name, *arguments = command.format(port).split()
    with subprocess.Popen([pathlib.Path(sys.executable).with_name(name), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            try:
                client = socket.create_connection(("127.0.0.1", port), 10)
                break
            except OSError:
                time.sleep(0.1)
        client.settimeout(3)
        client.sendall(HEAD % query)
        answer = b""
        try:
            while piece := client.recv(1000):
                answer += piece
        except TimeoutError:
            pass
        for _ in range(100):
            if seen.exists():
                break
            time.sleep(0.1)
        process.terminate()
        process.wait(30)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, error = head.split()[1].decode(), seen.read_text()
    got = f"{status} wait" if b"wait" in body or b"wa" in body and b"it" in body else status
    return got if error == "no error" else f"{error}, the client got {got}"

changed = False
for command, expected in {
    "uvicorn --port {} app:app": "one piece: 401 wait; two pieces: 401 wait",
    "granian --interface asgi --port {} app:app": "one piece: 401 wait; two pieces: RuntimeError: Unsupported ASGI message, the client got 403",
}.items():
    found = f"one piece: {denied(command, b'one')}; two pieces: {denied(command, b'pieces')}"
    print(f"{command.split()[0]:10} {found}")
    changed |= found != expected
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
