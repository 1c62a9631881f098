#!/usr/bin/env bash
# rq 3.0.0 with fakeredis 2.36.2 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: job.number_of_retries counts only the retries that a job asks for by returning Retry(...). A job that is enqueued with
#   retry=Retry(max=2) and raises is run three times, and number_of_retries is None in each run.
# Expected: 0, 1, 2 in both cases. Which run it is has to be counted from job.retries_left, against a number noted when it was enqueued.
# Output seen:
#   raises, enqueued with Retry(max=2):  number_of_retries None, None, None; retries_left 2, 1, 0
#   returns Retry(max=2):                number_of_retries None, 1, 2; retries_left None, None, None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check rq==3.0.0 fakeredis==2.36.2
cat > "$work/probe.py" <<'PY'
import pathlib, sys

sys.path.insert(0, ".")
pathlib.Path("jobs.py").write_text("""
from rq import Retry, get_current_job

SEEN = []

def note():
    job = get_current_job()
    SEEN.append((job.number_of_retries, job.retries_left))

def raises():
    note()
    raise LookupError("again")

def returns():
    note()
    return Retry(max=2)
""")
import fakeredis
import jobs
from rq import Queue, Retry, SimpleWorker
import logging

logging.disable(logging.CRITICAL)
connection = fakeredis.FakeRedis()
queue = Queue(connection=connection)

def runs(function, **options):
    jobs.SEEN.clear()
    queue.enqueue(function, **options)
    SimpleWorker([queue], connection=connection).work(burst=True)
    return jobs.SEEN.copy()

def shown(values):
    return ", ".join(str(value) for value in values)

changed = False
for label, seen, expected in (
    ("raises, enqueued with Retry(max=2):", runs(jobs.raises, retry=Retry(max=2)), [(None, 2), (None, 1), (None, 0)]),
    ("returns Retry(max=2):", runs(jobs.returns), [(None, None), (1, None), (2, None)]),
):
    numbers, left = zip(*seen)
    print(f"{label:36} number_of_retries {shown(numbers)}; retries_left {shown(left)}")
    changed |= seen != expected
sys.exit(changed)
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
