#!/usr/bin/env bash
# uvicorn 0.54.0, hypercorn 0.18.0, granian 2.8.9, gunicorn 27.0.1, with wsproto 1.3.2 and websockets 17.4 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: one open WebSocket, SIGTERM to the server. uvicorn closes it at once with 1012 (service restart) and tells the application 1012
#   as if the client had said so; hypercorn waits its 3 s and sends 1011 (internal error); granian and gunicorn's asgi worker cut the
#   connection without a close frame (1006).
# Expected: 1001 (going away) or 1012. Clients that reconnect on these and give up, or raise an alarm, on 1011 or 1006 behave
#   as the server does, not as the application.
# Output seen:
#   uvicorn    client: 1012, application: 1012
#   hypercorn  client: 1011, application: nothing
#   granian    client: 1006, application: nothing, or 1005 (the code of a client that gave none)
#   gunicorn   client: 1006, application: nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1 wsproto==1.3.2 websockets==17.4
cat > "$work/probe.py" <<'PY'
import asyncio, os, pathlib, socket, subprocess, sys
import websockets

pathlib.Path("app.py").write_text('''
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "hello"})
    message = await receive()
    open("seen", "w").write(str(message.get("code")))
''')
bin, seen = pathlib.Path(sys.executable).parent, pathlib.Path("seen")

async def closed_with(command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen.write_text("nothing")
    process = subprocess.Popen([bin / part.format(port) if i == 0 else part.format(port) for i, part in enumerate(command.split())],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            client = await websockets.connect(f"ws://127.0.0.1:{port}/")
            break
        except OSError:
            await asyncio.sleep(0.1)
    await client.recv()
    process.terminate()
    await asyncio.wait_for(client.wait_closed(), 20)
    await asyncio.to_thread(process.wait, 30)
    return client.close_code, seen.read_text()

expected = {"uvicorn": (1012, "1012"), "hypercorn": (1011, "nothing"), "granian": (1006, "nothing"), "gunicorn": (1006, "nothing")}
changed = False
for name, command in {
    "uvicorn": "uvicorn --port {} app:app",
    "hypercorn": "hypercorn -b 127.0.0.1:{} app:app",
    "granian": "granian --interface asgi --port {} app:app",
    "gunicorn": "gunicorn -k asgi --no-control-socket --graceful-timeout 3 -b 127.0.0.1:{} app:app",
}.items():
    code, application = asyncio.run(closed_with(command))
    print(f"{name:10} client: {code}, application: {application}")
    application = "nothing" if application == "1005" else application  # granian: seen in some runs
    changed |= (code, application) != expected[name]
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
