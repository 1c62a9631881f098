#!/usr/bin/env bash
# fastapi 0.165.0 (starlette 1.10.0, CPython 3.11, Linux), run 2026-11-29; 0.136.0 is the comparison.
# Behaviour: include_router() no longer copies routes into the app. scope["route"].path of an included route is the path inside its
#   router's file, without the prefix that include_router(prefix=...) gave; app.routes holds one object without a path for all of them.
#   The whole template is in scope["fastapi"]["effective_route_context"].path (a private class).
# Expected: scope["route"].path is what metrics, logs and traces name requests by: two routers with "/{n}" under /users and
#   /orders become one series.
# Output seen:
#   0.136.0: scope["route"].path /items/{n} under /v1 is /v1/items/{n}; app.routes has it: True; context: None
#   0.165.0: scope["route"].path /items/{n} under /v1 is /items/{n}; app.routes has it: False; context: /v1/items/{n}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/probe.py" <<'PY'
import asyncio, fastapi

router = fastapi.APIRouter(prefix="/items")

@router.get("/{n}")
async def item(n: int):
    return n

app = fastapi.FastAPI()
app.include_router(router, prefix="/v1")

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    assert message.get("status", 200) == 200

scope = {"type": "http", "method": "GET", "path": "/v1/items/3", "raw_path": b"/v1/items/3", "headers": [], "query_string": b"",
         "root_path": "", "scheme": "http", "server": ("x", 80), "client": ("x", 1), "http_version": "1.1", "asgi": {"version": "3.0"}}
asyncio.run(app(scope, receive, send))
listed = "/v1/items/{n}" in [getattr(route, "path", None) for route in app.routes]
context = scope.get("fastapi", {}).get("effective_route_context")
print(f'{fastapi.__version__}: scope["route"].path /items/{{n}} under /v1 is {scope["route"].path};'
      f' app.routes has it: {listed}; context: {getattr(context, "path", None)}')
PY
for pins in "fastapi==0.136.0 starlette==1.0.0" "fastapi==0.165.0 starlette==1.10.0"; do
  python3 -m venv --without-pip --clear "$work/venv"
  # shellcheck disable=SC2086  # two pins
  python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check $pins
  env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py" | tee -a "$work/seen"
done
grep -q '^0.136.0: .* is /v1/items/{n}; app.routes has it: True' "$work/seen"
grep -q '^0.165.0: .* is /items/{n}; app.routes has it: False; context: /v1/items/{n}' "$work/seen"
