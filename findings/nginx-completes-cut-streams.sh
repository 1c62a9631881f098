#!/usr/bin/env bash
# nginx 1.22.1 (Debian 12) before uvicorn 0.54.0 with h11 0.16.0 or httptools 0.9.0, hypercorn 0.18.0, granian 2.8.9, gunicorn 27.0.1
#   (CPython 3.11, Linux), run 2026-11-29. Takes nginx by apt-get download; exits 0 with a sentence where that is not to be had.
# Behaviour: a stream whose application fails after its first event ends without the last chunk, and clients raise an error. Behind nginx's
#   default, HTTP/1.0 to the upstream, the body is delimited by the close, so nginx takes the cut for the end and completes
#   the response: the client sees a stream that ended well. Only uvicorn with httptools is different: it sends chunks to HTTP/1.0 too.
# Expected: a proxy does not turn a failure into a success. `proxy_http_version 1.1` mends it.
# Output seen (what the client sees of a stream that failed):
#   uvicorn-h11        direct: cut, nginx: complete, nginx with HTTP/1.1: cut
#   uvicorn-httptools  direct: cut, nginx: cut, nginx with HTTP/1.1: cut
#   hypercorn          direct: cut, nginx: complete, nginx with HTTP/1.1: cut
#   granian            direct: cut, nginx: complete, nginx with HTTP/1.1: cut
#   gunicorn           direct: cut, nginx: complete, nginx with HTTP/1.1: cut
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
if ! apt-get download -qq nginx=1.22.1* > "$work/apt.log" 2>&1; then
  echo "no nginx 1.22.1 by apt-get here: nothing looked at"
  exit 0
fi
dpkg -x nginx_*.deb "$work/deb"
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check \
  uvicorn==0.54.0 h11==0.16.0 httptools==0.9.0 hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1
cat > "$work/probe.py" <<'PY'
import contextlib, http.client, os, pathlib, socket, subprocess, sys, time

pathlib.Path("app.py").write_text('''
import asyncio

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: 1\\n\\n", "more_body": True})
    await asyncio.sleep(0.2)
    raise ValueError("no second event")
''')
bin = pathlib.Path(sys.executable).parent

def free():
    with socket.socket() as any:
        any.bind(("127.0.0.1", 0))
        return any.getsockname()[1]

@contextlib.contextmanager
def serving(port, *command):
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            break
        time.sleep(0.1)
    yield
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

def end(port):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", "/")
    response = client.getresponse()
    try:
        assert response.read() == b"data: 1\n\n" and response.status == 200
        return "complete"
    except http.client.IncompleteRead:
        return "cut"

def behind_nginx(upstream, option=""):
    port, here = free(), os.getcwd()
    temps = "".join(f"{kind}_temp_path {here}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    pathlib.Path("nginx.conf").write_text(f"""daemon off; master_process off; pid {here}/pid; error_log {here}/error.log; events {{}}
http {{ access_log off; {temps} server {{ listen 127.0.0.1:{port};
location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_buffering off; {option} }} }} }}""")
    with serving(port, "deb/usr/sbin/nginx", "-p", here, "-e", f"{here}/error.log", "-c", f"{here}/nginx.conf"):
        return end(port)

changed = False
for name, command in {
    "uvicorn-h11": "uvicorn --http h11 --port {} app:app",
    "uvicorn-httptools": "uvicorn --http httptools --port {} app:app",
    "hypercorn": "hypercorn -b 127.0.0.1:{} app:app",
    "granian": "granian --interface asgi --port {} app:app",
    "gunicorn": "gunicorn -k asgi --no-control-socket -b 127.0.0.1:{} app:app",
}.items():
    port = free()
    program, *arguments = command.format(port).split()
    with serving(port, bin / program, *arguments):
        seen = end(port), behind_nginx(port), behind_nginx(port, 'proxy_http_version 1.1; proxy_set_header Connection "";')
    print(f"{name:18} direct: {seen[0]}, nginx: {seen[1]}, nginx with HTTP/1.1: {seen[2]}", flush=True)
    changed |= seen != ("cut", "cut" if name == "uvicorn-httptools" else "complete", "cut")
sys.exit(changed)
PY
env -i PATH="$PATH" HOME="$work" timeout 110 "$work/venv/bin/python" "$work/probe.py"
