"""The staff's page of live tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client, modify_settings, override_settings
from django.urls import include, path
from django_site import Null
from django_site_urls import urlpatterns as site_urls

from streaming_dd import recorder
from streaming_dd.django import hooks, live_tasks

PAGE = "/admin/live-tasks/"
urlpatterns = [path("admin/live-tasks/", include("streaming_dd.django.urls")), *site_urls]


@pytest.fixture(scope="module")
def _tables() -> None:
    call_command("migrate", verbosity=0)


@pytest.fixture
def client(_tables: None) -> Iterator[Client]:
    """A client of the site with the app installed and the page in its URLconf."""
    installed = modify_settings(INSTALLED_APPS={"append": "streaming_dd.django"})
    with installed, override_settings(ROOT_URLCONF=__name__, STATIC_URL="/static/"):
        recorder.configure(sender=Null(), logs_enabled=False, tracing_enabled=False, worker="7")
        yield Client()
    hooks.uninstall()


def log_in(client: Client, **rights: bool) -> None:
    model: Any = get_user_model()
    user, _ = model.objects.get_or_create(username=f"user-{sorted(rights)}", defaults=rights)
    client.force_login(user)


@pytest.mark.parametrize("rights", [None, {}, {"is_staff": True, "is_active": False}])
def test_it_is_for_staff(client: Client, rights: dict[str, bool] | None) -> None:
    """A stranger and an ordinary user are sent to the admin's login; nothing is shown."""
    if rights is not None:
        log_in(client, **rights)
    answer = client.get(PAGE)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_it_shows_what_runs_here(client: Client) -> None:
    """Each live task with id, state, age, events; escaped, oldest first, not cached; the worker is named."""
    log_in(client, is_staff=True)
    board = recorder.get().tasks
    oldest = board.submit("reports", "export", "<b>17</b>")
    oldest.submitted -= 125
    board.submit("reports", "digest", 4)
    running = board.submit("shop", "Order", 5)

    async def begin() -> None:
        running.begin_detached()
        running.event("progress")

    asyncio.run(begin())
    page = client.get(PAGE)
    text = page.content.decode()
    assert page.status_code == 200
    assert "3 tasks in worker 7." in text
    assert text.index("reports.export") < text.index("reports.digest") < text.index("shop.Order")
    assert "&lt;b&gt;17&lt;/b&gt;" in text
    assert "2 min 5 s" in text
    assert text.count("queued") == 2
    assert "running" in text
    assert "0 s ago" in text
    assert "no-store" in page["Cache-Control"]
    assert '<meta http-equiv="refresh" content="5">' in text


def test_it_is_read_only(client: Client) -> None:
    """Nothing but GET and HEAD is answered."""
    log_in(client, is_staff=True)
    assert client.post(PAGE).status_code == 405
    assert client.delete(PAGE).status_code == 405
    assert client.head(PAGE).status_code == 200


def test_it_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With very many tasks, the oldest are shown and the number of all is said."""
    log_in(client, is_staff=True)
    monkeypatch.setattr(live_tasks, "LIMIT", 3)
    for number in range(10):
        recorder.get().tasks.submit("reports", "export", number)
    text = client.get(PAGE).content.decode()
    assert "10 tasks in worker 7, the 3 oldest shown." in text
    assert text.count("<td>queued</td>") == 3


def test_with_nothing_to_show(client: Client) -> None:
    """No task is said in words."""
    log_in(client, is_staff=True)
    assert "No task runs here now." in client.get(PAGE).content.decode()


def test_while_tasks_come_and_go(client: Client) -> None:
    """A reader in another thread is given whole rows while the loop changes the board under it."""
    board = recorder.get().tasks
    looks: list[int] = []
    deadline = time.monotonic() + 60

    def look() -> None:
        while len(looks) < 300 and time.monotonic() < deadline:
            total, rows = live_tasks.collect()
            assert len(rows) == min(total, live_tasks.LIMIT)
            if total:
                looks.append(total)

    async def busy(reader: Future[None]) -> None:
        while not reader.done():
            run = board.submit("reports", "export", 1)
            await asyncio.sleep(0)
            run.finish("completed")

    async def many(reader: Future[None]) -> None:
        await asyncio.gather(*(busy(reader) for _ in range(20)))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(look)
        asyncio.run(many(reader))
        reader.result(0)
    assert len(looks) == 300


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0 s"), (59.9, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_ages_are_written_as_people_say_them(seconds: float | None, text: str) -> None:
    """Seconds, minutes, hours; nothing for nothing."""
    assert live_tasks._span_of(seconds) == text
