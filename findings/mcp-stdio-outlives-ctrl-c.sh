#!/usr/bin/env bash
# mcp 2.3.0 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a server on stdio whose client is silent does not end by SIGINT (Ctrl-C), nor by SIGTERM where the program handles it by
#   leaving (as one with something to flush does): a thread waits in a read of standard input, and the loop's end waits for the thread.
#   It ends when the client says something or closes its end. SIGTERM without a handler kills, as everywhere.
# Expected: the end within a moment, as of other asyncio servers.
# Output seen:
#   SIGINT, client silent: not within 10 s
#   SIGTERM handled by sys.exit(0), client silent: not within 10 s
#   SIGTERM handled by sys.exit(0), client leaves: ended
#   SIGTERM without a handler, client silent: ended
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check mcp==2.3.0
cat > "$work/server.py" <<'PY'
import signal, sys

from mcp.server import MCPServer

if sys.argv[1] == "handled":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
MCPServer("probe").run("stdio")
PY
cat > "$work/probe.py" <<'PY'
import json, pathlib, signal, subprocess, sys

SERVER = str(pathlib.Path(__file__).with_name("server.py"))
HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "probe", "version": "1"}},
}

def end(said, number, handled, leaves=False):
    command = [sys.executable, SERVER, "handled" if handled else "plain"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        server.stdin.write(json.dumps(HELLO) + "\n")
        server.stdin.flush()
        server.stdout.readline()  # it runs
        server.send_signal(number)
        if leaves:
            server.stdin.close()
        try:
            server.wait(10)
            found = "ended"
        except subprocess.TimeoutExpired:
            server.kill()
            found = "not within 10 s"
    print(f"{said}: {found}")
    return found

found = [
    end("SIGINT, client silent", signal.SIGINT, False),
    end("SIGTERM handled by sys.exit(0), client silent", signal.SIGTERM, True),
    end("SIGTERM handled by sys.exit(0), client leaves", signal.SIGTERM, True, leaves=True),
    end("SIGTERM without a handler, client silent", signal.SIGTERM, False),
]
sys.exit(0 if found == ["not within 10 s", "not within 10 s", "ended", "ended"] else 1)
PY
"$work/venv/bin/python" "$work/probe.py"
