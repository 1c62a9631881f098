#!/usr/bin/env bash
# datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a client that buffers or aggregates makes os.fork() wait until its flush thread wakes up: up to flush_interval, each time, for each
#   such client in turn, with the whole process's main thread held. stop() does not wait so, and subprocess does not fork this way.
# Expected: the thread is woken. With the default of 0.3 s nobody notices; with the Agent's 10 s, a server that loads the application before it
#   forks starts a worker every 10 s, and multiprocessing in a request holds the loop as long.
# Output seen:
#   flush_interval 0.3: fork 0.2 s; two clients of 2: 4.1 s; stop() of both: 0.0 s (at most 0.3 and 4 s, and the fork itself)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import os, sys, time
from datadog.dogstatsd import DogStatsd

def clients(*intervals):
    made = [DogStatsd(host="127.0.0.1", port=9, disable_telemetry=True, disable_buffering=False, flush_interval=i) for i in intervals]
    for client in made:
        client.increment("m")
    time.sleep(0.1)
    return made

def fork():
    start = time.monotonic()
    pid = os.fork()
    if not pid:
        os._exit(0)
    seconds = time.monotonic() - start
    os.waitpid(pid, 0)
    return seconds

[quick] = clients(0.3)
short = fork()
quick.stop()
slow = clients(2, 2)
long = fork()
start = time.monotonic()
for client in slow:
    client.stop()
stop = time.monotonic() - start
print(f"flush_interval 0.3: fork {short:.1f} s; two clients of 2: {long:.1f} s; stop() of both: {stop:.1f} s")
sys.exit(not (short < 1 and long > 1.5 and stop < 1))
PY
env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py"
