#!/usr/bin/env bash
# granian 2.8.9 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: an exception that leaves the application is logged by the logger "_granian.utils" as text: the traceback is in the message, and
#   record.exc_info is None.
# Expected: exc_info, as uvicorn gives: formatters, filters and error trackers that look at exc_info see a plain message, and a
#   JSON line has the stack as its message.
# Output seen:
#   logger _granian.utils: exc_info None, the traceback in the message: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check granian==2.8.9
cat > "$work/probe.py" <<'PY'
import pathlib, socket, subprocess, sys, time, json

pathlib.Path("app.py").write_text("""
import json, logging

class Notes(logging.Handler):
    def emit(self, record):
        text = record.getMessage()
        if "on purpose" in text or record.exc_info:
            with open("seen", "a") as file:
                print(json.dumps([record.name, record.exc_info is None, "Traceback" in text]), file=file)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    for name in list(logging.Logger.manager.loggerDict):
        if "granian" in name:
            logging.getLogger(name).addHandler(Notes())
    logging.getLogger().addHandler(Notes())
    await receive()
    raise LookupError("on purpose")
""")

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]

command = [pathlib.Path(sys.executable).with_name("granian"), "--interface", "asginl", "--port", str(port), "app:app"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    for _ in range(200):
        try:
            client = socket.create_connection(("127.0.0.1", port), 10)
            break
        except OSError:
            time.sleep(0.1)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv(1000)
    for _ in range(100):
        if pathlib.Path("seen").exists():
            break
        time.sleep(0.1)
    process.terminate()
    process.wait(30)
name, missing, in_text = json.loads(pathlib.Path("seen").read_text().splitlines()[0])
print(f"logger {name}: exc_info {'None' if missing else 'is there'}, the traceback in the message: {in_text}")
sys.exit(not (missing and in_text))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
