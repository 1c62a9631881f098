#!/usr/bin/env bash
# ddtrace 4.16.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: an Agent that accepts connections and does not answer holds the end of a process that made one span for about 20 s.
#   Neither DD_TRACE_AGENT_TIMEOUT_SECONDS nor tracer.shutdown(timeout=1) shortens it.
#   SIGTERM is let through after 5 s, and the spans are lost.
# Expected: a limit that is given is kept. Where the Agent is stuck every script, cron job and rolling restart takes 20 s longer
#   than its work, most of what orchestrators allow before they kill.
# Output seen (seconds from the end of the program, or the signal, to the end of the process):
#   plain end: 15 to 30, exit code 0
#   DD_TRACE_AGENT_TIMEOUT_SECONDS=0.2: 15 to 30, exit code 0
#   tracer.shutdown(timeout=1): 15 to 30, exit code 0
#   SIGTERM: 4 to 8, exit code -15
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0
cat > "$work/probe.py" <<'PY'
import os, signal, socket, subprocess, sys, threading, time

agent = socket.create_server(("127.0.0.1", 0), backlog=100)
held = []

def accept():
    while True:
        held.append(agent.accept())

threading.Thread(target=accept, daemon=True).start()
SPAN = "from ddtrace.trace import tracer\nwith tracer.trace('x'): pass\nprint('done', flush=True)\n"
env = {**os.environ, "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.getsockname()[1]}",
       "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
cases = {
    "plain end": ("", {}),
    "DD_TRACE_AGENT_TIMEOUT_SECONDS=0.2": ("", {"DD_TRACE_AGENT_TIMEOUT_SECONDS": "0.2"}),
    "tracer.shutdown(timeout=1)": ("tracer.shutdown(timeout=1)", {}),
    "SIGTERM": ("import time; time.sleep(60)", {}),
}
seen = {}

def run(name, code, more):
    with subprocess.Popen([sys.executable, "-c", SPAN + code], env={**env, **more}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        start = time.monotonic()
        if name == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        code = process.wait(80)
        seen[name] = time.monotonic() - start, code

threads = [threading.Thread(target=run, args=(name, *case)) for name, case in cases.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
changed = False
for name in cases:
    seconds, code = seen[name]
    low, high = (4, 8) if name == "SIGTERM" else (15, 30)
    fits = low < seconds < high
    print(f"{name}: {f'{low} to {high}' if fits else round(seconds, 1)}, exit code {code}")
    changed |= not fits or code != (-15 if name == "SIGTERM" else 0)
sys.exit(changed)
PY
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
