#!/usr/bin/env bash
# CPython 3.11 (3.12 and 3.13 alike, Linux), run 2026-11-30.
# Behaviour: while one thread is in os.fork() and a `before` hook of it waits, another thread registers three hooks (by importing a library,
#   say). That fork calls the new after_in_parent and after_in_child, but not the new before.
# Expected: hooks that are registered together are called together, or not at all. The usual three take a lock before, and let it go after, which
#   raises here "release unlocked lock": printed in parent and child, by whichever fork comes at the wrong moment.
# Output seen:
#   the first fork: child: release unlocked lock, parent: release unlocked lock
#   the second fork: nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/probe.py" <<'PY'
import os, sys, threading

here = os.getpid()
entered, registered = threading.Event(), threading.Event()
lock = threading.Lock()

def waits():
    entered.set()
    registered.wait(30)

def imported():
    entered.wait(30)
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    registered.set()

def tell(raised):
    os.write(told, f"{'parent' if os.getpid() == here else 'child'}: {raised.exc_value}\n".encode())

def fork(name):
    global told
    reader, told = os.pipe()
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(told)
    with open(reader) as lines:
        print(f"the {name} fork:", ", ".join(sorted(lines.read().splitlines())) or "nothing", flush=True)

sys.unraisablehook = tell
os.register_at_fork(before=waits)
other = threading.Thread(target=imported)
other.start()
fork("first")
other.join()
fork("second")
PY
python3 -W ignore "$work/probe.py" | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
the first fork: child: release unlocked lock, parent: release unlocked lock
the second fork: nothing
SEEN
