"""HTTP/2 by hypercorn: requests on one connection, hints and trailers, a stream that is left, an upload that is cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from served import APPS, DEADLINE, Emitted, Server

pytest.importorskip("h2")
pytestmark = pytest.mark.process


class Cut(Exception):
    """The client gives up in the middle of its upload."""


def upload(emitted: Emitted) -> Iterator[bytes]:
    yield b"x" * 1000
    # hypercorn does not call the application for a request whose connection is closed in the same moment.
    emitted.wait_for(lambda: emitted.count("site.uploads") == 2)
    raise Cut


def test_requests_over_http2(serve: Any, emitted: Emitted) -> None:
    """Each has its own end: completed, left, and cut in the middle of an upload."""
    path = os.pathsep.join([str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = emitted.environment(STREAMING_FLUSH_INTERVAL="0.1", PYTHONPATH=path)
    server: Server = serve(
        ["hypercorn", "--bind", "fd://{fd}", "--keep-alive", "120", "http2_site:app"], environment
    )
    options: Any = {
        "base_url": f"http://127.0.0.1:{server.port}",
        "http1": False,
        "http2": True,
        "timeout": DEADLINE,
    }
    with httpx.Client(**options) as client:
        for page in ("/page", "/rich"):
            assert (client.get(page).http_version, client.get(page).text) == ("HTTP/2", "0")
        assert client.post("/upload", content=b"x" * 200_000).text == "200000"
        assert client.get("/events").text.count("data:") == 5
        with httpx.Client(**options) as leaving, leaving.stream("GET", "/events/endless") as left:
            next(left.iter_raw())
            emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 1)
        emitted.wait_for(lambda: emitted.level("streaming.clients.active") == 0)
        assert client.get("/page").status_code == 200, "the other connection lives on"
    with pytest.raises(Cut), httpx.Client(**options) as client:
        client.post("/upload", content=upload(emitted))
    emitted.wait_for(lambda: emitted.logs(http__url="/upload", outcome="client_disconnect"))
    server.end(15)
    emitted.wait_for(lambda: emitted.count("streaming.streams.closed") == 2)
    assert emitted.count("streaming.streams.closed", route="/events", outcome="completed") == 1
    assert (
        emitted.count("streaming.streams.closed", route="/events/endless", outcome="client_disconnect") == 1
    )
    ends = sorted(
        (line["http.url"], line["http.status_code"], line["outcome"])
        for line in emitted.logs()
        if "outcome" in line
    )
    assert ends == [
        ("/events", 200, "completed"),
        ("/events/endless", 200, "client_disconnect"),
        *[("/page", 200, "completed")] * 3,
        *[("/rich", 200, "completed")] * 2,
        ("/upload", 200, "completed"),
        ("/upload", 499, "client_disconnect"),
    ]
    assert not [span for span in emitted.spans() if span.error]
