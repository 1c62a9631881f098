#!/usr/bin/env bash
# hypercorn 0.18.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with --workers 2, one worker that dies (here by a signal, as from the kernel's out-of-memory killer) ends the other one and the
#   server: the master stops them all and exits, with 0 in some runs, as if it had been asked to.
# Expected: a new worker in its place, as gunicorn, uvicorn and granian (--respawn-failed-workers) do; or at least the other one serves on.
# Output seen:
#   one of 2 workers was killed: the server has ended
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check hypercorn==0.18.0
cat > "$work/probe.py" <<'PY'
import pathlib, signal, socket, subprocess, sys, time, os

pathlib.Path("app.py").write_text("""
import os

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
""")

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

def worker():
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    return int(answer.partition(b"\r\n\r\n")[2].strip().split(b"\r\n")[1 if b"chunked" in answer.lower() else 0])

command = [pathlib.Path(sys.executable).with_name("hypercorn"), "--workers", "2", "-b", f"127.0.0.1:{port}", "app:app"]
with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
    workers = set()
    for _ in range(300):
        try:
            workers.add(worker())
        except OSError:
            time.sleep(0.1)
        if len(workers) == 2:
            break
    os.kill(workers.pop(), signal.SIGKILL)
    try:
        process.wait(20)
        seen = "the server has ended"
    except subprocess.TimeoutExpired:
        seen = "the server goes on"
        process.terminate()
print(f"one of 2 workers was killed: {seen}")
sys.exit(seen != "the server has ended")
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
