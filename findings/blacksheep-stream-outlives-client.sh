#!/usr/bin/env bash
# blacksheep 2.6.4, uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a streamed response's generator runs on to its end when the client has left: BlackSheep does not read receive() while it sends,
#   and uvicorn's send() is silent then.
# Expected: the generator is closed within a moment, as Starlette, Quart, Litestar and Django do. An endless one runs until the process ends,
#   one more for each client that came.
# Output seen:
#   the client left after the first event; the generator went on to its last event, of 100
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check blacksheep==2.6.4 uvicorn==0.54.0
cat > "$work/probe.py" <<'PY'
import pathlib, socket, subprocess, sys, time

pathlib.Path("app.py").write_text("""
import asyncio, os
from blacksheep import Application, Response, StreamedContent

app = Application()

@app.router.get("/")
async def events():
    async def numbers():
        made = 0
        try:
            for made in range(1, 101):
                yield b"data: x\\n\\n"
                await asyncio.sleep(0.05)
        finally:
            with open("seen.part", "w") as file:
                file.write(str(made))
            os.rename("seen.part", "seen")

    return Response(200, content=StreamedContent(b"text/event-stream", numbers))
""")
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [pathlib.Path(sys.executable).with_name("uvicorn"), "--port", str(port), "app:app"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    for _ in range(200):
        try:
            client = socket.create_connection(("127.0.0.1", port), 10)
            break
        except OSError:
            time.sleep(0.1)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    got = b""
    while b"data: x" not in got:
        got += client.recv(1000)
    client.close()
    for _ in range(300):
        if pathlib.Path("seen").exists():
            break
        time.sleep(0.1)
    process.terminate()
    process.wait(30)
made = int(pathlib.Path("seen").read_text())
print(f"the client left after the first event; the generator {'went on to its last event' if made == 100 else f'ended after {made} events'}, of 100")
sys.exit(made != 100)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
