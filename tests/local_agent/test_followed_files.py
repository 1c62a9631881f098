"""Followed log files: appended lines, rotation, truncation, wildcards, and files that come and go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streaming_dd.local_agent.intake.tail import LogSource, Tail


@pytest.fixture
def tail(tmp_path: Path):
    tail = Tail(LogSource("file", path=str(tmp_path / "*.log")))
    yield tail
    tail.close()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_lines_there_at_the_start_are_skipped(tail: Tail, tmp_path: Path) -> None:
    """As the Agent, the tail starts at the end of what exists, and at the start of what comes later."""
    append(tmp_path / "a.log", "old\n")
    assert tail.poll() == []
    append(tmp_path / "a.log", "new\nhalf")
    append(tmp_path / "b.log", "first\n")
    assert tail.poll() == [b"new", b"first"]
    append(tmp_path / "a.log", " a line\n")
    assert tail.poll() == [b"half a line"]
    assert tail.poll() == []


def test_rotation_loses_nothing(tail: Tail, tmp_path: Path) -> None:
    """A file moved away is read to its end, then the new one from its start."""
    log = tmp_path / "a.log"
    append(log, "old\n")
    tail.poll()
    append(log, "before rotation\nno line break")
    os.rename(log, tmp_path / "a.log.1")
    append(log, "after rotation\n")
    assert tail.poll() == [b"before rotation", b"no line break", b"after rotation"]


def test_a_file_cut_to_nothing_is_read_again(tail: Tail, tmp_path: Path) -> None:
    """`copytruncate` leaves the same file with nothing in it."""
    log = tmp_path / "a.log"
    append(log, "a long first line\n")
    tail.poll()
    log.write_text("short\n")
    assert tail.poll() == [b"short"]


def test_a_file_that_goes_and_comes_back(tail: Tail, tmp_path: Path) -> None:
    """A deleted file is no error, and is followed again when it is there again."""
    log = tmp_path / "a.log"
    append(log, "x\n")
    tail.poll()
    log.unlink()
    assert tail.poll() == []
    append(log, "again\n")
    assert tail.poll() == [b"again"]


def test_a_large_file_is_read_in_steps(tail: Tail, tmp_path: Path, monkeypatch) -> None:
    """One poll reads a bounded part; the rest comes with the next ones."""
    monkeypatch.setattr("streaming_dd.local_agent.intake.tail.CHUNK", 100)
    monkeypatch.setattr("streaming_dd.local_agent.intake.tail.MAX_PER_POLL", 200)
    tail.poll()
    append(tmp_path / "a.log", "".join(f"{i:09d}\n" for i in range(50)))
    first = tail.poll()
    assert len(first) == 20
    found = first + tail.poll() + tail.poll()
    assert found == [b"%09d" % i for i in range(50)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_shown(tail: Tail, tmp_path: Path) -> None:
    """What the user must fix is in `problem`; other files are read all the same."""
    tail.poll()
    append(tmp_path / "a.log", "secret\n")
    (tmp_path / "a.log").chmod(0)
    append(tmp_path / "b.log", "open\n")
    assert tail.poll() == [b"open"]
    assert "a.log" in tail.problem


def test_a_directory_in_place_of_a_file_is_shown(tail: Tail, tmp_path: Path) -> None:
    """A path that cannot be read is reported, not fatal."""
    (tmp_path / "a.log").mkdir()
    assert tail.poll() == []
    assert "a.log" in tail.problem


def test_agent_follows_the_files_of_its_sources(run_agent, tmp_path: Path) -> None:
    """Lines of a followed file arrive with the service, source and tags of its source."""
    log = tmp_path / "app.log"
    log.write_text("old\n")
    source = LogSource("file", path=str(log), service="web", source="python", tags=("team:data",))
    agent = run_agent(log_sources=(source,))
    agent._on_loop(lambda: None)  # the first look at the file is over
    append(log, '{"message": "one"}\nplain\n')
    agent.wait_for(lambda received: len(received.logs) == 2)
    from streaming_dd.local_agent.queries import explorer

    rows = agent._on_loop(lambda: explorer.logs(agent.holdings.records, start=0, end=1e10))
    assert [row["message"] for row in rows] == ["plain", "one"]
    assert {(row["service"], row["source"], *row["tags"]) for row in rows} == {("web", "python", "team:data")}
