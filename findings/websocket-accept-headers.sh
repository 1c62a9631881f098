#!/usr/bin/env bash
# granian 2.8.9, daphne 4.2.3, channels 4.3.2, uvicorn 0.54.0, with websockets 17.4 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: headers that an application sends with websocket.accept reach the client from uvicorn, and are dropped without a word by
#   granian and by daphne, although Channels' own accept() takes headers.
# Expected: the headers, or an error: a cookie or a trace header that is set at the handshake is lost.
# Output seen:
#   uvicorn    x-more: 1
#   granian    x-more is missing
#   daphne     x-more is missing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check granian==2.8.9 daphne==4.2.3 channels==4.3.2 django==5.2.9 uvicorn==0.54.0 websockets==17.4
cat > "$work/probe.py" <<'PY'
import asyncio, pathlib, socket, subprocess, sys
import websockets

pathlib.Path("app.py").write_text("""
from django.conf import settings

settings.configure(SECRET_KEY="only for this probe", INSTALLED_APPS=["channels"], ALLOWED_HOSTS=["*"])
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter


class Greets(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(headers=[(b"x-more", b"1")])


app = ProtocolTypeRouter({"websocket": Greets.as_asgi()})
""")

async def header(command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name, *arguments = command.format(port).split()
    process = subprocess.Popen([pathlib.Path(sys.executable).with_name(name), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            client = await websockets.connect(f"ws://127.0.0.1:{port}/")
            break
        except OSError:
            await asyncio.sleep(0.1)
    found = client.response.headers.get("x-more")
    await client.close()
    process.terminate()
    await asyncio.to_thread(process.wait, 30)
    return found

changed = False
for command, expected in {
    "uvicorn --lifespan off --port {} app:app": "1",
    "granian --interface asginl --port {} app:app": None,
    "daphne -b 127.0.0.1 -p {} app:app": None,
}.items():
    found = asyncio.run(header(command))
    print(f"{command.split()[0]:10} {'x-more is missing' if found is None else f'x-more: {found}'}")
    changed |= found != expected
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
