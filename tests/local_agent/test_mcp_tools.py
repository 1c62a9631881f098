"""What a coding agent gets: the tools over HTTP and over stdio, asked by the SDK's own client; read only and bounded."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from free_ports import free_port
from local_agent_helpers import make_span
from mcp import Client, StdioServerParameters

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.mcp_server import answers

PORTS = ["--dogstatsd-port=0", "--trace-port=0", "--logs-port=0"]
COMMAND = [sys.executable, "-m", "streaming_dd.cli", "agent"]
TOOLS = {"health", "slowest", "errors", "traces", "trace", "logs", "tasks", "monitors", "capacity"}
STACK = 'Traceback (most recent call last):\n  File "/srv/shop.py", line 3, in pay\n    raise\n'


@pytest.fixture
def agent() -> Any:
    """An agent that runs, with a failed span, many log lines and a task."""
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0).running() as running:
        held, now = running.holdings, running.holdings.clock()

        def fill() -> None:
            span = replace(
                make_span(), start_ns=int((now - 2) * 1e9), error=1, service="shop",
                meta={"error.type": "shop.Broke", "error.message": "no money", "error.stack": STACK},
                metrics={"_dd.top_level": 1.0},
            )  # fmt: skip
            held.take_traces([[span]], True)
            held.records.add_logs(
                Log(
                    now - 1,
                    "error" if n % 2 else "info",
                    f"line {n} " + "x" * 3000,
                    "shop",
                    attributes={"n": n},
                )
                for n in range(300)
            )

        running._on_loop(fill)
        yield running


def asked(server: Any, question: Callable[[Client], Awaitable[Any]]) -> Any:
    """Return what a question finds out with a client of the server."""

    async def ask() -> Any:
        with anyio.fail_after(120):
            async with Client(server) as client:
                return await question(client)

    return anyio.run(ask)


def told(result: Any) -> Any:
    """Return the JSON of a tool's answer."""
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


def bridge_to(agent: LocalAgent) -> StdioServerParameters:
    """Return the command of a client's configuration, where an agent holds the page's port already."""
    arguments = ["-m", "streaming_dd.cli", "agent", "--mcp", *PORTS, f"--page-port={agent.page_port}"]
    return StdioServerParameters(command=sys.executable, args=arguments)


@pytest.mark.slow
def test_every_tool_says_that_it_only_reads(agent: LocalAgent) -> None:
    """The tools are listed with what they are for, their arguments' bounds, and as read only."""
    listed = asked(bridge_to(agent), lambda client: client.list_tools()).tools
    assert {tool.name for tool in listed} == TOOLS
    for tool in listed:
        assert tool.description
        assert tool.annotations.read_only_hint
        limit = tool.input_schema["properties"].get("limit")
        assert limit is None or limit["maximum"] <= 200


@pytest.mark.slow
def test_a_client_learns_what_fails(agent: LocalAgent) -> None:
    """From the errors to the trace: kind, place, stack, then the trace with its span."""

    async def question(client: Client) -> tuple[Any, Any]:
        errors = told(await client.call_tool("errors", {"range": "15m"}))
        trace_id = errors["errors"][0]["traces"][0]
        return errors, told(await client.call_tool("trace", {"trace_id": trace_id}))

    errors, trace = asked(bridge_to(agent), question)
    (error,) = errors["errors"]
    assert (error["kind"], error["function"], error["count"]) == ("shop.Broke", "pay", 1)
    assert error["stack"] == STACK
    assert trace["spans"][0]["attributes"]["error.message"] == "no money"
    assert trace["spans"][0]["seconds"] == 1.0


@pytest.mark.slow
def test_secrets_of_other_emitters_are_masked(agent: LocalAgent) -> None:
    """What came in from software that masks nothing is masked by key and by form before a model reads it."""
    held = agent.holdings
    said = {"password": "hunter2x", "url": "https://u:hunter2x@shop/", "token_count": 7}
    log = Log(held.clock(), "info", "login with token=hunter2x9 failed", "shop", attributes=said)
    agent._on_loop(lambda: held.records.add_logs([log]))
    found = told(asked(bridge_to(agent), lambda client: client.call_tool("logs", {"query": "login"})))
    (line,) = found["logs"]
    assert line["message"] == "login with token=*** failed"
    assert line["attributes"] == {"password": "***", "url": "https://u:***@shop/", "token_count": 7}


