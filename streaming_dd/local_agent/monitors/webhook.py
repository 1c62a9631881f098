"""`--notify-webhook URL`: what a monitor says, posted to an address, in the shape of Datadog's own webhooks.

State: a `Webhook` per agent, with a thread that posts one notification after the other, so that a receiver that hangs
holds up nothing. By default the address must be one of this machine: a message may quote what a log line said.
Redirects are not followed, proxies not used.
"""

from __future__ import annotations

import ipaddress
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ...errors import LocalAgentError

if TYPE_CHECKING:
    from .state import Notification

QUEUE = 100
TIMEOUT = 5.0
PATIENCE = 2.0
"""Seconds that the agent's stop waits for what is still to be posted."""
TRANSITIONS = {"Alert": "Triggered", "OK": "Recovered", "Warn": "Warn", "No Data": "No Data"}


@dataclass
class Counts:
    """What became of the notifications; `dropped` are those that waited when too many did."""

    delivered: int = 0
    failed: int = 0
    dropped: int = 0


class Webhook:
    """Posts to one address. Raises `LocalAgentError` for an address that is none, or not on this machine."""

    def __init__(
        self, url: str, *, anywhere: bool = False, on_problem: Callable[[str], None] = lambda problem: None
    ) -> None:
        self.where = checked(url, anywhere)
        self._url = url
        self._on_problem = on_problem
        self._waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
        self.counts = Counts()

    def notify(self, notification: Notification, link: str) -> None:
        """Post a notification with a link to its monitor."""
        self.send(payload_of(notification, link))

    def send(self, payload: Mapping[str, Any]) -> None:
        """Post soon, without waiting; never raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="streaming-dd-webhook", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(payload)
        except queue.Full:
            self.counts.dropped += 1
            self._on_problem(f"notifications to {self.where} are dropped: it does not take them fast enough")

    def close(self) -> None:
        """Post what waits, for at most two seconds."""
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (payload := self._waiting.get()) is not None:
            try:
                self._post(payload)
            except Exception as error:  # noqa: BLE001 - whatever a receiver does, the next notification goes out
                self.counts.failed += 1
                self._on_problem(f"notifications cannot be delivered to {self.where}: {_reason(error)}")
            else:
                self.counts.delivered += 1

    def _post(self, payload: Mapping[str, Any]) -> None:
        request = urllib.request.Request(
            self._url, msgspec.json.encode(payload), {"Content-Type": "application/json"}, method="POST"
        )
        with self._opener.open(request, timeout=TIMEOUT):
            pass


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An address of this machine must not lead to another one."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def checked(url: str, anywhere: bool) -> str:
    """Return where a URL leads, without its path and query, which may be a secret."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise LocalAgentError("--notify-webhook: write a URL such as http://127.0.0.1:9000/alerts")
    if not anywhere and not _loopback(host):
        raise LocalAgentError(
            f"--notify-webhook: {host} is not this machine. Notifications may quote what was logged; if they may "
            "leave, add --notify-anywhere."
        )
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}" + (f":{port}" if port else "")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it answers {error.code}"
    return str(getattr(error, "reason", None) or error)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def payload_of(notification: Notification, link: str) -> dict[str, Any]:
    """Return a notification with the fields of Datadog's default payload, and the monitor's own.

    Source: docs.datadoghq.com/integrations/webhooks. Times are epoch milliseconds.
    """
    moment = int(notification.time * 1000)
    return {
        "id": f"{notification.monitor}-{moment}-{notification.state}",
        "title": notification.title,
        "body": notification.text,
        "measured": notification.measured,
        "date": moment,
        "last_updated": moment,
        "event_type": "monitor_alert",
        "org": {"id": "local", "name": "streaming-dd local agent"},
        "alert_transition": TRANSITIONS.get(notification.state, notification.state),
        "alert_scope": notification.groups,
        "monitor": notification.monitor,
        "handles": notification.handles,
        "link": link,
    }
