"""The example project over real HTTP: each kind of task, both roads, bad input."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from example_site import DEADLINE, PRICES, UVICORN, Site, environment, listening_socket, server, wait_until
from free_ports import free_port
from websockets.sync.client import connect

pytestmark = pytest.mark.process

ROADS = pytest.mark.parametrize("road", ["", "/django"])


def seconds(steps: int, road: str) -> float:
    """Return how long a task takes whose every step is seen.

    A client gets the latest event first. Django's middleware takes a turn in a thread between the task's start and its
    client: within that no second step may end, on whatever machine.
    """
    return 0.3 * steps if road else 0.2


def data(event: Any) -> dict[str, Any]:
    """Return an event's data."""
    parsed: dict[str, Any] = json.loads(event.data)
    return parsed


@ROADS
@pytest.mark.parametrize(
    ("model", "steps", "check"),
    [
        ("SalesReport", 4, lambda value: set(value) == {"north", "east", "south", "west"}),
        ("CsvExport", 6, lambda value: value["rows"] == 600 and value["bytes"] > 6000),
        ("FeedDigest", 5, lambda value: value[0] == "CHAIRS SELL OUT"),
        ("PriceCheck", 8, lambda value: len(value) == 8 and min(value.values()) >= 500),
        ("StockAudit", 6, lambda value: value["products"] == 60 and 0 < value["busy"] < 60),
        ("AnnualReport", 12, lambda value: sum(value.values()) == 3000),
    ],
)
def test_a_task_that_succeeds_streams_its_steps_and_its_result(
    site: Site, model: str, steps: int, check: Any, road: str
) -> None:
    """Progress for every step, then `complete` with the final value, then the stream ends."""
    events = site.stream(model, site.create(model, seconds(steps, road)), road)
    assert [event.event for event in events] == ["progress"] * steps + ["complete"]
    assert [data(event)["step"] for event in events[:-1]] == list(range(1, steps + 1))
    assert check(data(events[-1])["final_value"])


@ROADS
def test_a_task_that_fails_ends_its_stream_with_an_error_and_never_runs_again(site: Site, road: str) -> None:
    """The `error` event names type and message; a client that connects again gets the error, not a second run."""
    task = site.create("ProductImport", seconds(6, road))
    events = site.stream("ProductImport", task, road)
    assert [event.event for event in events] == ["progress"] * 4 + ["error"]
    assert data(events[-1])["error_type"] == "BadRow"
    again = site.stream("ProductImport", task, road)
    assert [event.event for event in again] == ["error"]
    assert data(again[0])["message"] == "BadRow: line 5: 'none' is no price"
    assert site.sql("SELECT state FROM reports_productimport WHERE id = ?", task) == [("failed",)]


@ROADS
def test_a_cancelled_task_ends_its_stream(site: Site, road: str) -> None:
    """Cancelling answers 202, the stream ends with `cancelled`, and a second try answers 409."""
    task = site.create("WarehouseSync", 600)
    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.extend(event.event for event in site.stream("WarehouseSync", task, road))
    )
    reader.start()
    wait_until(
        lambda: site.sql("SELECT state FROM reports_warehousesync WHERE id = ?", task) == [("running",)],
        "start",
    )
    assert site.cancel("WarehouseSync", task).status_code == 202
    reader.join(DEADLINE)
    assert seen[-1] == "cancelled"
    assert site.cancel("WarehouseSync", task).status_code == 409
    assert [event.event for event in site.stream("WarehouseSync", task, road)] == ["cancelled"]


def test_a_task_cancelled_before_it_started_never_runs(site: Site) -> None:
    """A queued row is cancelled in the database alone; its stream says so."""
    task = site.create("SalesReport")
    assert site.cancel("SalesReport", task).status_code == 202
    assert [event.event for event in site.stream("SalesReport", task)] == ["cancelled"]
    assert site.sql("SELECT started_at FROM reports_salesreport WHERE id = ?", task) == [(None,)]


