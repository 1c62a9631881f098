#!/usr/bin/env bash
# hypercorn 0.18.0, granian 2.8.9, gunicorn 27.0.1, with h2 4.4.1 (CPython 3.11, Linux), run 2026-11-30.
# Behaviour: the same stream of the same server differs between HTTP/1.1 and HTTP/2. hypercorn's send() waits for a slow reader over 1.1; over 2
#   it does not. gunicorn's send() raises for a client that left over 2 and is silent over 1.1.
# Expected: the version is the server's business, and what an application meets the same. Watch receive() for the disconnect and stop
#   by it, and do not count on send() to wait or to raise.
# Output seen ("slow": chunks of 64 KiB taken from an application, of 100, while the client reads 64 KiB or less):
#   hypercorn HTTP/1.1  slow: few, client gone: send() silent
#   hypercorn HTTP/2    slow: all, client gone: send() silent
#   granian   HTTP/1.1  slow: few, client gone: send() silent
#   granian   HTTP/2    slow: few, client gone: send() silent
#   gunicorn  HTTP/1.1  slow: few, client gone: send() silent
#   gunicorn  HTTP/2    slow: few, client gone: send() raises
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1 h2==4.4.1
cat > "$work/probe.py" <<'PY'
import contextlib, pathlib, socket, subprocess, sys, time
import h2.config, h2.connection, h2.events

pathlib.Path("app.py").write_text('''
import asyncio, os

def say(scope, word):
    with open(scope["path"].strip("/"), "a") as file:
        file.write(word + "\\n")

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    slow = "slow" in scope["path"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    try:
        for _ in range(100 if slow else 8):
            await send({"type": "http.response.body", "body": b":" * (65_536 if slow else 8), "more_body": True})
            say(scope, "sent")
            if not slow:
                await asyncio.sleep(0.2)
        say(scope, "silent")
    except OSError:
        say(scope, "raises")
''')
bin = pathlib.Path(sys.executable).parent

def free():
    with socket.socket() as any:
        any.bind(("127.0.0.1", 0))
        return any.getsockname()[1]

@contextlib.contextmanager
def serving(port, *command):
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        time.sleep(0.1)
    yield
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

def opened(port, http2, path):
    """A connection whose client has read the first bytes of a stream, and reads no more."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    client.settimeout(20)
    client.connect(("127.0.0.1", port))
    if not http2:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert client.recv(512).startswith(b"HTTP/1.1 200")
        return client
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    state.initiate_connection()
    state.send_headers(1, [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "a")], end_stream=True)
    client.sendall(state.data_to_send())
    while True:
        events = state.receive_data(client.recv(512))
        client.sendall(state.data_to_send())
        if any(isinstance(event, h2.events.DataReceived) for event in events):
            return client

def said(path):
    with contextlib.suppress(FileNotFoundError):
        return pathlib.Path(path).read_text().split()
    return []

def look(port, http2):
    slow, gone = f"{port}slow{http2:d}", f"{port}gone{http2:d}"
    client = opened(port, http2, "/" + slow)
    time.sleep(3)
    taken = said(slow).count("sent")
    client.close()
    opened(port, http2, "/" + gone).close()
    for _ in range(80):
        time.sleep(0.1)
        if {"silent", "raises"} & set(said(gone)):
            break
    amount = "all" if taken == 100 else "few" if taken < 80 else str(taken)
    return f"slow: {amount}, client gone: send() {said(gone)[-1]}"

SILENT = "slow: few, client gone: send() silent"
EXPECTED = {
    ("hypercorn", False): SILENT, ("hypercorn", True): "slow: all, client gone: send() silent",
    ("granian", False): SILENT, ("granian", True): SILENT,
    ("gunicorn", False): SILENT, ("gunicorn", True): "slow: few, client gone: send() raises",
}
seen = {}
for name, command in {
    "hypercorn": "hypercorn -b 127.0.0.1:{} app:app",
    "granian": "granian --interface asgi --port {} app:app",
    "gunicorn": "gunicorn -k asgi --no-control-socket -b 127.0.0.1:{} --http-protocols h1,h2 --http2-cleartext both app:app",
}.items():
    port = free()
    program, *arguments = command.format(port).split()
    with serving(port, bin / program, *arguments):
        for http2 in (False, True):
            seen[name, http2] = look(port, http2)
            print(f"{name:10}{'HTTP/2' if http2 else 'HTTP/1.1':10}{seen[name, http2]}", flush=True)
sys.exit(seen != EXPECTED)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 110 "$work/venv/bin/python" "$work/probe.py"
