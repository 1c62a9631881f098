#!/usr/bin/env bash
# openai 3.57.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a streamed answer with a block that has no data ("retry: 3000", "id: 1", "event: ping") ends in json.JSONDecodeError, which
#   is no openai.OpenAIError, so neither its handlers nor its retries see it. Comments (": ping") pass.
# Expected: by the HTML standard a block without data is no event. Gateways and frameworks put such blocks into streams of
#   their own accord: a first "retry:", an "event: ping" every few seconds.
# Output seen:
#   nothing before the answer: ['x']
#   : ping: ['x']
#   retry: 3000: JSONDecodeError, an OpenAIError: False
#   id: 1: JSONDecodeError, an OpenAIError: False
#   event: ping: JSONDecodeError, an OpenAIError: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check openai==3.57.0
cat > "$work/probe.py" <<'PY'
import http.server, json, sys, threading
import openai

BEFORE = ["", ": ping", "retry: 3000", "id: 1", "event: ping"]
CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x"}, "finish_reason": None}]}

class Model(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        before = BEFORE[int(self.path.split("/")[1])]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(f"{before and before + chr(10) * 2}data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *args):
        pass

def read(n):
    client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/{n}", max_retries=0)
    try:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
        return [chunk.choices[0].delta.content for chunk in stream]
    except Exception as error:
        return f"{type(error).__name__}, an OpenAIError: {isinstance(error, openai.OpenAIError)}"

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = [read(n) for n in range(len(BEFORE))]
for before, answer in zip(BEFORE, seen):
    print(f"{before or 'nothing before the answer'}: {answer}")
sys.exit(seen != [["x"]] * 2 + ["JSONDecodeError, an OpenAIError: False"] * 3)
PY
env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py"
