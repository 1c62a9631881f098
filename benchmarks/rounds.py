"""Interleaved rounds of variants, each in a process of its own, so that none sees another's patches.

A variant is a function that prepares something and returns `run(count)` and `flush()`. Its process does a round when it
is told to and answers with the CPU seconds that it took, background threads and flush included, and those of the main
thread alone. What it sends goes to a stand-in (standin.py) that counts; a variant of which not exactly that arrives
which it should have sent is a broken measurement. Two noisy cores: compare ratios of one round, and take the median.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .standin import StandIn

Run = Callable[[int], None]
#: Path of another checkout of this package: variants whose names end so are run with it.
BEFORE = "@before"
_BEFORE_PATH = "BENCHMARK_BEFORE"


@dataclass
class Variant:
    """One variant in its process, and what its rounds took: microseconds of CPU per operation."""

    name: str
    process: subprocess.Popen[str]
    stand_in: StandIn
    log: str
    total: list[float] = field(default_factory=list)
    main: list[float] = field(default_factory=list)
    operations: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def round(self, count: int) -> None:
        """Have the process do `count` operations."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(count, file=self.process.stdin, flush=True)
        total, main = json.loads(self.process.stdout.readline())
        self.operations += count
        self.total.append(total / count * 1e6)
        self.main.append(main / count * 1e6)

    def end(self) -> None:
        """End the process, and take what has arrived."""
        self.process.communicate()
        self.counts = self.stand_in.counts()
        self.stand_in.close()
        with open(self.log, "rb") as lines:
            self.counts["lines"] = sum(
                1 for line in lines if b'"streaming_dd.access"' in line or b'"streaming_dd.tasks"' in line
            )
        os.remove(self.log)

    def check(self, expected: Mapping[str, int]) -> None:
        """Raise if not exactly what is expected of each operation has arrived."""
        for name, each in expected.items():
            if self.counts[name] != each * self.operations:
                raise SystemExit(
                    f"broken measurement: {self.name} did {self.operations} operations, {self.counts[name]} {name} arrived"
                )


def before_is_given() -> bool:
    """Return whether another build is to be compared with."""
    return bool(os.environ.get(_BEFORE_PATH))


def run(
    module: str,
    names: Iterable[str],
    *,
    rounds: int,
    count: int,
    expected: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Variant]:
    """Run `rounds` interleaved rounds of `count` operations of each variant of `benchmarks.<module>`."""
    variants = {name: _spawn(module, name) for name in names}
    for variant in variants.values():
        variant.round(max(1, count // 4))  # warm up
        variant.round(max(1, count // 4))
        variant.total.clear()
        variant.main.clear()
    for _ in range(rounds):
        for variant in variants.values():
            variant.round(count)
    for name, variant in variants.items():
        variant.end()
        variant.check((expected or {}).get(name.removesuffix(BEFORE), {}))
    return variants


def _spawn(module: str, name: str) -> Variant:
    stand_in = StandIn()
    handle, log = tempfile.mkstemp(suffix=".log")
    os.close(handle)
    environment = {**os.environ, **stand_in.environment, "BENCHMARK_LOG": log}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rounds", module, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return Variant(name, process, stand_in, log)


def median_of(figure: Callable[[int], float], rounds: int) -> float:
    """Return the median over the rounds of a figure that compares variants within one round."""
    return statistics.median(figure(index) for index in range(rounds))


def spread_of(figure: Callable[[int], float], rounds: int) -> tuple[float, float]:
    """Return the quartiles over the rounds of a figure."""
    found = statistics.quantiles([figure(index) for index in range(rounds)], n=4)
    return found[0], found[2]


def serve(module: str, name: str) -> None:
    """Be the process of a variant: `VARIANTS[name]()` returns (run, flush)."""
    if name.endswith(BEFORE):
        sys.path.insert(0, os.environ[_BEFORE_PATH])
    operate, flush = importlib.import_module(f"benchmarks.{module}").VARIANTS[name.removesuffix(BEFORE)]()
    for line in sys.stdin:
        count = int(line)
        cpu, main = time.process_time(), time.thread_time()
        operate(count)
        main = time.thread_time() - main
        flush()
        print(json.dumps([time.process_time() - cpu, main]), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
