"""Between two tries: everything is forgotten, taken away as one file, and brought back; a bad file changes nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_agent_helpers import START, Clock, make_span

from streaming_dd.local_agent import LocalAgent, export
from streaming_dd.local_agent.intake.spans import SpanLink

SQLITE = {"Content-Type": export.MEDIA_TYPE}
JSON = {"Content-Type": "application/json"}
VIEWS = (
    "traces?all=1&range=1h",
    "logs?range=1h",
    "tasks",
    "services?range=1h",
    "errors?range=1h",
    "events",
    "checks",
)


@pytest.fixture
def agent(run_agent: Any, clock: Clock) -> LocalAgent:
    """An agent that holds something of everything."""
    agent: LocalAgent = run_agent(page_port=0, clock=clock)
    fill(agent, clock)
    return agent


def fill(agent: LocalAgent, clock: Clock) -> None:
    def received() -> None:
        held = agent.holdings
        held.feed(b"c:3|c|#a:1\ng:2.5|g\nd:1:2:3|d\n_e{5,4}:title|text\n_sc|db|2|m:down")
        failed = make_span(
            span_id="2", parent_id="1", error=1, meta={"error.type": "Boom"}, metrics={"n": 0.5}
        )
        failed.links, failed.events = (
            [SpanLink("f" * 32, "9", {"k": "v"})],
            [{"name": "e", "time_unix_nano": 1}],
        )
        held.take_traces([[make_span(), failed]], False)
        line = b'{"message": "task r.S started", "logger.name": "streaming_dd.tasks", "task.app": "r", "task.model": "S"}'
        held.take_lines([line, b"plain"], agent._tcp_source)
        clock.now += 10
        held.tick()

    agent._on_loop(received)


@pytest.fixture
def client(agent: LocalAgent) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.page_port}/api", timeout=120) as client:
        yield client


def seen(client: httpx.Client) -> dict[str, Any]:
    """Return what the views show, without row numbers."""
    views = {
        path: client.get(path).json()
        for path in (*VIEWS, "series?metric=c&range=1h", "series?metric=d&range=1h")
    }
    for row in (*views[VIEWS[0]]["spans"], *views[VIEWS[1]]["logs"]):
        del row["id"]
    return views


def test_everything_comes_back_from_a_file(client: httpx.Client) -> None:
    """What all views show is the same after an export, clearing and an import; clearing leaves nothing."""
    before = seen(client)
    assert before[VIEWS[0]]["spans"]
    assert before["series?metric=d&range=1h"]["series"]
    file = client.get("/export")
    assert file.headers["content-type"] == export.MEDIA_TYPE
    assert "streaming-dd-2023" in file.headers["content-disposition"]
    assert client.post("/clear", headers=JSON).json() == {"cleared": True}
    empty = seen(client)
    assert not any(rows for view in empty.values() for key, rows in view.items() if isinstance(rows, list))
    assert client.get("/metrics").json()["series"] == 0
    answer = client.post("/import", headers=SQLITE, content=file.content)
    assert answer.status_code == 200, answer.text
    assert seen(client) == before


def test_everything_comes_back_in_parts(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series are written, spans and lines taken, some at a time; the file and what it brings back are the same."""
    monkeypatch.setattr(export, "SERIES", 2)
    monkeypatch.setattr(export, "BATCH", 1)
    before = seen(client)
    file = client.get("/export").content
    client.post("/clear", headers=JSON)
    assert client.post("/import", headers=SQLITE, content=file).status_code == 200
    assert seen(client) == before


def test_agent_goes_on_after_clearing(client: httpx.Client, agent: LocalAgent, clock: Clock) -> None:
    """Series that are sent again are new ones, not written to what was forgotten."""
    client.post("/clear", headers=JSON)
    fill(agent, clock)
    (series,) = client.get("/series?metric=c&range=1h").json()["series"]
    assert series["values"] == [3.0]
    assert len(client.get("/logs?range=1h").json()["logs"]) == 2
    (metric,) = [row for row in client.get("/summary").json()["metrics"] if row["name"] == "c"]
    assert metric["total"] == 3


