#!/usr/bin/env bash
# uvicorn 0.54.0, gunicorn 27.0.1, hypercorn 0.18.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: two workers with a limit of requests, and an open stream in each. Under uvicorn (--limit-max-requests) and gunicorn's asgi worker
#   (--max-requests) a worker that has reached it accepts nothing more, and is replaced only when its streams have ended:
#   when both have, connections are taken by the kernel and answered by nobody. hypercorn replaces its workers, and cuts the streams.
# Expected: the new worker starts before or with the drain of the old one. A limit that is there against leaks takes a server with streams
#   out of service for as long as the slowest of its clients likes.
# Output seen:
#   uvicorn: answered until the limit of both, then silent for 7 s or more; streams open at the end: 2 of 2
#   gunicorn: answered until the limit of both, then silent for 7 s or more; streams open at the end: 2 of 2
#   hypercorn: answered until the end; streams open at the end: 0 of 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check uvicorn==0.54.0 gunicorn==27.0.1 hypercorn==0.18.0
cat > "$work/probe.py" <<'PY'
import http.client, pathlib, re, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
import asyncio, os

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(600 if scope["path"] == "/stream" else 0):
        await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % os.getpid(), "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"ok"})
''')
bin, seen = pathlib.Path(sys.executable).parent, {}

def answers(port):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        client.request("GET", "/", headers={"Connection": "close"})
        return client.getresponse().read() == b"ok"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()

def is_open(stream):
    stream.settimeout(1)
    end = time.monotonic() + 1
    try:
        while time.monotonic() < end:
            if not stream.recv(1 << 16):
                return False
        return True
    except OSError:
        return False

def look(name, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, *arguments = command.format(port).split()
    process = subprocess.Popen([bin / program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not answers(port):
        time.sleep(0.2)
    time.sleep(2)  # until the second worker is there too
    streams = {}
    for _ in range(20):  # one stream in each worker
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while not (worker := re.search(rb"data: (\d+)\n", received)):
            received += stream.recv(1 << 16)
        streams.setdefault(worker[1], stream)
        if len(streams) == 2:
            break
    start = answered = time.monotonic()
    count = 0
    while time.monotonic() - start < 18:
        if answers(port):
            answered, count = time.monotonic(), count + 1
        time.sleep(0.05)
    silent = time.monotonic() - answered
    said = "until the end" if silent < 4 else "until the limit of both, then silent for 7 s or more" if silent > 7 else f"{count} times"
    seen[name] = f"answered {said}; streams open at the end: {sum(map(is_open, streams.values()))} of 2"
    for stream in streams.values():
        stream.close()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()

COMMANDS = {
    "uvicorn": "uvicorn --workers 2 --limit-max-requests 30 --timeout-worker-healthcheck 60 --port {} app:app",
    "gunicorn": "gunicorn -k asgi --no-control-socket -w 2 --max-requests 30 -b 127.0.0.1:{} app:app",
    "hypercorn": "hypercorn -w 2 --max-requests 30 -b 127.0.0.1:{} app:app",
}
for name, command in COMMANDS.items():
    look(name, command)
    print(f"{name}: {seen[name]}", flush=True)
silent = "answered until the limit of both, then silent for 7 s or more; streams open at the end: 2 of 2"
sys.exit(seen != {"uvicorn": silent, "gunicorn": silent, "hypercorn": "answered until the end; streams open at the end: 0 of 2"})
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 115 "$work/venv/bin/python" "$work/probe.py"
