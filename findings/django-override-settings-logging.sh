#!/usr/bin/env bash
# Django 6.1.3 and 5.2.19 (CPython 3.12, Linux), run 2026-11-30.
# Behaviour: with Django 6 a test's `override_settings(LOGGING=...)` configures the process' logging by it, and by the project's LOGGING when it
#   ends. What that does not describe stays as the test left it: handlers that were added to the root are gone, its level is the test's, and
#   with `disable_existing_loggers` loggers are off meanwhile. Django 5.2 does nothing at all.
# Expected: after a block that overrides settings all is as before it. Handlers that code adds (log capture, a tracer, a console) do not come
#   back: one such test silences them for all tests that follow, by the order of the tests.
# Output seen:
#   5.2.19 before: 1 handler, level 10; within: 1 handler, level 10; after: 1 handler, level 10
#   6.1.3 before: 1 handler, level 10; within: 0 handlers, level 40; after: 0 handlers, level 40
set -euo pipefail
for python in python3.14 python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9].*/bin/python3 ""; do
  "${python:-false}" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
if [ -z "$python" ]; then
  echo "Django 6 needs Python 3.12 or newer, which was not found"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/probe.py" <<'PY'
import logging
import django
from django.conf import settings
from django.test import override_settings

settings.configure(LOGGING={"version": 1, "disable_existing_loggers": False})
django.setup()
root = logging.getLogger()
root.addHandler(logging.NullHandler())
root.setLevel(logging.DEBUG)

def state():
    number = len(root.handlers)
    return f"{number} handler{'s' * (number != 1)}, level {root.level}"

before = state()
with override_settings(LOGGING={"version": 1, "root": {"handlers": [], "level": "ERROR"}}):
    within = state()
print(django.__version__, f"before: {before}; within: {within}; after: {state()}")
PY
for version in 5.2.19 6.1.3; do
  "$python" -m venv --without-pip "$work/$version"
  "$python" -m pip --python "$work/$version" install -q --no-compile --disable-pip-version-check "django==$version"
  "$work/$version/bin/python" "$work/probe.py" | tee -a "$work/seen"
done
diff "$work/seen" - <<'SEEN'
5.2.19 before: 1 handler, level 10; within: 1 handler, level 10; after: 1 handler, level 10
6.1.3 before: 1 handler, level 10; within: 0 handlers, level 40; after: 0 handlers, level 40
SEEN
