#!/usr/bin/env bash
# gunicorn 27.0.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: the worker class "asgi" gives scope["asgi"]["spec_version"] "2.4", and over HTTP/1.1 send() is silent after the client has
#   left. 2.4 is the version in which send() must raise OSError then, and by which frameworks decide whether they have to watch receive().
# Expected: a stream that relies on the version ends with its client. Here it runs on, until the worker cancels it 3 s later
#   (asgi_disconnect_grace_period), or, with a handler that takes the cancellation, to its own end.
# Output seen:
#   spec_version 2.4; after the client left: 10 or more sends raised nothing, then the application was cancelled
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check gunicorn==27.0.1
cat > "$work/probe.py" <<'PY'
import json, pathlib, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
import asyncio, json

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    left, sends, end = asyncio.Event(), 0, "ended by itself"

    async def watch():
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    watching = asyncio.create_task(watch())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        for _ in range(60):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sends += left.is_set()
            await asyncio.sleep(0.1)
    except OSError as error:
        end = type(error).__name__
    except asyncio.CancelledError:
        end = "cancelled"
    with open("seen.part", "w") as file:
        json.dump([scope["asgi"]["spec_version"], sends, end], file)
    import os
    os.rename("seen.part", "seen")
''')
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [pathlib.Path(sys.executable).with_name("gunicorn"), "-k", "asgi", "--no-control-socket", "-b", f"127.0.0.1:{port}", "app:app"]
with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
    for _ in range(200):
        try:
            client = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.1)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv(1000)
    client.close()
    for _ in range(150):
        if pathlib.Path("seen").exists():
            break
        time.sleep(0.1)
    process.terminate()
    process.wait(30)
version, sends, end = json.loads(pathlib.Path("seen").read_text())
many = "10 or more" if sends >= 10 else sends
print(f"spec_version {version}; after the client left: {many} sends raised nothing, then the application was {end}")
sys.exit((version, many, end) != ("2.4", "10 or more", "cancelled"))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
