#!/usr/bin/env bash
# granian 2.8.9, starlette 1.10.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: granian offers http.response.pathsend, and Starlette's FileResponse takes it: the response has no
#   http.response.body at all, so what counts bytes or waits for the last body in a send() wrapper sees a response that never ends.
#   The ports in scope["client"] and scope["server"] are text; ASGI says integers, and the other servers give those.
# Expected: middleware that knows the body messages alone is right about each file; under uvicorn it is.
# Output seen:
#   uvicorn messages: start, body; type of the client's port: int
#   granian messages: start, pathsend; type of the client's port: str
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check granian==2.8.9 uvicorn==0.54.0 starlette==1.10.0
cat > "$work/probe.py" <<'PY'
import os, pathlib, socket, subprocess, sys, time, urllib.request

pathlib.Path("app.py").write_text('''
from starlette.responses import FileResponse

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    types = []

    async def noting(message):
        types.append(message["type"].rpartition(".")[2])
        await send(message)

    await FileResponse(__file__)(scope, receive, noting)
    with open("seen", "w") as file:
        file.write(f"{', '.join(types)}; type of the client's port: {type(scope['client'][1]).__name__}")
''')
bin = pathlib.Path(sys.executable).parent
seen = {}
for server, arguments in (("uvicorn", []), ("granian", ["--interface", "asgi"])):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([bin / server, *arguments, "--host", "127.0.0.1", "--port", str(port), "app:app"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        process.terminate()
        process.wait(15)
    seen[server] = pathlib.Path("seen").read_text()
    print(f"{server} messages: {seen[server]}")
sys.exit(not (seen["granian"] == "start, pathsend; type of the client's port: str" and "body" in seen["uvicorn"] and "int" in seen["uvicorn"]))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
