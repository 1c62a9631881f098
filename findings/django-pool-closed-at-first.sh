#!/usr/bin/env bash
# Django 5.2.9, psycopg 3.3.9, psycopg-pool 3.3.3 (CPython 3.11, Linux), run 2026-11-29; no server needed.
# Behaviour: with OPTIONS={"pool": True} the public connection.pool gives a pool that is closed until Django itself has opened its
#   first connection: pool.connection() raises PoolClosed ("is not open yet"). The first ensure_connection() opens it, also
#   when that fails, and one that waits for connections then keeps trying in the background.
# Expected: what reads the pool before the first query (metrics, a health check at start) finds it usable, or is told that it has to open it.
# Output seen:
#   before the first query: closed True, connection(): PoolClosed: the pool 'pool-1' is not open yet
#   after one that failed: closed False, connection(): PoolTimeout
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check Django==5.2.9 'psycopg[binary]==3.3.9' psycopg-pool==3.3.3
cat > "$work/probe.py" <<'PY'
import logging, sys
import django
from django.conf import settings

logging.disable()
options = {"pool": {"min_size": 0, "max_size": 1, "timeout": 1}}
database = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "USER": "x", "HOST": "127.0.0.1", "PORT": "9", "OPTIONS": options}
settings.configure(DATABASES={"default": database})
django.setup()
from django.db import OperationalError, connection

def look():
    closed = connection.pool.closed
    try:
        with connection.pool.connection(timeout=1):
            return f"closed {closed}, a connection"
    except Exception as error:
        return f"closed {closed}, connection(): {type(error).__name__}" + f": {error}" * closed

before = look()
print(f"before the first query: {before}")
try:
    connection.ensure_connection()
except OperationalError:
    pass
after = look()
print(f"after one that failed: {after}")
connection.close_pool()
sys.exit((before, after) != ("closed True, connection(): PoolClosed: the pool 'pool-1' is not open yet", "closed False, connection(): PoolTimeout"))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
