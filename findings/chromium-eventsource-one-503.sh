#!/usr/bin/env bash
# Chromium 156 (Debian, headless; CPython 3.11, Linux), run 2026-11-29. Exits 0 with a sentence where no chromium is installed.
# Behaviour: an EventSource that lost its stream tries again. One 503 (with Retry-After) as the answer to that closes it for
#   good: readyState 2, no further request, although the server is well a moment later.
# Expected: by the HTML standard this is right, and the opposite of what proxies and orchestrators assume of clients: 503 means
#   "come back". A rolling deployment behind a proxy that answers one 503 ends the streams of all open pages.
# Output seen:
#   requests: [200, 503], then none for 4 s; page says readyState 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/probe.py" <<'PY'
import http.server, os, shutil, subprocess, sys, threading, time

browser = shutil.which("chromium") or shutil.which("chromium-browser")
if not browser:
    print("no chromium here: nothing looked at")
    sys.exit(0)
statuses, states = [], []
PAGE = b'''<script>const s = new EventSource("/stream");
setInterval(() => fetch("/state/" + s.readyState, {method: "POST"}), 500)</script>'''

class Site(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path != "/stream":
            return self.answer(200, PAGE, "text/html")
        statuses.append(503 if len(statuses) == 1 else 200)
        self.answer(statuses[-1], b"retry: 300\ndata: x\n\n", "text/event-stream")

    def do_POST(self):
        states.append(int(self.path[-1]))
        self.answer(204, b"", "text/plain")

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={os.getcwd()}/profile",
           "--disable-background-networking", "--no-first-run", url]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    end = time.monotonic() + 40
    while len(statuses) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(4)
    process.terminate()
    process.wait(20)
print(f"requests: {statuses}, then none for 4 s; page says readyState {states[-1] if states else None}")
sys.exit(not (statuses == [200, 503] and states[-1] == 2))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 python3 "$work/probe.py"
