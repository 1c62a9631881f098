#!/usr/bin/env bash
# uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with --workers a worker that does not answer its supervisor for 5 s (--timeout-worker-healthcheck) is killed by SIGKILL and
#   replaced: also one that is only stopped (SIGSTOP: a debugger, a frozen container, a dump being taken). Nothing of it runs any
#   more: no lifespan shutdown, no atexit, nothing flushed. The log says "died", as for a crash.
# Expected: a line that says who killed it and why.
# Output seen:
#   Child process [<stopped>] died; after 5.5 s; lifespan shutdown in it: False; workers started in all: 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check uvicorn==0.54.0
cat > "$work/probe.py" <<'PY'
import os, pathlib, re, signal, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
import os

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        if kind == "lifespan.shutdown":
            open(f"shutdown-{os.getpid()}", "w").close()
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
''')
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [pathlib.Path(sys.executable).with_name("uvicorn"), "--workers", "2", "--port", str(port), "app:app"]
started, ready, stopped, died = [], 0, 0.0, 0.0
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
    for line in process.stderr:
        started += map(int, re.findall(r"Started server process \[(\d+)\]", line))
        ready += "startup complete" in line
        if ready == 2 and not stopped:
            os.kill(started[0], signal.SIGSTOP)
            stopped = time.monotonic()
        if started and f"Child process [{started[0]}] died" in line:
            died = time.monotonic()
        if len(started) == 3 and ready == 3:
            break
    process.terminate()
    process.stderr.read()
    process.wait(20)
ended = pathlib.Path(f"shutdown-{started[0]}").exists()
print(f"Child process [<stopped>] died; after {died - stopped:.1f} s; lifespan shutdown in it: {ended}; workers started in all: {len(started)}")
sys.exit(not (died and died - stopped > 3 and not ended and len(started) == 3))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 90 "$work/venv/bin/python" "$work/probe.py"
