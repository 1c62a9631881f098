"""A small ASGI server that speaks 2.4: once the client has left, send() raises OSError, as that version asks for.

`python server_24.py FD MODULE:APP`
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import socket
import sys


class Connection:
    """One request, then the end of the connection."""

    def __init__(self, app, reader, writer):
        self.app = app
        self.reader = reader
        self.writer = writer
        self.gone = asyncio.Event()
        self.read = False

    async def run(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "headers": [(k.lower().encode(), v.encode()) for k, v in pairs],
            "client": self.writer.get_extra_info("peername"), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        watch = asyncio.create_task(self.watch())
        with contextlib.suppress(Exception):  # a server reports what an app raises; nobody reads it here
            await self.app(scope, self.receive, self.send)
        watch.cancel()
        self.writer.close()

    async def watch(self):
        await self.reader.read()
        self.gone.set()

    async def receive(self):
        if not self.read:
            self.read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self.gone.is_set():
            raise OSError("the client has left")
        if message["type"] == "http.response.start":
            lines = [b"HTTP/1.1 %d OK" % message["status"], b"connection: close"]
            lines += [name + b": " + value for name, value in message["headers"]]
            self.writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        else:
            self.writer.write(message.get("body", b""))
        await self.writer.drain()


async def main(fd, name):
    module, _, attribute = name.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    events, done = asyncio.Queue(), asyncio.Queue()
    lifespan = asyncio.create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}}, events.get, done.put)
    )
    events.put_nowait({"type": "lifespan.startup"})
    await done.get()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async def connected(reader, writer):
        await Connection(app, reader, writer).run()

    server = await asyncio.start_server(connected, sock=socket.socket(fileno=fd))
    await stopped.wait()
    server.close()
    events.put_nowait({"type": "lifespan.shutdown"})
    await done.get()
    await lifespan


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
