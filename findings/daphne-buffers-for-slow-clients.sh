#!/usr/bin/env bash
# daphne 4.2.3, uvicorn 0.54.0, hypercorn 0.18.0, granian 2.8.9, gunicorn 27.0.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a client that has read the head of a response and then nothing. The application sends chunks of 64 KiB and awaits each send().
#   Under four servers send() waits when the sockets are full, some 4 MB; under daphne it never waits: it took all 64 MB, and keeps
#   in its memory what the client has not read.
# Expected: `await send()` is where a server slows the application down. A stream that relies on it is bounded by
#   the sockets everywhere else, and by nothing here: it has to count what its clients have fetched itself.
# Output seen:
#   uvicorn   waits after less than 16 MB
#   hypercorn waits after less than 16 MB
#   granian   waits after less than 16 MB
#   gunicorn  waits after less than 16 MB
#   daphne    took all 64 MB
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  daphne==4.2.3 uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1
cat > "$work/probe.py" <<'PY'
import pathlib, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
import asyncio, os

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    sent = 0

    async def stream():
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 64:
            for _ in range(16):
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
                await asyncio.sleep(0)
            sent += 1

    task, before = asyncio.create_task(stream()), -1
    while not task.done() and sent != before:  # until nothing has moved for two seconds
        before = sent
        await asyncio.sleep(2)
    with open("part", "w") as file:
        file.write(str(sent))
    os.rename("part", "seen")
    task.cancel()
''')
bin, seen = pathlib.Path(sys.executable).parent, pathlib.Path("seen")
changed = False
for name, command in {
    "uvicorn": "uvicorn --port {} app:app",
    "hypercorn": "hypercorn -b 127.0.0.1:{} app:app",
    "granian": "granian --interface asgi --port {} app:app",
    "gunicorn": "gunicorn -k asgi --no-control-socket -b 127.0.0.1:{} app:app",
    "daphne": "daphne -p {} app:app",
}.items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen.unlink(missing_ok=True)
    program, *arguments = command.format(port).split()
    with subprocess.Popen([bin / program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(10)
        for _ in range(200):
            if seen.exists():
                break
            time.sleep(0.1)
        client.close()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    sent = int(seen.read_text())
    said = "took all 64 MB" if sent == 64 else "waits after less than 16 MB" if sent < 16 else f"waits after {sent} MB"
    print(f"{name:10}{said}", flush=True)
    changed |= said != ("took all 64 MB" if name == "daphne" else "waits after less than 16 MB")
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 110 "$work/venv/bin/python" "$work/probe.py"
