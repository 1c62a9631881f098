"""The example's coordinator, step by step: at whatever moment its supervisor looks, all clients of a row have one object."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from example_site import DEADLINE, ROOT, environment

pytestmark = pytest.mark.process

PROGRAM = """
import asyncio
import django
django.setup()
from examples.reports import coordinator as module
from examples.reports.models import SalesReport

coordinator, names = module.coordinator, ("reports", "SalesReport")

async def watched(row):
    queue = asyncio.Queue()
    await row.add_client(queue)
    return queue

async def ends(queue):
    while (event := await queue.get())["type"] == "progress":
        pass
    return event["type"]

async def looked_at_between_two_requests():
    made = await SalesReport.objects.acreate(seconds=0)
    first = await coordinator.get_task_instance(*names, made.pk)
    await coordinator._look_elsewhere()  # nobody watches it yet
    second = await coordinator.get_task_instance(*names, made.pk)
    assert second is first
    queues = [await watched(first), await watched(second)]
    await coordinator.start_task(first, *names)
    assert [await ends(queue) for queue in queues] == ["complete", "complete"]

async def started_by_another_object():
    made = await SalesReport.objects.acreate(seconds=0)
    queue = await watched(await coordinator.get_task_instance(*names, made.pk))
    await coordinator.start_task(made, *names)
    assert await ends(queue) == "complete"

async def nobody_comes_back():
    made = await SalesReport.objects.acreate(seconds=0)
    await coordinator.get_task_instance(*names, made.pk)
    module.UNWATCHED = -1
    await coordinator._look_elsewhere()
    assert not coordinator._task_instances and not coordinator._locks and not coordinator._asked

async def main():
    for story in (looked_at_between_two_requests, started_by_another_object, nobody_comes_back):
        await asyncio.wait_for(story(), 100)

asyncio.run(main())
"""


def test_all_clients_of_a_row_have_the_object_that_runs(database: Path) -> None:
    """The supervisor comes by before the first client watches, or another object starts the row: nobody is left out."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment(database, ""),
        capture_output=True, text=True, timeout=DEADLINE * 2, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