@ROADS
def test_a_task_outlives_the_client_who_left(site: Site, road: str) -> None:
    """The client leaves after two events; the task completes, and nobody is counted as watching."""
    task = site.create("AnnualReport", 3.0)
    assert len(site.stream("AnnualReport", task, road, events=2)) == 2
    state = "SELECT state FROM reports_annualreport WHERE id = ?"
    wait_until(lambda: site.sql(state, task) == [("completed",)], "the task to complete")
    with connect(site.url.replace("http", "ws") + "/ws", proxy=None, open_timeout=DEADLINE) as socket:
        wait_until(lambda: json.loads(socket.recv(DEADLINE)).get("clients") == 0, "the clients to be gone")


def test_every_client_of_a_task_sees_the_same_run(site: Site) -> None:
    """Five clients by both roads: one run, the same end for all."""
    before = site.sql("SELECT SUM(counted) FROM reports_product")[0][0]
    task = site.create("StockAudit", 1.0)
    ends: list[Any] = []
    readers = [
        threading.Thread(
            target=lambda road=road: ends.append(
                data(site.stream("StockAudit", task, road)[-1])["final_value"]
            )
        )
        for road in ("", "/django", "", "/django", "")
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(DEADLINE)
    assert len(ends) == 5
    assert all(end == ends[0] for end in ends)
    assert site.sql("SELECT SUM(counted) FROM reports_product")[0][0] == before + 60


def test_a_finished_task_answers_at_once_with_its_end(site: Site) -> None:
    """A stream opened after the end has one event."""
    task = site.create("SalesReport")
    first = site.stream("SalesReport", task)[-1]
    (again,) = site.stream("SalesReport", task)
    assert (again.event, data(again)["final_value"]) == ("complete", data(first)["final_value"])


def test_a_row_of_another_worker_is_watched_and_not_run(site: Site) -> None:
    """While the other worker's claim holds the stream waits; when that worker saves its end, the stream ends."""
    task = site.create("SalesReport")
    site.sql(
        "UPDATE reports_salesreport SET state = 'running', lease_until = datetime('now', '+1 hour') WHERE id = ?",
        task,
    )
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(e.event for e in site.stream("SalesReport", task)))
    reader.start()
    reader.join(1.5)
    assert reader.is_alive(), f"the stream ended early: {seen}"
    site.sql(
        "UPDATE reports_salesreport SET state = 'completed', completed_at = datetime('now'), lease_until = NULL, "
        "final_value = '{}' WHERE id = ?",
        task,
    )
    reader.join(DEADLINE)
    assert seen == ["complete"]


def test_a_row_of_a_dead_worker_is_taken_over(site: Site) -> None:
    """A claim that nobody renewed is free: the row is run by whoever is asked for it."""
    task = site.create("SalesReport")
    site.sql(
        "UPDATE reports_salesreport SET state = 'running', lease_until = datetime('now', '-1 hour') WHERE id = ?",
        task,
    )
    assert [event.event for event in site.stream("SalesReport", task)] == ["progress"] * 4 + ["complete"]


def test_a_task_fails_when_the_service_it_calls_is_not_there(database: Path, tmp_path: Path) -> None:
    """Without the price service PriceCheck fails with the connection's error, and /price answers 502."""
    address = f"http://127.0.0.1:{free_port()}"
    with server(UVICORN, listening_socket(), environment(database, address), tmp_path / "log") as url:
        lonely = Site(url, database)
        (event,) = lonely.stream("PriceCheck", lonely.create("PriceCheck"))
        assert (event.event, data(event)["error_type"]) == ("error", "ConnectError")
        assert lonely.client.get(f"{url}/price/item-001").status_code == 502
        lonely.client.close()


def test_the_server_starts_tasks_by_itself(database: Path, prices: str, tmp_path: Path) -> None:
    """With REPORTS_DIGEST_EVERY a digest runs without any request."""
    env = {**environment(database, prices), "REPORTS_DIGEST_EVERY": "0.2"}
    with server(UVICORN, listening_socket(), env, tmp_path / "log") as url:
        own = Site(url, database)
        wait_until(
            lambda: own.sql("SELECT id FROM reports_feeddigest WHERE state = 'completed'"),
            "a digest to complete",
        )
        own.client.close()


def test_stopping_the_server_cancels_its_tasks(database: Path, prices: str, tmp_path: Path) -> None:
    """SIGTERM: the running task is saved as cancelled, not left as running."""
    with server(UVICORN, listening_socket(), environment(database, prices), tmp_path / "log") as url:
        own = Site(url, database)
        task = own.create("WarehouseSync", 600)
        own.stream("WarehouseSync", task, events=1)
        own.client.close()
    assert own.sql("SELECT state, lease_until FROM reports_warehousesync WHERE id = ?", task) == [
        ("cancelled", None)
    ]


