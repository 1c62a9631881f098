#!/usr/bin/env bash
# daphne 4.2.3, uvicorn 0.54.0, hypercorn 0.18.0, granian 2.8.9, gunicorn 27.0.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: an application that raises after the first part of its response, or returns without the last. Four servers close the connection
#   at once. daphne logs the exception and leaves the connection open: its client waits, with a stream that will never say anything
#   again (40 s were tried by hand, 8 s here).
# Expected: the client is told by the close, and an EventSource reconnects. Under daphne only a client that expects pings, and
#   counts the seconds without one, finds out; the failed stream goes on as an open connection.
# Output seen:
#   uvicorn   raises: closed, returns early: closed
#   hypercorn raises: closed, returns early: closed
#   granian   raises: closed, returns early: closed
#   gunicorn  raises: closed, returns early: closed
#   daphne    raises: open after 8 s, returns early: open after 8 s
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  daphne==4.2.3 uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1
cat > "$work/probe.py" <<'PY'
import pathlib, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: 1\\n\\n", "more_body": True})
    if scope["path"] == "/raises":
        raise ValueError("no second event")
''')
bin = pathlib.Path(sys.executable).parent

def end(port, path):
    with socket.create_connection(("127.0.0.1", port), timeout=8) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b""
        try:
            while part := client.recv(9999):
                received += part
        except TimeoutError:
            return "open after 8 s" if b"data: 1" in received else "silent"
        return "closed" if b"data: 1" in received and not received.endswith(b"0\r\n\r\n") else "completed"

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
    program, *arguments = command.format(port).split()
    with subprocess.Popen([bin / program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        seen = end(port, "/raises"), end(port, "/returns")
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    print(f"{name:10}raises: {seen[0]}, returns early: {seen[1]}", flush=True)
    changed |= seen != (("open after 8 s",) * 2 if name == "daphne" else ("closed",) * 2)
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 110 "$work/venv/bin/python" "$work/probe.py"
