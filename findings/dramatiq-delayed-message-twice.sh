#!/usr/bin/env bash
# dramatiq 2.2.1 (CPython 3.11, Linux), run 2026-11-29.
# Behaviour: a message that is sent with a delay passes a middleware's before_enqueue and after_enqueue twice: in the sender with queue
#   "mail.DQ", and in the worker, once the delay is over, with queue "mail". Its options differ by "eta" alone; a retry is a third time.
# Expected: once a send. A middleware that counts what is enqueued counts double, and under a queue that nobody has declared.
# Output seen:
#   before_enqueue: mail.DQ with eta, mail without eta; the actor ran 1 time
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check dramatiq==2.2.1
cat > "$work/probe.py" <<'PY'
import logging, sys
import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

logging.disable(logging.CRITICAL)
seen, runs = [], []

class Counts(Middleware):
    def before_enqueue(self, broker, message, delay):
        seen.append(f"{message.queue_name} {'with' if 'eta' in message.options else 'without'} eta")

broker = StubBroker()
broker.add_middleware(Counts())

@dramatiq.actor(broker=broker, queue_name="mail")
def work():
    runs.append(1)

worker = dramatiq.Worker(broker, worker_timeout=100)
worker.start()
work.send_with_options(delay=300)
broker.join("mail", timeout=20_000)
worker.join()
worker.stop()
print(f"before_enqueue: {', '.join(seen)}; the actor ran {len(runs)} time{'s' * (len(runs) != 1)}")
sys.exit((seen, len(runs)) != (["mail.DQ with eta", "mail without eta"], 1))
PY
cd "$work"
env -i PATH="$PATH" HOME="$work" timeout 120 "$work/venv/bin/python" "$work/probe.py"
