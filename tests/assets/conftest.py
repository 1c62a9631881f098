"""Fixtures: the assets, and an account at a local stand-in for Datadog's API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest
from datadog_stand_in import API_KEY, APP_KEY, Handler, StandIn, model_complaints, with_ids

from streaming_dd.assets.account.client import Account
from streaming_dd.assets.documents import Asset
from streaming_dd.assets.options import Options
from streaming_dd.assets.rendering import render


@pytest.fixture
def api() -> Iterator[StandIn]:
    """A stand-in that listens on a free port."""
    from datadog.api.http_client import RequestClient

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.api = StandIn()  # type: ignore[attr-defined]
    server.api.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.api  # type: ignore[attr-defined]
    if RequestClient._session is not None:
        RequestClient._session.close()
        RequestClient._session = None
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the account waited between attempts."""
    return []


@pytest.fixture
def account(api: StandIn, waits: list[float]) -> Account:
    """An account at the stand-in, whose waiting takes no time."""
    return Account(api.url, API_KEY, APP_KEY, sleep=waits.append)


@pytest.fixture(scope="session")
def assets() -> list[Asset]:
    """The assets with default options."""
    return render(Options())


@pytest.fixture(scope="session")
def complaints() -> Callable[[Asset], list[str]]:
    """What Datadog's typed models refuse of an asset."""
    return lambda asset: model_complaints(asset.kind, with_ids(asset))
