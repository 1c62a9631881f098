#!/usr/bin/env bash
# channels 4.0.0 and 4.3.2 with Django 4.2.16 and 5.2.9 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: URLRouter inside path() works or not by the version of Django, not of channels alone. channels 4.0.0 asks only for Django >= 3.2, so
#   pip leaves it beside Django 5.2, where path() is matched as a whole: each nested path() is "No route found"; re_path() works.
# Expected: pip refuses the pair, or the start does; here each WebSocket fails, when it comes. Routing outlives the upgrade
#   of Django in tests that call consumers without the router.
# Output seen:
#   channels 4.0.0, Django 4.2.16: nested path() found, nested re_path() found
#   channels 4.0.0, Django 5.2.9: nested path() ValueError, nested re_path() found
#   channels 4.3.2, Django 5.2.9: nested path() found, nested re_path() found
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/probe.py" <<'PY'
import asyncio, channels, django
from channels.routing import URLRouter
from django.urls import path, re_path

async def consumer(scope, receive, send):
    return scope["url_route"]["kwargs"]

def look(router):
    try:
        kwargs = asyncio.run(router({"type": "websocket", "path": "/rooms/7/"}, None, None))
        return "found" if str(kwargs["n"]) == "7" else kwargs
    except ValueError as error:
        return type(error).__name__

plain = look(URLRouter([path("rooms/", URLRouter([path("<int:n>/", consumer)]))]))
regex = look(URLRouter([re_path("^rooms/", URLRouter([re_path(r"^(?P<n>\d+)/$", consumer)]))]))
print(f"channels {channels.__version__}, Django {django.__version__}: nested path() {plain}, nested re_path() {regex}")
PY
while read -r channels django; do
  python3 -m venv --without-pip --clear "$work/venv"
  python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check "channels==$channels" "Django==$django"
  env -i PATH="$PATH" HOME="$work" timeout 60 "$work/venv/bin/python" "$work/probe.py" | tee -a "$work/seen"
done <<'PINS'
4.0.0 4.2.16
4.0.0 5.2.9
4.3.2 5.2.9
PINS
diff "$work/seen" - <<'SEEN'
channels 4.0.0, Django 4.2.16: nested path() found, nested re_path() found
channels 4.0.0, Django 5.2.9: nested path() ValueError, nested re_path() found
channels 4.3.2, Django 5.2.9: nested path() found, nested re_path() found
SEEN
