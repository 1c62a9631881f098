#!/usr/bin/env bash
# django-tasks 0.12.0, django-stubs-ext 6.1.2, Django 5.2.9 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: `import django_tasks` calls django_stubs_ext.monkeypatch(): Django's own classes become subscriptable for the whole process.
# Expected: importing a task queue leaves other classes alone. Code that is wrong without it (ModelAdmin[Book] at run time) works
#   where django-tasks is installed and imported first, and raises TypeError in a script, a test or a worker that does not import it.
# Output seen:
#   before: ModelAdmin['Book'] TypeError, FormView['Form'] TypeError
#   after: ModelAdmin['Book'] works, FormView['Form'] works
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check django-tasks==0.12.0 django-stubs-ext==6.1.2 Django==5.2.9
cat > "$work/probe.py" <<'PY'
import sys
import django
from django.conf import settings

settings.configure()
django.setup()
from django.contrib.admin import ModelAdmin
from django.views.generic import FormView

def look(name):
    seen = []
    for cls, item in ((ModelAdmin, "Book"), (FormView, "Form")):
        try:
            cls[item]
            seen.append("works")
        except TypeError:
            seen.append("TypeError")
    print(f"{name}: ModelAdmin['Book'] {seen[0]}, FormView['Form'] {seen[1]}")
    return seen

before = look("before")
import django_tasks
after = look("after")
sys.exit((before, after) != (["TypeError"] * 2, ["works"] * 2))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