def bad_files(good: bytes, tmp_path: Path) -> dict[str, bytes]:
    """Return files that are no export, each in its own way."""

    def changed(sql: str) -> bytes:
        path = tmp_path / "changed"
        path.write_bytes(good)
        with sqlite3.connect(path) as db:
            db.executescript(sql)
        db.close()
        return path.read_bytes()

    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE spans (id INTEGER)")
    db.close()
    return {
        "not a database": b"x" * 5_000,
        "empty": b"",
        "half": good[: len(good) // 2 // 4096 * 4096],
        "another": (tmp_path / "other").read_bytes(),
        "trigger": changed("CREATE TRIGGER t AFTER INSERT ON logs BEGIN DELETE FROM logs; END"),
        "view": changed("CREATE VIEW v AS SELECT 1"),
        "more tables": changed("CREATE TABLE more (a)"),
        "a span's id": changed("UPDATE spans SET trace_id = '<b>'"),
        "a span's tags": changed("UPDATE spans SET attributes = '[1'"),
        "deep": changed(f"UPDATE logs SET attributes = '{'[' * 100_000}'"),
        "a log's time": changed("UPDATE logs SET timestamp = 9e99"),
        "points": changed("UPDATE points SET data = x'00'"),
        "short hour": changed("UPDATE points SET data = x'0000000000000000'"),
        "kind": changed("UPDATE series SET kind = 'odd'"),
        "sketch": changed("UPDATE sketches SET keys = x'00000000'"),
        "states": changed("UPDATE states SET document = '{'"),
    }


def test_a_bad_file_changes_nothing(client: httpx.Client, tmp_path: Path) -> None:
    """Whatever is wrong with it is one sentence and 400, and what was held is held."""
    before = seen(client)
    for name, content in bad_files(client.get("/export").content, tmp_path).items():
        answer = client.post("/import", headers=SQLITE, content=content)
        assert answer.status_code == 400, (name, answer.text)
        assert "no file that the local agent exported" in answer.json()["error"], name
        assert seen(client) == before, name


def test_other_pages_and_other_types_are_refused(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page from elsewhere can neither clear nor import; a file beyond the bound is 413."""
    for path, kind in (("/clear", JSON), ("/import", SQLITE)):
        assert client.post(path, headers={**kind, "Origin": "http://evil.example"}).status_code == 400
        assert client.post(path, headers={"Content-Type": "text/plain"}).status_code == 400
    assert client.get("/clear").status_code == 405
    monkeypatch.setattr(export, "MAX_FILE", 100)
    assert client.post("/import", headers=SQLITE, content=b"x" * 200).status_code == 413


def test_a_kept_file_follows(run_agent: Any, clock: Clock, tmp_path: Path) -> None:
    """With `--persist` clearing and importing are so after a restart, too; what it keeps can be imported."""
    first = run_agent(page_port=0, clock=clock, persist=str(tmp_path / "a.sqlite"))
    fill(first, clock)
    first._on_loop(first.holdings.finish)
    kept = tmp_path / "copy.sqlite"
    with httpx.Client(base_url=f"http://127.0.0.1:{first.page_port}/api", timeout=120) as client:
        kept.write_bytes(client.get("/export").content)
        client.post("/clear", headers=JSON)
        first._on_loop(first.holdings.finish)
        with sqlite3.connect(tmp_path / "a.sqlite") as db:
            counts = [
                db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]
                for t in ("spans", "logs", "points", "links")
            ]
        db.close()
    assert counts == [0, 0, 0, 0]
    second = run_agent(clock=clock, persist=str(kept))
    assert second.holdings.records.counts()["spans"]["rows"] == 2
    (series,) = second.holdings.store.select("c", None, START - 60, START + 60)
    assert series.values[0] == 3.0


def test_nothing_is_left_in_the_temporary_folder(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exports and imports, also failed ones, take their files with them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client.post("/import", headers=SQLITE, content=client.get("/export").content)
    client.post("/import", headers=SQLITE, content=b"rubbish")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_a_command_exports_and_another_agent_begins_with_it(
    client: httpx.Client, agent: LocalAgent, tmp_path: Path
) -> None:
    """`agent --export FILE` asks the agent that runs, `--import FILE` shows it; what is no export ends with a sentence."""
    command = [sys.executable, "-m", "streaming_dd.cli", "agent", "--page-port"]
    file = tmp_path / "try.sqlite"
    done = subprocess.run(
        [*command, str(agent.page_port), "--export", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert f"Wrote {file}" in done.stderr
    ports = ["--dogstatsd-port", "0", "--trace-port", "0", "--logs-port", "0"]
    kept = tmp_path / "kept.sqlite"
    begun = subprocess.run(
        [*command, "0", *ports, "--import", str(file), "--persist", str(kept), "--", sys.executable, "-c", ""],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert begun.returncode == 0, begun.stderr
    with sqlite3.connect(kept) as db:
        assert db.execute("SELECT COUNT(*) FROM spans").fetchone() == (2,)
    db.close()
    file.write_bytes(b"rubbish")
    bad = subprocess.run(
        [*command, "0", *ports, "--import", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    assert bad.returncode == 2
    assert "no file that the local agent exported" in bad.stderr


def test_the_loop_gets_its_turn_meanwhile(run_agent: Any, clock: Clock, tmp_path: Path) -> None:
    """An export of many rows is written in a thread: others are answered before it is done."""
    agent = run_agent(page_port=0, clock=clock, max_spans=30_000)
    agent._on_loop(
        lambda: agent.holdings.records.add_spans(make_span(span_id=str(n + 1)) for n in range(20_000))
    )

    async def meanwhile() -> int:
        turns = 0
        writing = asyncio.ensure_future(export.write(agent.holdings, tmp_path / "f"))
        while not writing.done():
            await asyncio.sleep(0)
            turns += 1
        await writing
        return turns

    assert asyncio.run_coroutine_threadsafe(meanwhile(), agent._loop).result(120) > 3
    assert os.path.getsize(tmp_path / "f") > 1_000_000
