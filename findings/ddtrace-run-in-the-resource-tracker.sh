#!/usr/bin/env bash
# ddtrace 4.16.0, uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: `ddtrace-run uvicorn --workers 2` instruments every Python that is started below: the supervisor and the workers, and
#   multiprocessing's resource tracker too. Four processes send runtime metrics for two that serve; no tag tells the tracker from a
#   worker (both are entrypoint.name:-c), and what was a helper of some 12 MB is one of 50 MB.
# Expected: two, or a tag that tells them apart. runtime.python.mem.rss and its kin are distributions: half of the values that their means
#   and percentiles are made of come from processes that never see a request. gunicorn forks, and has no such helper.
# Output seen:
#   processes that send runtime.python.mem.rss: 4 (3 of entrypoint.name:-c); workers: 2, resource trackers: 1, of more than 35 MB: 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddtrace==4.16.0 uvicorn==0.54.0
cat > "$work/probe.py" <<'PY'
import os, pathlib, re, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
''')
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
sink.settimeout(1)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
bin = pathlib.Path(sys.executable).parent
env = {**os.environ, "DD_SERVICE": "shop", "DD_RUNTIME_METRICS_ENABLED": "true", "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{sink.getsockname()[1]}",
       "DD_TRACE_AGENT_URL": "http://127.0.0.1:9", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
command = [bin / "ddtrace-run", bin / "uvicorn", "--workers", "2", "--port", str(port), "app:app"]
senders, below = {}, []
with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    end = time.monotonic() + 45
    while time.monotonic() < end and len(senders) < 5:
        try:
            data, sender = sink.recvfrom(65536)
        except TimeoutError:
            continue
        if found := re.search(r"^runtime\.python\.mem\.rss:.*entrypoint\.name:([^,\n]+)", data.decode(), re.M):
            if sender in senders and len(senders) >= 4:
                break
            senders[sender] = found[1]
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            if f"PPid:\t{process.pid}\n" in status:
                below.append(((folder / "cmdline").read_text(), int(re.search(r"VmRSS:\s+(\d+)", status)[1])))
        except OSError:
            pass
    process.terminate()
    process.wait(20)
trackers = [size for line, size in below if "resource_tracker" in line]
workers = sum("spawn_main" in line for line, _ in below)
spawned = list(senders.values()).count("-c")
large = sum(size > 35_000 for size in trackers)
print(f"processes that send runtime.python.mem.rss: {len(senders)} ({spawned} of entrypoint.name:-c); "
      f"workers: {workers}, resource trackers: {len(trackers)}, of more than 35 MB: {large}")
sys.exit((len(senders), spawned, workers, len(trackers), large) != (4, 3, 2, 1, 1))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 90 "$work/venv/bin/python" "$work/probe.py"
