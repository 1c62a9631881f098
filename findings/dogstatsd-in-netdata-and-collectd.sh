#!/usr/bin/env bash
# netdata 1.37.1 and collectd 5.12.0 (Debian 12), datadog 0.56.0 (CPython 3.11, Linux), run 2026-11-30.
#   Takes the two by apt-get download; exits 0 with a sentence where they are not to be had.
# Behaviour: of what Datadog's client sends, collectd refuses each line with a tag, a timestamp or a container id, and each distribution;
#   netdata takes them all, without their tags, counts a value of the past as one of now, and has a distribution for a
#   "dictionary": a dimension for each value that ever came, without any percentile. In both, gauge -3 after gauge 5 is 2.
#   A percentile of collectd's is the middle of a bin of 1/1024 s: the median of one timing of 12 ms is 12.207.
# Expected: StatsD daemons that do not know an extension leave it out, alike, and say so.
# Output seen (what each has of what was sent):
#   requests, a count, 2 x with tags  netdata: 2, without tags                        collectd: nothing
#   hits, a count                     netdata: 1                                      collectd: 1
#   late, a count of 2023             netdata: 1, now                                 collectd: nothing
#   depth, gauges 5 and -3            netdata: 2                                      collectd: 2
#   latency, distribution 3.5, 5.25   netdata: dictionary of '3.5' and '5.25'         collectd: nothing
#   wait, timing 12 ms                netdata: median 12 ms                           collectd: median 12.207 ms
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
if ! apt-get download -qq netdata-core=1.37.1* libjson-c5 libmnl0 libnetfilter-acct1 libuv1 libcap2 collectd-core=5.12.0* > "$work/apt.log" 2>&1; then
  echo "no netdata 1.37.1 and collectd 5.12.0 by apt-get here: nothing looked at"
  exit 0
fi
for deb in *.deb; do dpkg -x "$deb" "$work/deb"; done
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check datadog==0.56.0
cat > "$work/probe.py" <<'PY'
import getpass, glob, json, os, pathlib, socket, subprocess, sys, time, urllib.request
from datadog.dogstatsd import DogStatsd

here = os.getcwd()

