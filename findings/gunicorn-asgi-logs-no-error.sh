#!/usr/bin/env bash
# gunicorn 27.0.1, granian 2.8.9, uvicorn 0.54.0, hypercorn 0.18.0, daphne 4.2.3, starlette 1.10.0 (CPython 3.11, Linux), run 2026-11-30.
# Behaviour: gunicorn's ASGI worker logs no error that comes out of the application once the response is complete. Starlette and FastAPI
#   answer an unhandled error with their 500 and raise it then, so of those no log has a word, nor of a BackgroundTask that
#   failed. granian logs the traceback of an ExceptionGroup without the errors in it.
# Expected: the error's type and message in the server's log, as the other three have it. With gunicorn log it in a middleware.
# Output seen (what of the error, a LookupError, is in the server's log):
#   uvicorn    a route: named    a BackgroundTask: named    a TaskGroup: named
#   hypercorn  a route: named    a BackgroundTask: named    a TaskGroup: named
#   daphne     a route: named    a BackgroundTask: named    a TaskGroup: named
#   granian    a route: named    a BackgroundTask: named    a TaskGroup: the group alone
#   gunicorn   a route: nothing  a BackgroundTask: nothing  a TaskGroup: nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  gunicorn==27.0.1 granian==2.8.9 uvicorn==0.54.0 hypercorn==0.18.0 daphne==4.2.3 starlette==1.10.0
cat > "$work/probe.py" <<'PY'
import contextlib, http.client, os, pathlib, socket, subprocess, sys, time

pathlib.Path("site_app.py").write_text('''
import asyncio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def fails():
    raise LookupError("the error itself")

async def plain(request):
    await fails()

async def background(request):
    return PlainTextResponse("accepted", background=BackgroundTask(fails))

async def group(request):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fails())

app = Starlette(routes=[Route("/plain", plain), Route("/background", background), Route("/group", group)])
''')
bin = pathlib.Path(sys.executable).parent

def free():
    with socket.socket() as any:
        any.bind(("127.0.0.1", 0))
        return any.getsockname()[1]

def named(command, path):
    """What the server's log has of the error of one request."""
    port, log = free(), pathlib.Path("log")
    program, *arguments = command.format(port).split()
    with log.open("w") as out:
        process = subprocess.Popen([bin / program, *arguments], stdout=out, stderr=subprocess.STDOUT,
                                   env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": "."})
    for _ in range(300):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        time.sleep(0.1)
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path)
    client.getresponse().read()
    client.close()
    for _ in range(30):  # those that say nothing are waited for
        if "LookupError: the error itself" in log.read_text():
            break
        time.sleep(0.1)
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    text = log.read_text()
    if "LookupError: the error itself" in text:
        return "named"
    return "the group alone" if "ExceptionGroup" in text else "nothing" if "LookupError" not in text else "in part"

EXPECTED = {
    "uvicorn": ("named",) * 3, "hypercorn": ("named",) * 3, "daphne": ("named",) * 3,
    "granian": ("named", "named", "the group alone"), "gunicorn": ("nothing",) * 3,
}
COMMANDS = {
    "uvicorn": "uvicorn --port {} site_app:app",
    "hypercorn": "hypercorn -b 127.0.0.1:{} site_app:app",
    "daphne": "daphne -p {} site_app:app",
    "granian": "granian --interface asgi --port {} site_app:app",
    "gunicorn": "gunicorn -k asgi --no-control-socket -b 127.0.0.1:{} site_app:app",
}
seen = {}
for name, command in COMMANDS.items():
    route, background, group = seen[name] = tuple(named(command, path) for path in ("/plain", "/background", "/group"))
    print(f"{name:11}a route: {route:9}a BackgroundTask: {background:9}a TaskGroup: {group}", flush=True)
sys.exit(seen != EXPECTED)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 170 "$work/venv/bin/python" "$work/probe.py"
