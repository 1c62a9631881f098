"""What receives in the place of an Agent: a process of its own that takes traces and datagrams, and counts them.

It prints its ports, and for each line that it reads what it has counted so far.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

_REQUESTS = b"streaming.http.requests:"
#: What a process does for more than 50 ms after its last byte has a span of its own. How often a busy machine lets an
#: application come back so late is the machine's: these spans are counted apart, so that the others can be counted exactly.
_BACKGROUND = "asgi.background"


class Counts:
    """Traces, spans, posts and their bytes; datagrams, and the requests that their lines count."""

    def __init__(self) -> None:
        self.traces = self.spans = self.background = self.posts = self.post_bytes = 0
        self.datagrams = self.requests = 0

    def datagram(self, payload: bytes) -> None:
        self.datagrams += 1
        for line in payload.split(b"\n"):
            if line.startswith(_REQUESTS):
                values = line[len(_REQUESTS) : line.index(b"|")]
                self.requests += sum(int(value) for value in values.split(b":"))

    def post(self, path: bytes, body: bytes) -> None:
        import msgspec

        if not path.endswith((b"v0.4/traces", b"v0.5/traces")):
            return
        self.posts += 1
        self.post_bytes += len(body)
        traces = msgspec.msgpack.decode(body, strict=False)
        strings = None
        if path.endswith(b"v0.5/traces"):
            strings, traces = traces
        self.traces += len(traces)
        for span in (span for trace in traces for span in trace):
            late = (strings[span[1]] if strings is not None else span["name"]) == _BACKGROUND
            self.background += late
            self.spans += not late


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._counts.datagram(data)


async def _serve(counts: Counts) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = json.dumps({"rate_by_service": {"service:,env:": 1.0}}).encode()
        try:
            while line := await reader.readline():
                headers = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    headers[name.strip().lower()] = value.strip()
                if b"chunked" in headers.get(b"transfer-encoding", b""):
                    body = b""
                    while size := int((await reader.readline()).split(b";")[0], 16):
                        body += await reader.readexactly(size)
                        await reader.readline()
                    await reader.readline()
                else:
                    body = await reader.readexactly(int(headers.get(b"content-length", 0)))
                counts.post(line.split()[1], body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (len(answer), answer)
                )
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(counts), local_addr=("127.0.0.1", 0)
    )
    print(
        json.dumps(
            {
                "http": server.sockets[0].getsockname()[1],
                "udp": transport.get_extra_info("sockname")[1],
            }
        ),
        flush=True,
    )
    while await loop.run_in_executor(None, sys.stdin.readline):
        await asyncio.sleep(0.05)  # what is on its way arrives first
        print(json.dumps(vars(counts)), flush=True)
    os._exit(0)  # whoever is still connected is not waited for


class StandIn:
    """The process, seen from the benchmark."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.standin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        ports = self._read()
        self.environment = {
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{ports['http']}",
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{ports['udp']}",
        }

    def counts(self) -> dict[str, int]:
        """Return what has arrived."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, int]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))


if __name__ == "__main__":
    asyncio.run(_serve(Counts()))