def free(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as any:
        any.bind(("127.0.0.1", 0))
        return any.getsockname()[1]

def send(port):
    client = DogStatsd(host="127.0.0.1", port=port, disable_telemetry=True, origin_detection_enabled=False)
    client.increment("requests", tags=["model:a"])
    client.increment("requests", tags=["model:b"])
    client.increment("hits")
    client.count_with_timestamp("late", 1, 1700000000)
    client.gauge("depth", 5)
    client.gauge("depth", -3)
    client.distribution("latency", 3.5)
    client.distribution("latency", 5.25)
    client.timing("wait", 12)

def until(answer):
    for _ in range(200):
        try:
            if found := answer():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise SystemExit("waited in vain")

def netdata():
    statsd, web = free(socket.SOCK_DGRAM), free()
    for name in ("cache", "lib", "log", "home"):
        os.makedirs(f"netdata/{name}")
    no = "\n".join(f"{name} = no" for name in ("proc", "diskspace", "cgroups", "tc", "idlejitter", "apps", "timex", "loops",
                                               "enable running new plugins", "netdata monitoring", "slabinfo", "profile"))
    dirs = "\n".join(f"{name} = {here}/netdata/{name}" for name in ("cache", "lib", "log", "home"))
    pathlib.Path("netdata.conf").write_text(f"""[global]
run as user = {getpass.getuser()}
[db]
mode = ram
update every = 1
[directories]
{dirs}
web = {here}/deb/usr/share/netdata/web
plugins = {here}/deb/usr/lib/netdata/plugins.d
stock config = {here}/deb/usr/lib/netdata/conf.d
config = {here}/netdata
[web]
bind to = 127.0.0.1:{web}
[plugins]
{no}
[ml]
enabled = no
[health]
enabled = no
[statsd]
bind to = udp:127.0.0.1:{statsd}
""")

    def api(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/api/v1/{path}", timeout=10) as response:
            return json.load(response)

    command = ["deb/usr/sbin/netdata", "-D", "-c", f"{here}/netdata.conf", "-P", f"{here}/netdata/pid"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: api("charts"))
        time.sleep(2)  # its collectors
        send(statsd)
        charts = until(lambda: len(found := [one for one in api("charts")["charts"] if one.startswith("statsd_")]) == 6 and found)
        time.sleep(3)  # rates are spread over two seconds
        rows = {}
        for chart in charts:
            data = api(f"data?chart={chart}&after=-30&format=json")
            rows[chart.partition("statsd_")[2]] = data["labels"][1:], [row[1:] for row in data["data"] if row[1] is not None]
    finally:
        server.terminate()
        server.wait(20)

    def count(name):
        return str(round(sum(row[0] for row in rows[f"{name}.counter"][1])))

    (values, _), (names, timers) = rows["latency.dictionary"], rows["wait.timer"]
    return [f"{count('requests')}, without tags", count("hits"), f"{count('late')}, now", f"{rows['depth.gauge'][1][0][0]:g}",
            f"dictionary of {' and '.join(repr(one) for one in sorted(values))}",
            f"median {max(row[names.index('median')] for row in timers):g} ms"]

def collectd():
    port = free(socket.SOCK_DGRAM)
    pathlib.Path("collectd.conf").write_text(f"""BaseDir "{here}"
PIDFile "{here}/collectd.pid"
PluginDir "{here}/deb/usr/lib/collectd"
TypesDB "{here}/deb/usr/share/collectd/types.db"
Interval 1
Hostname "h"
FQDNLookup false
LoadPlugin statsd
<Plugin statsd>
Host "127.0.0.1"
Port "{port}"
TimerPercentile 50
</Plugin>
LoadPlugin csv
<Plugin csv>
DataDir "{here}/csv"
StoreRates false
</Plugin>
""")
    command = ["deb/usr/sbin/collectd", "-f", "-C", f"{here}/collectd.conf"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def values(kind):
        found = glob.glob(f"csv/h/statsd/{kind}-20*")
        return [float(line.rpartition(",")[2]) for path in found for line in pathlib.Path(path).read_text().splitlines()[1:]]

    try:
        until(lambda: f":{port:04X} " in pathlib.Path("/proc/net/udp").read_text())
        send(port)
        until(lambda: values("latency-wait-percentile-50") and values("gauge-depth"))
        time.sleep(2)
    finally:
        server.terminate()
        server.wait(20)
    counted = {name: values(f"derive-{name}") for name in ("requests", "hits", "late")}
    latency = glob.glob("csv/h/statsd/*latency-latency*") + glob.glob("csv/h/statsd/*-latency-20*")
    shown = {name: f"{found[-1]:g}" if found else "nothing" for name, found in counted.items()}
    return [shown["requests"], shown["hits"], shown["late"], f"{values('gauge-depth')[-1]:g}", "something" if latency else "nothing",
            f"median {1000 * values('latency-wait-percentile-50')[0]:.3f} ms"]

SENT = ["requests, a count, 2 x with tags", "hits, a count", "late, a count of 2023", "depth, gauges 5 and -3",
        "latency, distribution 3.5, 5.25", "wait, timing 12 ms"]
seen = netdata(), collectd()
for sent, one, other in zip(SENT, *seen):
    print(f"{sent:34}netdata: {one:38} collectd: {other}")
sys.exit(seen != (["2, without tags", "1", "1, now", "2", "dictionary of '3.5' and '5.25'", "median 12 ms"],
                  ["nothing", "1", "nothing", "2", "nothing", "median 12.207 ms"]))
PY
libraries=$(dirname "$(find "$work/deb" -name 'libuv.so.1')")
env -i PATH="$PATH" HOME="$work" LD_LIBRARY_PATH="$libraries" timeout 110 "$work/venv/bin/python" "$work/probe.py"
