#!/usr/bin/env bash
# varnish 7.1.1 (Debian 12, its built-in rules; CPython 3.11, Linux), run 2026-11-29. Takes varnish by apt-get download; exits 0 with a sentence
#   where that, or the C compiler that it needs, is not to be had.
# Behaviour: an event stream without Cache-Control is an object like any other. Clients that come while it runs get the one stream of the
#   first, from its first event on; the application sees one request. Those that come in the two minutes after its end get all of it
#   at once, and its end; an EventSource that then reconnects gets it again.
# Expected: text/event-stream is passed through. Starlette's and Django's streaming responses say nothing about caching;
#   Cache-Control: no-store (sse-starlette says it) mends it.
# Output seen:
#   no Cache-Control: requests to the application 1; streams that the clients saw: [1, 1, 1]
#   no-store: requests to the application 3; streams that the clients saw: [1, 2, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! command -v gcc > /dev/null || ! apt-get download -qq varnish=7.1.1* libvarnishapi3 libjemalloc2 libedit2 libbsd0 libmd0 > apt.log 2>&1; then
  echo "no varnish 7.1.1 by apt-get, or no gcc here: nothing looked at"
  exit 0
fi
for package in *.deb; do
  dpkg -x "$package" deb
done
cat > "$work/probe.py" <<'PY'
import http.server, os, re, socket, subprocess, sys, threading, time, urllib.request

count = 0

class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global count
        count += 1
        stream = count
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if self.path == "/no-store":
            self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for n in range(15):
            event = f"id: {n}\ndata: {stream}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
threading.Thread(target=server.serve_forever, daemon=True).start()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
here = os.getcwd()
command = ["deb/usr/sbin/varnishd", "-F", "-j", "none", "-n", f"{here}/run", "-a", f"127.0.0.1:{port}",
           "-b", f"127.0.0.1:{server.server_port}", "-s", "malloc,32m"]

def streams(path):
    """The stream that each of three clients saw: at first, one second later, after the end."""
    global count
    count, seen = 0, {}

    def read(n):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20).read().decode()
        [seen[n]] = set(re.findall(r"data: (\d+)", text)) if text.startswith("id: 0\n") else ["not from the start"]

    first, second, third = (threading.Thread(target=read, args=(n,)) for n in range(3))
    first.start()
    time.sleep(1)
    second.start()
    first.join()
    second.join()
    third.start()
    third.join()
    return count, [int(seen[n]) for n in range(3)]

with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    results = [streams("/plain"), streams("/no-store")]
    process.terminate()
    process.wait(20)
for name, (requests, seen) in zip(("no Cache-Control", "no-store"), results):
    print(f"{name}: requests to the application {requests}; streams that the clients saw: {seen}")
sys.exit(results != [(1, [1, 1, 1]), (3, [1, 2, 3])])
PY
libraries=$(find "$work/deb" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
env -i PATH="$work/deb/usr/sbin:$PATH" HOME="$work" LD_LIBRARY_PATH="$libraries" timeout 90 python3 "$work/probe.py"
