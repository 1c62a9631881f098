#!/usr/bin/env bash
# gunicorn 27.0.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: every master listens on $HOME/.gunicorn/gunicorn.ctl by default. A second one of the same user takes the first one's place
#   there without a word: gunicornc, which has no other default, then speaks with the second. When the first ends it
#   removes the second's socket, and gunicornc finds nobody although a server runs.
# Expected: a socket for each master, or a line in the log of the second. Two services of one user need --control-socket each.
# Output seen:
#   socket after the first started: there; gunicornc speaks with the first
#   after the second started: gunicornc speaks with the second
#   after the first ended, the second still serving: socket is gone
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check gunicorn==27.0.1
cat > "$work/probe.py" <<'PY'
import os, pathlib, re, socket, subprocess, sys, time

pathlib.Path("app.py").write_text("async def app(scope, receive, send): pass")
bin = pathlib.Path(sys.executable).parent
control = pathlib.Path(os.environ["HOME"], ".gunicorn/gunicorn.ctl")

def start():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [bin / "gunicorn", "-k", "asgi", "-b", f"127.0.0.1:{port}", "app:app"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    next(line for line in process.stderr if "Control socket" in line)
    time.sleep(1)
    return process

def master():
    out = subprocess.run([bin / "gunicornc", "-c", "show all"], capture_output=True, text=True, timeout=20).stdout
    return int(re.search(r"PID:\s+(\d+)", out)[1])

def end(process):
    process.terminate()
    process.communicate(timeout=40)

first = start()
seen = [control.exists() and master() == first.pid]
print(f"socket after the first started: {'there' if control.exists() else 'missing'}; gunicornc speaks with {'the first' if seen[0] else 'nobody'}")
second = start()
seen.append(master() == second.pid)
print(f"after the second started: gunicornc speaks with {'the second' if seen[1] else 'the first'}")
end(first)
seen.append(second.poll() is None and not control.exists())
print(f"after the first ended, the second still serving: socket is {'gone' if seen[2] else 'there'}")
end(second)
sys.exit(seen != [True, True, True])
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