@pytest.mark.slow
def test_whoever_asks_for_everything_gets_a_bounded_answer(agent: LocalAgent) -> None:
    """The longest lists and texts are cut, and the answer says how much is left out."""

    async def question(client: Client) -> list[Any]:
        calls = [
            ("logs", {"limit": 200, "range": "24h"}),
            *((name, {}) for name in sorted(TOOLS - {"trace"})),
        ]
        return [await client.call_tool(name, arguments) for name, arguments in calls]

    results = asked(bridge_to(agent), question)
    for result in results:
        assert not result.is_error, result.content
        assert len(result.content[0].text) <= 2 * answers.MAX_ANSWER  # indented
    everything = told(results[0])
    assert everything["left_out"]["logs"] + len(everything["logs"]) == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("logs", {"query": "status:(error"}, "at character"),
        ("logs", {"range": "forever"}, "range"),
        ("logs", {"limit": 100_000}, "limit"),
        ("trace", {"trace_id": "../../etc/passwd"}, "hexadecimal"),
        ("trace", {"trace_id": "ab" * 16}, "no span of this trace"),
        ("monitors", {"name": "../page"}, "name"),
        ("monitors", {"name": "nosuch"}, "no monitor"),
    ],
)
def test_a_wrong_question_is_explained(
    agent: LocalAgent, tool: str, arguments: dict[str, Any], words: str
) -> None:
    """The answer is an error that says what to ask instead, and the next question is answered."""

    async def question(client: Client) -> Any:
        refused = await client.call_tool(tool, arguments)
        told(await client.call_tool("health", {}))
        return refused

    refused = asked(bridge_to(agent), question)
    assert refused.is_error
    assert words in refused.content[0].text


@pytest.mark.process
def test_the_page_port_answers_mcp_and_refuses_foreign_pages() -> None:
    """`--mcp` answers at /mcp of the page; a request with a foreign Origin or Host is refused, by whatever method."""
    port = free_port()
    command = [*COMMAND, "--mcp", *PORTS, f"--page-port={port}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "Local agent ready" in process.stderr.readline()
            listed = asked(f"http://127.0.0.1:{port}/mcp", lambda client: client.list_tools())
            assert {tool.name for tool in listed.tools} == TOOLS
            for method in ("GET", "POST", "DELETE"):
                for header in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
                    request = urllib.request.Request(
                        f"http://127.0.0.1:{port}/mcp", b"{}" if method == "POST" else None,
                        {"Content-Type": "application/json", **header}, method=method,
                    )  # fmt: skip
                    with pytest.raises(urllib.error.HTTPError) as refused:
                        urllib.request.urlopen(request, timeout=60)
                    assert refused.value.code == 400
                    refused.value.close()  # it holds the connection
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.mark.process
def test_a_client_that_starts_the_agent_gets_its_own() -> None:
    """Over stdio the agent runs as long as its client; what a command beside it prints does not disturb the protocol."""
    port = free_port()
    arguments = ["-m", "streaming_dd.cli", "agent", "--mcp", *PORTS, f"--page-port={port}", "--"]
    arguments += [sys.executable, "-u", "-c", "import time; print('noise'); time.sleep(60)"]
    server = StdioServerParameters(command=sys.executable, args=arguments)
    health = told(asked(server, lambda client: client.call_tool("health", {})))
    assert health["listening"]["page_port"] == port
    until = time.monotonic() + 60
    while _listened_to(port):
        assert time.monotonic() < until, "the agent is still there"
        time.sleep(0.05)


def _listened_to(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.process
def test_a_signal_ends_an_agent_that_a_client_still_talks_to() -> None:
    """SIGTERM ends the agent although standard input stays open."""
    command = [*COMMAND, "--mcp", *PORTS, "--page-port=0"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "Local agent ready" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
