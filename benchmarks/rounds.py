"""Interleaved rounds of variants, each in a process of its own, so that none sees another's patches.

A variant is a function that prepares something and returns `run(count)`. Its process does a round when it is told
to and answers with the CPU seconds that it took, background threads and flush included, and those of the main
thread alone. Two noisy cores: compare ratios of one round, and take the median over the rounds.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Run = Callable[[int], None]


@dataclass
class Variant:
    """One variant in its process, and what its rounds took: microseconds of CPU per operation."""

    name: str
    process: subprocess.Popen[str]
    total: list[float] = field(default_factory=list)
    main: list[float] = field(default_factory=list)

    def round(self, count: int) -> None:
        """Have the process do `count` operations."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(count, file=self.process.stdin, flush=True)
        total, main = json.loads(self.process.stdout.readline())
        self.total.append(total / count * 1e6)
        self.main.append(main / count * 1e6)


def run(module: str, names: Iterable[str], *, rounds: int, count: int) -> dict[str, Variant]:
    """Run `rounds` interleaved rounds of `count` operations of each variant of `benchmarks.<module>`."""
    variants = {name: Variant(name, _spawn(module, name)) for name in names}
    for variant in variants.values():
        variant.round(max(1, count // 4))  # warm up
        variant.total.clear()
        variant.main.clear()
    for _ in range(rounds):
        for variant in variants.values():
            variant.round(count)
    for variant in variants.values():
        variant.process.communicate()
    return variants


def _spawn(module: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rounds", module, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def median_of(figure: Callable[[int], float], rounds: int) -> float:
    """Return the median over the rounds of a figure that compares variants within one round."""
    return statistics.median(figure(index) for index in range(rounds))


def serve(module: str, name: str) -> None:
    """Be the process of a variant: `VARIANTS[name]()` returns (run, flush)."""
    operate, flush = importlib.import_module(f"benchmarks.{module}").VARIANTS[name]()
    for line in sys.stdin:
        count = int(line)
        cpu, main = time.process_time(), time.thread_time()
        operate(count)
        main = time.thread_time() - main
        flush()
        print(json.dumps([time.process_time() - cpu, main]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
