"""Several workers, of gunicorn and of uvicorn: gauges sum to the truth, counts are exact, nothing is left at the end."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from served import DEADLINE, GUNICORN, UVICORN, Emitted, Server, Stream, totals

pytestmark = pytest.mark.process

GUNICORN_WORKERS = [*GUNICORN, "-w", "2", "-k", "gunicorn_worker.Worker", "observed_starlette_site:app"]
WAYS = {
    "gunicorn": GUNICORN_WORKERS,
    "gunicorn --preload": [*GUNICORN_WORKERS, "--preload"],
    "uvicorn --workers": [
        *UVICORN,
        "--workers",
        "2",
        "--timeout-worker-healthcheck",
        "120",
        "observed_starlette_site:app",
    ],
}


def spread(server: Server, path: str) -> list[Stream]:
    """Open streams until each of two workers has some; the kernel decides which gets a connection."""
    streams: list[Stream] = []
    workers = set()
    deadline = time.monotonic() + DEADLINE
    while len(workers) < 2 or len(streams) < 6:
        assert time.monotonic() < deadline, f"only {workers} serve"
        streams.append(server.stream(path))
        pid = streams[-1].pid
        assert pid
        workers.add(pid)
        if len(streams) > 6:
            time.sleep(0.2)  # the other one is still starting
    return streams


@pytest.mark.parametrize("way", WAYS)
def test_two_workers_sum_to_the_truth(way: str, serve: Any, emitted: Emitted) -> None:
    """Clients connected over both workers add up, also after some left; at the end every gauge of each is 0."""
    server = serve(WAYS[way], emitted.environment(STREAMING_FLUSH_INTERVAL="0.2"))
    streams = spread(server, "/clock")
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == len(streams))
    emitted.wait_for(lambda: emitted.workers("streaming.clients.active") == {"0", "1"})
    for _ in range(10):
        assert server.get("/hello") == (200, "hello")
    assert server.get("/start/tests/Endless/1")[0] == 202
    emitted.wait_for(lambda: emitted.level("streaming.tasks.active") == 1)
    for stream in streams[:3]:
        stream.leave()
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == len(streams) - 3)

    code, _ = server.end(signal.SIGTERM)
    assert code == 0
    emitted.wait_for(lambda: len(emitted.spans("sse.request")) == len(streams))
    emitted.wait_for(lambda: emitted.levels() == {0})
    assert emitted.workers("streaming.http.active") == {"0", "1"}
    check_counts(emitted, len(streams))


def check_counts(emitted: Emitted, streams: int) -> None:
    """Nothing is counted twice, whoever forked whom."""
    assert emitted.count("streaming.http.requests", route="/hello") == 10
    assert emitted.count("streaming.streams.opened") == streams
    assert emitted.count("streaming.streams.closed", outcome="client_disconnect") == 3
    assert emitted.count("streaming.streams.closed", outcome="server_shutdown") == streams - 3
    assert emitted.count("streaming.tasks.started") == emitted.count("streaming.tasks.cancelled") == 1
    expected = {"asgi.request": 11, "sse.request": streams, "task.submit": 1, "task.run": 1}
    assert totals(emitted.spans()) == expected
    assert {span.error for span in emitted.spans()} == {0}
    assert emitted.messages().count("GET /hello 200") == 10
    assert len([text for text in emitted.messages() if text.startswith("site stops")]) == 2


@pytest.mark.parametrize("with_runtime_folder", [False, True], ids=["TMPDIR", "XDG_RUNTIME_DIR"])
def test_pods_of_one_node(with_runtime_folder: bool, serve: Any, emitted: Emitted, tmp_path: Path) -> None:
    """Two processes that share an Agent and no folder, temporary or at run time, named as dd-agent/kubernetes.yaml does:
    their gauges add up, and those of the one that ends go to 0 while the other's stay."""
    servers = []
    for pod in ("reports-5d4-aaaaa", "reports-5d4-bbbbb"):
        folder = tmp_path / pod
        folder.mkdir()
        environment = emitted.environment(STREAMING_FLUSH_INTERVAL="0.2", TMPDIR=str(folder))
        if with_runtime_folder:
            folder.chmod(0o700)
            environment["XDG_RUNTIME_DIR"] = str(folder)
        environment["STREAMING_WORKER"] = f"{pod}-{{slot}}"
        servers.append(serve([*UVICORN, "observed_starlette_site:app"], environment))
    for server, clients in zip(servers, (3, 2), strict=True):
        for _ in range(clients):
            server.stream("/clock")
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 5)
    assert emitted.workers("streaming.clients.active") == {"reports-5d4-aaaaa-0", "reports-5d4-bbbbb-0"}
    servers[0].end(signal.SIGTERM)
    emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 2)
