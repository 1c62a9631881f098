#!/usr/bin/env bash
# ddapm-test-agent 1.69.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: with --agent-url the test agent forwards GET /info to that Agent as POST. Where it is answered by 404, as by an Agent that
#   has /info for GET alone, the client gets neither the 404 nor an /info of the test agent's own, but 400 "'session_token'".
# Expected: the method is forwarded too. A tracer that asks /info takes the answer for an Agent without features, so what
#   is tested with an Agent behind is not what runs without.
# Output seen:
#   the Agent itself, GET /info: 200
#   through the test agent, GET /info: 400: 'session_token'; the Agent was asked: POST /info
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check ddapm-test-agent==1.69.1
cat > "$work/probe.py" <<'PY'
import http.server, pathlib, socket, subprocess, sys, threading, time, urllib.error, urllib.request

asked = []

class Agent(http.server.BaseHTTPRequestHandler):
    def answer(self, status):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked.append(f"{self.command} {self.path}")
        body = b'{"version": "7.70.0", "endpoints": ["/v0.4/traces"]}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200 if self.path == "/info" else 404)

    def do_POST(self):
        self.answer(404)

    def log_message(self, *args):
        pass

def free():
    with socket.socket() as any:
        any.bind(("127.0.0.1", 0))
        return any.getsockname()[1]

def info(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/info", timeout=20) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return error.read().decode()

agent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
threading.Thread(target=agent.serve_forever, daemon=True).start()
direct = info(agent.server_port)
asked.clear()
port = free()
command = [pathlib.Path(sys.executable).with_name("ddapm-test-agent"), "--port", str(port), "--web-ui-port", "0",
           "--otlp-http-port", str(free()), "--otlp-grpc-port", str(free()), "--agent-url", f"http://127.0.0.1:{agent.server_port}"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    through = info(port)
    process.terminate()
    process.wait(20)
infos = ", ".join(line for line in asked if line.endswith("/info"))
print(f"the Agent itself, GET /info: {direct}")
print(f"through the test agent, GET /info: {through}; the Agent was asked: {infos}")
sys.exit((direct, through, infos) != ("200", "400: 'session_token'", "POST /info"))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 90 "$work/venv/bin/python" "$work/probe.py"
