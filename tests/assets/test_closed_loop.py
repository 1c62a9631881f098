"""The closed loop: run the example with its visitors; compare what was sent with what dashboards and monitors ask for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest
from free_ports import free_port

from examples.demo.clients import Town
from examples.demo.expected import NOT_PRODUCED
from examples.demo.ports import Ports
from examples.demo.servers import Servers
from streaming_dd.assets.coverage import compare
from streaming_dd.assets.rendering import render
from streaming_dd.local_agent import LocalAgent

DEADLINE = 180.0


def free_ports() -> Ports:
    """Return ports that are free, each another."""
    numbers: set[int] = set()
    while len(numbers) < len(fields(Ports)):
        numbers.add(free_port())
    return Ports(*numbers)


async def visited(ports: Ports, folder: Path) -> LocalAgent:
    """Run the example until every kind of visitor came once; return the agent with what it received."""
    servers = Servers(ports, folder)
    agent = LocalAgent(
        dogstatsd_port=ports.dogstatsd,
        trace_port=ports.traces,
        logs_port=ports.logs,
        page_port=None,
        dogstatsd_socket=servers.dogstatsd_socket,
        trace_socket=servers.trace_socket,
    )
    with agent.running():
        async with servers:
            town = Town(servers.urls)
            living = asyncio.create_task(town.live())
            try:
                toured = asyncio.create_task(town.toured.wait())
                await asyncio.wait({toured, living}, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
                if not toured.done() and not living.done():
                    staying = [visit for visit in town.tour if not visit.done()]
                    for visit in staying:
                        visit.print_stack()
                    names = [visit.get_name() for visit in staying]
                    pytest.fail(f"visits that did not end: {names}; surprises: {town.surprises}")
            finally:
                living.cancel()
                with suppress(asyncio.CancelledError):
                    await living
            await servers.stop()
    return agent


@pytest.mark.process
@pytest.mark.timeout(380)
def test_dashboards_and_monitors_ask_for_what_the_example_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: pytest.RecordProperty
) -> None:
    """Every metric, tag, span operation and service check that an asset asks for was sent; nothing sent is unused.

    What the example does not provoke (a stall, a dropped sample) is in its own list of what it does not produce.
    """
    monkeypatch.setenv("DD_ENV", "closed-loop")
    monkeypatch.setenv("DD_VERSION", "1.2.3")
    agent = asyncio.run(visited(free_ports(), tmp_path))
    emitted: dict[str, set[str]] = {}
    for sample in agent.received.metrics:
        keys = {tag.partition(":")[0] for tag in sample.tags}
        emitted.setdefault(sample.name, set()).update(keys)
    ours = {name: tags for name, tags in emitted.items() if not name.startswith(("datadog.", "runtime."))}
    operations = {span.name for span in agent.received.spans}
    checks = {check.name for check in agent.received.service_checks}
    coverage = compare(render(), ours, operations, checks)
    record_property("closed loop", coverage.table())
    assert [str(gap) for gap in coverage.missing] == []
    assert coverage.unused == []
    assert {gap.name.removeprefix("streaming.") for gap in coverage.occasional} <= NOT_PRODUCED.keys()
