"""Run every benchmark and print goal, figure, limit, met or not. Names on the command line choose some."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

#: Module of this package with `measure() -> list[(goal, figure, limit, met)]`.
MODULES = (
    "requests",
    "loopback",
    "streams",
    "metrics",
    "logs",
    "tasks",
    "coordinator",
    "imports",
    "insight",
    "local_agent",
    "scrapes",
)


def main() -> int:
    """Run what is named, each module in a process of its own, and return 0: a missed goal is a figure, not a failure."""
    if len(sys.argv) == 3 and sys.argv[1] == "--only":
        return report(sys.argv[2])
    chosen = sys.argv[1:] or MODULES
    for name in chosen:
        if name not in MODULES:
            print(f"no benchmark {name!r}; there are {', '.join(MODULES)}", file=sys.stderr)
            return 2
    print(f"{'goal':<96} {'figure':>9} {'limit':>9}")
    for name in chosen:
        subprocess.run([sys.executable, "-m", "benchmarks", "--only", name], check=True)
    return 0


def report(name: str) -> int:
    """Run one module and print its figures."""
    started = time.perf_counter()
    for goal, figure, limit, met in importlib.import_module(f"benchmarks.{name}").measure():
        print(f"{goal:<96} {figure:>9.3f} {limit:>9.3f}  {'met' if met else 'MISSED'}")
    print(f"  ({name}: {time.perf_counter() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