def test_the_price_service_is_busy_now_and_then(tmp_path: Path) -> None:
    """One answer in ten is 503; the others give the same price each time."""
    with server(PRICES, listening_socket(), environment(tmp_path / "none", ""), tmp_path / "log") as url:
        answers = [httpx.get(f"{url}/price/chair", trust_env=False, timeout=DEADLINE) for _ in range(20)]
    assert [answer.status_code for answer in answers].count(503) == 2
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1


def test_a_bug_in_an_endpoint_is_a_500_and_in_a_stream_a_broken_body(site: Site) -> None:
    """The stream's 200 is out already: its client sees the connection close before the body's end."""
    assert site.client.get(f"{site.url}/broken", headers={"connection": "close"}).status_code == 500
    with site.client.stream("GET", f"{site.url}/broken/stream") as response:
        assert response.status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            response.read()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stream/reports/SalesReport/999999", 404),
        ("/stream/reports/Sale/1", 404),
        ("/stream/reports/Nothing/1", 404),
        ("/stream/nothing/SalesReport/1", 404),
        ("/stream/reports/SalesReport/one", 404),
        ("/django/stream/reports/SalesReport/999999", 404),
        ("/django/stream/reports/Sale/1", 404),
        ("/django/nothing", 404),
        ("/tasks/reports/SalesReport", 405),
    ],
)
def test_what_is_not_there_is_not_found(site: Site, path: str, status: int) -> None:
    """Unknown rows, kinds, applications and paths; a model that is no task is none either."""
    assert site.client.get(site.url + path).status_code == status


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/plain"}, b"{}", 415),
        ({"content-type": "application/json"}, b"{", 400),
        ({"content-type": "application/json"}, b"[]", 400),
        ({"content-type": "application/json"}, b'{"seconds": "3"}', 400),
        ({"content-type": "application/json"}, b'{"seconds": -1}', 400),
        ({"content-type": "application/json"}, b'{"seconds": true}', 400),
        ({"content-type": "application/json"}, b'{"seconds": 1e99}', 400),
        ({"content-type": "application/json", "host": "evil.example"}, b"{}", 400),
        ({"content-type": "application/json"}, b"", 201),
    ],
)
def test_a_task_is_only_made_from_good_input(
    site: Site, headers: dict[str, str], body: bytes, status: int
) -> None:
    """JSON of the right shape, from this site's own pages."""
    response = site.client.post(f"{site.url}/tasks/reports/SalesReport", headers=headers, content=body)
    assert response.status_code == status, response.text


def test_the_lists_name_the_kinds_and_the_latest_tasks(site: Site) -> None:
    """Django's JSON: eight kinds, and a task that was just made."""
    task = site.create("SalesReport")
    kinds = site.client.get(f"{site.url}/django/kinds").json()["kinds"]
    assert len({kind["model"] for kind in kinds}) == 8
    tasks = site.client.get(f"{site.url}/django/tasks").json()["tasks"]
    assert {"app": "reports", "model": "SalesReport", "id": task, "state": "queued"}.items() <= tasks[
        0
    ].items()


def test_the_websocket_tells_the_state_and_echoes(site: Site) -> None:
    """The state comes by itself, a message comes back."""
    with connect(site.url.replace("http", "ws") + "/ws", proxy=None, open_timeout=DEADLINE) as socket:
        assert {"running", "tasks", "clients"} == set(json.loads(socket.recv(DEADLINE)))
        socket.send("hello")
        wait_until(lambda: json.loads(socket.recv(DEADLINE)) == {"echo": "hello"}, "the echo")


def test_the_page_needs_nothing_from_elsewhere(site: Site) -> None:
    """No address of another host in the page or its files, and a policy that forbids them."""
    page = site.client.get(site.url)
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    files = [site.client.get(f"{site.url}/static/page.{kind}") for kind in ("css", "js")]
    for file in (page, *files):
        assert file.status_code == 200
        assert not re.search(r"https?://|//[a-z]+\.", file.text)
