#!/usr/bin/env bash
# mcp 2.3.0 with starlette 1.10.0, anyio 4.16.0 and uvicorn 0.54.0 (CPython 3.11, Linux), run 2026-11-30.
# Behaviour: a client that dies in the middle of a tool call ends the tool or does not, by the version of the protocol that it speaks. With that
#   of 2026 the tool gets CancelledError within a fraction of a second. With an older one's session it runs to its end for nobody,
#   though the server hears of the disconnect; not so where the server is stateless.
# Expected: the server's setting decides, or all alike. Here what a tool costs after its user left depends on the client's library, so
#   a tool that is long has to ask by itself whether anybody is still there, or have a deadline.
# Output seen:
#   sessions, client of protocol 2026    the tool: CancelledError
#   sessions, client of protocol 2025    the tool: ran to its end
#   stateless, client of protocol 2026   the tool: CancelledError
#   stateless, client of protocol 2025   the tool: CancelledError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  mcp==2.3.0 starlette==1.10.0 anyio==4.16.0 uvicorn==0.54.0
cat > "$work/server.py" <<'PY'
import asyncio, sys
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

mcp = MCPServer("tools")

@mcp.tool()
async def count(context: Context) -> str:
    try:
        for number in range(20):
            await context.report_progress(number, 20)
            await asyncio.sleep(0.2)
    except asyncio.CancelledError:
        print("CancelledError", flush=True)
        raise
    print("ran to its end", flush=True)
    return "counted"

app = mcp.streamable_http_app(stateless_http=sys.argv[1] == "stateless")
uvicorn.run(app, port=int(sys.argv[2]), log_level="critical")
PY
cat > "$work/client.py" <<'PY'
import asyncio, sys
from mcp import Client

async def shown(*progress):
    print("begun", flush=True)

async def main():
    async with Client(sys.argv[1], mode=sys.argv[2]) as client:
        await client.call_tool("count", {}, progress_callback=shown)

asyncio.run(main())
PY
cat > "$work/probe.py" <<'PY'
import queue, socket, subprocess, sys, threading, time

def free():
    with socket.socket() as any:
        any.bind(("127.0.0.1", 0))
        return any.getsockname()[1]

def after(kind, mode):
    """What a tool says after its client, once shown its progress, was killed."""
    port, said = free(), queue.Queue()
    server = subprocess.Popen([sys.executable, "server.py", kind, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    threading.Thread(target=lambda: [said.put(line.strip()) for line in server.stdout], daemon=True).start()
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        client = subprocess.Popen([sys.executable, "client.py", f"http://127.0.0.1:{port}/mcp", mode], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        assert client.stdout.readline() == "begun\n"
        client.kill()
        client.wait()
        return said.get(timeout=20)
    finally:
        server.terminate()
        server.wait(20)

EXPECTED = {
    ("sessions", "auto"): "CancelledError", ("sessions", "legacy"): "ran to its end",
    ("stateless", "auto"): "CancelledError", ("stateless", "legacy"): "CancelledError",
}
seen = {}
for kind, mode in EXPECTED:
    seen[kind, mode] = after(kind, mode)
    label = f"{kind}, client of protocol {'2026' if mode == 'auto' else '2025'}"
    print(f"{label:37}the tool: {seen[kind, mode]}", flush=True)
sys.exit(seen != EXPECTED)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 110 "$work/venv/bin/python" "$work/probe.py"
