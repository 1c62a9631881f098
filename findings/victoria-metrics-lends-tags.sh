#!/usr/bin/env bash
# victoria-metrics 1.79.5 (Debian 12) and datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-30.
#   Takes victoria-metrics by apt-get download; exits 0 with a sentence where that is not to be had.
# Behaviour: at /datadog/api/v1/series, a series without the field "tags", as datadog's client sends it when it is given none, is stored with
#   the tags that an earlier request had at its place. The answer is 202 each time.
# Expected: no tags. Here one application's gauge is found under another's customer, and becomes a series for each set of tags that
#   anybody sent before it. An empty list is taken as it is.
# Output seen (the number differs from run to run):
#   of 30 values sent without tags, 29 are stored with tags that another application sent: customer
#   of 30 values sent with tags=[], 0 are
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
if ! apt-get download -qq victoria-metrics=1.79.5* > "$work/apt.log" 2>&1; then
  echo "no victoria-metrics 1.79.5 by apt-get here: nothing looked at"
  exit 0
fi
dpkg -x victoria-metrics_*.deb "$work/deb"
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import json, socket, subprocess, sys, time, urllib.parse, urllib.request
from datadog import api, initialize

with socket.socket() as any:
    any.bind(("127.0.0.1", 0))
    port = any.getsockname()[1]
base = f"http://127.0.0.1:{port}"
command = ["deb/usr/bin/victoria-metrics", f"-httpListenAddr=127.0.0.1:{port}", "-storageDataPath=data", "-loggerLevel=ERROR"]
server = subprocess.Popen(command, stderr=subprocess.DEVNULL)

def asked(path):
    with urllib.request.urlopen(base + path, timeout=20) as response:
        return response.read().decode()

def stored(name):
    """Of the values of a metric, how many have a tag, and which."""
    lines = asked("/api/v1/export?" + urllib.parse.urlencode({"match[]": f'{{__name__="{name}"}}'})).splitlines()
    series = [json.loads(line) for line in lines]
    tags = {tag for one in series for tag in one["metric"] if tag not in ("__name__", "host")}
    total = sum(len(one["values"]) for one in series)
    return total, sum(len(one["values"]) for one in series if tags & set(one["metric"])), ", ".join(sorted(tags))

try:
    for _ in range(200):
        try:
            asked("/health")
            break
        except OSError:
            time.sleep(0.1)
    initialize(api_key="key", api_host=base + "/datadog", host_name="web-1", mute=False)
    for metric, options in ("mail.queue", {}), ("mail.sent", {"tags": []}):
        for n in range(30):  # two applications, in turn
            api.Metric.send(metric="shop.orders", points=(int(time.time()), n), tags=["customer:42"])
            api.Metric.send(metric=metric, points=(int(time.time()), n), **options)
    for _ in range(100):
        asked("/internal/force_flush")
        seen = stored("mail.queue"), stored("mail.sent")
        if seen[0][0] == seen[1][0] == 30:
            break
        time.sleep(0.1)
finally:
    server.terminate()
    server.wait(20)
(total, lent, tags), (all_empty, lent_empty, _) = seen
print(f"of {total} values sent without tags, {lent} are stored with tags that another application sent: {tags}")
print(f"of {all_empty} values sent with tags=[], {lent_empty} are")
sys.exit(not (total == all_empty == 30 and lent > 0 and lent_empty == 0 and tags == "customer"))
PY
env -i PATH="$PATH" HOME="$work" timeout 90 "$work/venv/bin/python" "$work/probe.py"
