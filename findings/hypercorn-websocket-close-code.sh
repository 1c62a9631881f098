#!/usr/bin/env bash
# hypercorn 0.18.0, wsproto 1.3.2, with uvicorn 0.54.0 beside it; websockets 17.4 as the client (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a client closes a WebSocket with its own code, 4001 and a reason. hypercorn's application gets websocket.disconnect with code 1006
#   (the connection was lost), always.
# Expected: 4001, as the ASGI specification says and uvicorn gives: what an application decides by the code of its client it cannot decide here.
# Output seen:
#   uvicorn    the application got 4001
#   hypercorn  the application got 1006
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check hypercorn==0.18.0 uvicorn==0.54.0 wsproto==1.3.2 websockets==17.4
cat > "$work/probe.py" <<'PY'
import asyncio, pathlib, socket, subprocess, sys
import websockets

pathlib.Path("app.py").write_text("""
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    open("seen", "w").write(str(message.get("code")))
""")
seen = pathlib.Path("seen")

async def told(command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen.unlink(missing_ok=True)
    name, *arguments = command.format(port).split()
    process = subprocess.Popen([pathlib.Path(sys.executable).with_name(name), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            client = await websockets.connect(f"ws://127.0.0.1:{port}/")
            break
        except OSError:
            await asyncio.sleep(0.1)
    await client.close(4001, "enough")
    for _ in range(200):
        if seen.exists() and seen.read_text():
            break
        await asyncio.sleep(0.1)
    process.terminate()
    await asyncio.to_thread(process.wait, 30)
    return seen.read_text()

changed = False
for command, expected in (("uvicorn --port {} app:app", "4001"), ("hypercorn -b 127.0.0.1:{} app:app", "1006")):
    code = asyncio.run(told(command))
    print(f"{command.split()[0]:10} the application got {code}")
    changed |= code != expected
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
