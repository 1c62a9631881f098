"""The example with several workers: uvicorn's own, and gunicorn's."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from example_site import DEADLINE, GUNICORN, UVICORN, Site, environment, listening_socket, server, wait_until

pytestmark = pytest.mark.process

#: uvicorn kills a worker that does not answer within 5 s: on a busy machine any.
WORKERS = ["--workers", "2", "--timeout-worker-healthcheck", "120"]


@pytest.mark.parametrize("command", [[*UVICORN, *WORKERS], GUNICORN], ids=["uvicorn", "gunicorn"])
def test_a_task_runs_once_whichever_workers_its_clients_reach(
    command: list[str], database: Path, prices: str, tmp_path: Path
) -> None:
    """Ten clients, each on a new connection: every stream ends, the database was worked on once, and cancelling works."""
    with server(command, listening_socket(), environment(database, prices), tmp_path / "log") as url:
        sites = [Site(url, database) for _ in range(10)]
        task = sites[0].create("StockAudit", 2.0)
        ends: list[str] = []

        def watch(site: Site, model: str, number: int) -> None:
            ends.append(site.stream(model, number)[-1].event)

        def all_watch(model: str, number: int) -> list[threading.Thread]:
            readers = [threading.Thread(target=watch, args=(site, model, number)) for site in sites]
            for reader in readers:
                reader.start()
            return readers

        for reader in all_watch("StockAudit", task):
            reader.join(DEADLINE)
        assert ends == ["complete"] * 10
        assert sites[0].sql("SELECT DISTINCT counted FROM reports_product") == [(1,)]

        ends.clear()
        task = sites[0].create("WarehouseSync", 600)
        readers = all_watch("WarehouseSync", task)
        running = "SELECT id FROM reports_warehousesync WHERE state = 'running'"
        wait_until(lambda: sites[0].sql(running), "the task to start")
        statuses = []
        while any(reader.is_alive() for reader in readers) and len(statuses) < 50:
            with_new_connection = Site(url, database)
            statuses.append(with_new_connection.cancel("WarehouseSync", task).status_code)
            with_new_connection.client.close()
            readers[0].join(0.5)
        assert statuses[0] == 202
        for reader in readers:
            reader.join(DEADLINE)
        assert ends == ["cancelled"] * 10
        for site in sites:
            site.client.close()
