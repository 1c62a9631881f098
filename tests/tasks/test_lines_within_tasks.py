"""The application's own log lines within a task: they carry its names, from wherever they are logged."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from loguru import logger

from streaming_dd import timers


def test_lines_within_a_task_carry_its_names(configure: Any, tmp_path: Path) -> None:
    """loguru's, the standard library's and a thread's lines have task.id, task.app, task.model; lines outside have none."""
    path = tmp_path / "log"
    found = configure(logs_enabled=True, log_stdout=False, log_file=str(path), log_level="INFO")

    async def helper() -> None:
        logger.info("by a helper's task")

    @timers.task("reports.export", id="row")
    async def export(row: int) -> None:
        logger.info("by loguru")
        logging.getLogger("shop").warning("by the library")
        await asyncio.to_thread(logger.info, "by a thread")
        await asyncio.create_task(helper())

    async def main() -> None:
        logger.info("before")
        await asyncio.gather(export(7), export(8))
        logger.info("after")

    asyncio.run(main())
    assert found.logs is not None
    assert found.logs.flush(60)
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    said = ("by loguru", "by the library", "by a thread", "by a helper's task")
    own = [line for line in lines if line["message"] in ("before", "after", *said)]
    names = {
        (line["message"], line.get("task.id"), line.get("task.app"), line.get("task.model")) for line in own
    }
    assert names == {
        ("before", None, None, None),
        ("after", None, None, None),
        *((message, str(row), "reports", "export") for message in said for row in (7, 8)),
    }


@pytest.mark.slow
def test_what_nobody_awaits_is_told_once(configure: Any, tmp_path: Path) -> None:
    """asyncio's line on a task's exception is left out where the task's own tells it, however late; else it is kept."""
    path = tmp_path / "log"
    found = configure(logs_enabled=True, log_stdout=False, log_file=str(path), log_level="INFO")

    def fail(what: str) -> None:
        raise ValueError(what)

    @timers.task("reports.export")
    async def instrumented() -> None:
        fail("told by its own line")

    async def plain() -> None:
        fail("told by asyncio alone")

    async def main() -> None:
        tasks = [asyncio.create_task(one()) for one in (instrumented, plain)]
        await asyncio.wait(tasks)
        tasks.clear()
        gc.collect()

    asyncio.run(main())
    assert found.logs is not None
    assert found.logs.flush(60)
    errors = [line for line in map(orjson.loads, path.read_bytes().splitlines()) if line["status"] == "error"]
    assert [(line["logger.name"], line["error.message"]) for line in errors] == [
        ("streaming_dd.tasks", "told by its own line"),
        ("asyncio", "told by asyncio alone"),
    ]
