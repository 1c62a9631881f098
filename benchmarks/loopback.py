"""The same requests over loopback: uvicorn on uvloop, driven by wrk, the server's CPU counted until all is flushed."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .rounds import BEFORE, before_is_given, median_of, spread_of
from .standin import StandIn

ROUNDS = 5
SECONDS = 3
_VARIANTS = ("bare", "ddtrace", "all_pillars")
#: Longer than ddtrace's writer and our thread wait before they send.
_FLUSHED = 1.6


@dataclass
class Server:
    """One variant behind uvicorn, in a process of its own."""

    name: str
    stand_in: StandIn
    process: subprocess.Popen[str]
    port: int
    costs: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, module: str, name: str) -> Server:
        """Start the server and read its port."""
        stand_in = StandIn()
        environment = {
            **os.environ,
            **stand_in.environment,
            "BENCHMARK_LOG": tempfile.mkstemp(suffix=".log")[1],
        }
        command = [sys.executable, "-m", "benchmarks.loopback", module, name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        return cls(name, stand_in, process, int(process.stdout.readline()))

    def measure(self, ask: Callable[[int], None], operations: int) -> None:
        """Have it asked on its port, and note the microseconds of its CPU for each operation."""
        before = self._cpu()
        ask(self.port)
        time.sleep(_FLUSHED)
        self.costs.append((self._cpu() - before) / operations * 1e6)

    def round(self) -> None:
        """Have wrk ask for a while, and note the microseconds of its CPU for each request."""
        before = self._cpu()
        command = ["wrk", "-t1", "-c16", f"-d{SECONDS}s", f"http://127.0.0.1:{self.port}/items/7"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        time.sleep(_FLUSHED)
        served = re.search(r"(\d+) requests in", said)
        assert served is not None
        self.costs.append((self._cpu() - before) / int(served[1]) * 1e6)

    def _cpu(self) -> float:
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> dict[str, int]:
        """End it, and return what it has sent, which must be complete."""
        self.process.terminate()
        self.process.wait(20)
        counts = self.stand_in.counts()
        self.stand_in.close()
        if "all_pillars" in self.name and counts["spans"] != counts["requests"]:
            raise SystemExit(f"broken measurement: {self.name}: {counts}")
        return counts


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met); nothing without wrk."""
    if shutil.which("wrk") is None:
        print("  (loopback: wrk is not installed; skipped)")
        return []
    names = [*_VARIANTS, *(["all_pillars" + BEFORE] if before_is_given() else [])]
    servers = {name: Server.start("requests", name) for name in names}
    for server in servers.values():
        server.round()
        server.costs.clear()
    for _ in range(ROUNDS):
        for server in servers.values():
            server.round()
    for server in servers.values():
        server.end()
    goals = []
    for name in names[:1:-1]:

        def ratio(index: int, name: str = name) -> float:
            bare = servers["bare"].costs[index]
            return (servers[name].costs[index] - bare) / (servers["ddtrace"].costs[index] - bare)

        low, high = spread_of(ratio, ROUNDS)
        figure = median_of(ratio, ROUNDS)
        text = "the same over loopback (uvicorn, wrk), server's CPU: added, of ddtrace's"
        said = f"{text}{' (before)' if name.endswith(BEFORE) else ''} [{low:.3f} to {high:.3f}]"
        goals.append((said, figure, 0.30, figure <= 0.30))
    return goals


def serve(module: str, name: str) -> None:
    """Be the server of a variant: `APPS[name]()` of the module returns the application and its flush."""
    import socket

    if name.endswith(BEFORE):
        sys.path.insert(0, os.environ["BENCHMARK_BEFORE"])
    import uvicorn

    app, _ = importlib.import_module(f"benchmarks.{module}").APPS[name.removesuffix(BEFORE)]()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, loop="uvloop", log_level="error", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
