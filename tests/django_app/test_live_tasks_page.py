"""The staff's page of live tasks."""

from __future__ import annotations

import asyncio
import re
import threading
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
from streaming_dd.endpoints.live_tasks import LiveTasks
from streaming_dd.endpoints.workers import Workers

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
    assert "3 tasks in all workers." in text
    assert text.index("reports.export") < text.index("reports.digest") < text.index("shop.Order")
    assert "&lt;b&gt;17&lt;/b&gt;" in text
    assert "None" not in text  # whose clients nobody can know: blank
    assert re.search(r"\b2 min \d+ s", text)
    assert text.count("queued") == 2
    assert "running" in text
    assert re.search(r"\b\d+ s ago", text)
    assert "no-store" in page["Cache-Control"]
    assert f'<meta http-equiv="refresh" content="5;url={PAGE}">' in text
    assert text.count("<td>7</td>") == 3


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
    assert "10 tasks in all workers, the 3 oldest shown." in text
    assert text.count("<td>queued</td>") == 3


def test_with_nothing_to_show(client: Client) -> None:
    """No task is said in words."""
    log_in(client, is_staff=True)
    assert "No task runs now." in client.get(PAGE).content.decode()


def test_while_tasks_come_and_go(client: Client) -> None:
    """A reader in another thread is given whole rows while the loop changes the board under it."""
    board = recorder.get().tasks
    looks: list[int] = []
    deadline = time.monotonic() + 200

    def look() -> None:
        while len(looks) < 300 and time.monotonic() < deadline:
            found = recorder.get().part(LiveTasks).oldest(live_tasks.LIMIT)
            assert len(found["tasks"]) == min(found["total"], live_tasks.LIMIT)
            if found["total"]:
                looks.append(found["total"])

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


# --- cancelling -----------------------------------------------------------------------------------------------


class Instance:
    pk = 17


class Coordinator:
    """One that knows cancelling, and says what it was asked."""

    def __init__(self, answer: Any = True) -> None:
        self._task_instances = {"reports:Export:17": Instance()}
        self.asked: list[tuple[Any, ...]] = []
        self.answer = answer

    async def cancel_task(self, app: str, model: str, task_id: Any) -> Any:
        self.asked.append((app, model, task_id))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop of a server, in a thread of its own."""
    found = asyncio.new_event_loop()
    thread = threading.Thread(target=found.run_forever)
    thread.start()
    yield found

    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), found).result(60)
    found.call_soon_threadsafe(found.stop)
    thread.join()
    found.close()


def running(coordinator: Coordinator, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Start the coordinator's task, and return its row."""
    seen = recorder.get()
    seen.part(Workers).coordinator = coordinator
    run = seen.tasks.submit("reports", "Export", 17, coordinator._task_instances["reports:Export:17"])

    begun = threading.Event()

    async def go_on() -> None:
        run.begin_detached()
        begun.set()
        await asyncio.sleep(3600)

    asyncio.run_coroutine_threadsafe(go_on(), loop)
    assert begun.wait(60)
    row: dict[str, Any] = seen.part(LiveTasks).oldest(5)["tasks"][0]
    return row


def form(row: dict[str, Any]) -> dict[str, str]:
    return {"worker": row["worker"], "key": row["key"]}


@pytest.mark.parametrize("rights", [None, {}, {"is_staff": True}, {"is_superuser": True}])
def test_who_may_not_cancel(client: Client, rights: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Strangers, ordinary users, staff without the permission and superusers who are no staff cancel nothing."""
    coordinator = Coordinator()
    row = running(coordinator, loop)
    if rights is not None:
        log_in(client, **rights)
    assert client.post(f"{PAGE}cancel/", form(row)).status_code in (302, 403)
    assert b"<form method" not in client.get(PAGE).content.partition(b"content-main")[2]
    assert coordinator.asked == []


@pytest.mark.slow
def test_a_forged_request_cancels_nothing(client: Client, loop: asyncio.AbstractEventLoop) -> None:
    """Without the token of the page a request of another site is refused; so is one that only reads."""
    coordinator = Coordinator()
    row = running(coordinator, loop)
    strict = Client(enforce_csrf_checks=True)
    log_in(strict, is_staff=True, is_superuser=True)
    assert strict.post(f"{PAGE}cancel/", form(row)).status_code == 403
    assert strict.get(f"{PAGE}cancel/", form(row)).status_code == 405
    assert coordinator.asked == []
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', strict.get(PAGE).content.decode())
    assert token is not None
    answer = strict.post(f"{PAGE}cancel/", {**form(row), "csrfmiddlewaretoken": token[1]})
    assert answer["Location"] == f"{PAGE}?said=cancelled"


@pytest.mark.parametrize(
    ("answer", "said"),
    [(True, "cancelled"), (None, "cancelled"), (False, "refused"), (ValueError("no"), "failed")],
)
def test_cancelling_is_the_coordinators(
    client: Client, loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, answer: Any, said: str
) -> None:
    """The coordinator is asked by its own names, on its loop; the log says who asked, and what came of it."""
    coordinator = Coordinator(answer)
    row = running(coordinator, loop)
    log_in(client, is_staff=True, is_superuser=True)
    assert client.post(f"{PAGE}cancel/", form(row))["Location"] == f"{PAGE}?said={said}"
    assert coordinator.asked == [("reports", "Export", 17)]
    assert f"asked for by user-['is_staff', 'is_superuser']: {said}" in caplog.text
    assert client.get(f"{PAGE}?said={said}").content.decode().count('role="status"') == 1
    assert 'role="status"' not in client.get(f"{PAGE}?said=<b>").content.decode()


def test_what_cannot_be_cancelled(client: Client, loop: asyncio.AbstractEventLoop) -> None:
    """A task that has ended, one of another kind, and one of a worker that is not there."""
    row = running(Coordinator(), loop)
    other = recorder.get().tasks.submit("shop", "Order", 5)
    log_in(client, is_staff=True, is_superuser=True)
    rows = {found["id"]: found for found in recorder.get().part(LiveTasks).oldest(5)["tasks"]}
    assert (rows["17"]["cancellable"], rows["5"]["cancellable"]) == (True, False)
    for asked, said in (
        (form(rows["5"]), "impossible"),
        ({**form(row), "key": "reports.Export:17:0.0"}, "ended"),
        ({**form(row), "worker": "8"}, "silent"),
        ({}, "silent"),
    ):
        assert client.post(f"{PAGE}cancel/", asked)["Location"] == f"{PAGE}?said={said}"
    other.finish("completed")


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0 s"), (59.9, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_ages_are_written_as_people_say_them(seconds: float | None, text: str) -> None:
    """Seconds, minutes, hours; nothing for nothing."""
    assert live_tasks._span_of(seconds) == text
