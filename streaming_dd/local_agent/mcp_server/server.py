"""The MCP server on the official SDK: stdio for a client that starts us, `/mcp` on the page port for others. No state.

Over HTTP the page's guard stands before it, so a foreign Origin or Host is refused; no sessions are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator

from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from starlette.routing import BaseRoute, Route

from ...errors import LocalAgentError
from .answers import Agent, Mask
from .tools import tools

PATH = "/mcp"
INSTRUCTIONS = (
    "What a Python application sends to its local Datadog agent: errors, traces, logs, tasks, monitors, capacity. "
    "Everything is read only. Begin with `health`; look at `errors` for what fails, `slowest` for what is slow."
)


def make_server(agent: Agent) -> MCPServer:
    """Return a server that offers the tools over an agent."""
    server: MCPServer = MCPServer("streaming-dd local agent", instructions=INSTRUCTIONS, log_level="ERROR")
    read_only = ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    for tool in tools(agent):
        server.add_tool(tool, annotations=read_only, structured_output=False)
    return server


@contextlib.asynccontextmanager
async def offered(address: str, routes: list[BaseRoute], mask: Mask) -> AsyncIterator[MCPServer]:
    """Add `/mcp` to the routes of the page at `address`, which answer inside of the block, texts as `mask` returns them."""
    server = make_server(Agent(address, mask))
    unguarded = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # the page's guard does it
    server.streamable_http_app(
        streamable_http_path=PATH, json_response=True, stateless_http=True, transport_security=unguarded
    )
    routes.append(Route(PATH, endpoint=StreamableHTTPASGIApp(server.session_manager)))
    async with server.session_manager.run():
        yield server


@contextlib.contextmanager
def ending_input() -> Iterator[None]:
    """Put a pipe before standard input that ends with the block: the SDK's thread reads until there is an end."""
    source, (out, into) = os.dup(0), os.pipe()
    os.dup2(out, 0)
    os.close(out)
    ended = threading.Lock()  # taken by whoever closes the pipe

    def close() -> None:
        if ended.acquire(blocking=False):
            os.close(into)

    def pump() -> None:
        with contextlib.suppress(OSError):  # the block has ended: nobody reads on
            while chunk := os.read(source, 65_536):
                os.write(into, chunk)
        close()

    threading.Thread(target=pump, name="streaming-dd-mcp-input", daemon=True).start()
    try:
        yield
    finally:
        close()


def bridged(address: str, mask: Mask) -> int:
    """Answer on stdio for the agent that runs at `address` already, until the client leaves."""
    asyncio.run(make_server(Agent(address, mask)).run_stdio_async())
    return 0


def runs_at(address: str) -> bool:
    """Say whether a local agent answers at `address`."""
    try:
        return "listening" in Agent(address).get_now("overview", timeout=2)
    except LocalAgentError:
        return False


def is_piped() -> bool:
    """Say whether standard input is a pipe or socket: an MCP client has started us and talks there."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
