"""A Datadog account: requests with keys, retries and clear errors. The door to `datadog.api`.

State: `datadog.api` keeps keys and host in its own module; an `Account` sets them before each request. Keys are
read from the environment only and appear in no message.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import AccountError, ConfigError

SITES = (
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "ddog-gov.com",
)
ATTEMPTS = 5
LONGEST_WAIT = 60.0
TIMEOUT = 30
Json = Any
Method = Literal["GET", "POST", "PUT", "PATCH"]


@dataclass
class Account:
    """One organisation at one Datadog site. `sleep` is called with seconds between attempts."""

    url: str
    api_key: str = field(repr=False)
    app_key: str = field(repr=False)
    sleep: Callable[[float], None] = time.sleep

    def request(
        self,
        method: Method,
        path: str,
        body: Json = None,
        *,
        version: str = "v1",
        missing_ok: bool = False,
        **params: Any,
    ) -> Json:
        """Send one request and return the decoded answer; None for 404 if `missing_ok`.

        A 429 waits as long as Datadog asks for, a 5xx a little; only what cannot create twice is repeated after
        a lost connection. Raises AccountError.
        """
        what = f"{method} /api/{version}/{path}"
        for attempt in range(1, ATTEMPTS + 1):
            status, answer, wait = self._send(method, path, body, version, params)
            if status < 300 and status:
                return answer
            if status == 404 and missing_ok:
                return None
            again = status == 429 or ((status >= 500 or not status) and method != "POST")
            if not again or attempt == ATTEMPTS:
                raise AccountError(self._explained(what, status, answer, attempt), status)
            self.sleep(min(wait or 2.0**attempt / 2, LONGEST_WAIT))
        raise AssertionError("unreachable")  # pragma: no cover

    def _send(
        self, method: Method, path: str, body: Json, version: str, params: Mapping[str, Any]
    ) -> tuple[int, Json, float]:
        """Return status (0: no answer), body or error text, and the seconds that Datadog asks to wait."""
        from datadog import api
        from datadog.api.api_client import APIClient
        from datadog.api.exceptions import ClientError, DatadogException, HTTPError

        settings = {
            "_api_key": self.api_key,
            "_application_key": self.app_key,
            "_api_host": self.url,
            "_mute": False,
            "_max_retries": 0,
            "_timeout": TIMEOUT,
            "_return_raw_response": True,
        }
        for name, value in settings.items():
            setattr(api, name, value)
        expected = [400, 401, 403, 404, 409, 429]
        try:
            answer, raw = APIClient.submit(
                method, path, version, body, suppress_response_errors_on_codes=expected, **params
            )
        except HTTPError as error:
            found = re.search(r"code: (\d{3})", str(error))
            return (int(found[1]) if found else 500), "", 0.0
        except (ClientError, DatadogException) as error:
            return 0, _short(str(error)), 0.0
        except ValueError:
            return 502, "the answer is not JSON; is this really Datadog's API?", 0.0
        return raw.status_code, answer, _wait(raw.headers)

    def _explained(self, what: str, status: int, answer: Json, attempt: int) -> str:
        """Say what went wrong and what to do about it."""
        errors = answer.get("errors") if isinstance(answer, dict) else answer
        said = "; ".join(map(_one_error, errors)) if isinstance(errors, list) else str(errors or "")
        advice = {
            0: f"no answer from {self.url}: check the network, the proxy and DD_SITE",
            401: "DD_API_KEY is not valid for this site",
            403: "refused: DD_API_KEY or DD_APP_KEY belongs to another site, or lacks the permission to write this",
            404: "not found",
            429: f"too many requests, also after {attempt} attempts",
        }.get(status, "Datadog is out of order" if status >= 500 else "refused")
        text = f"{what}: {status or 'no status'}: {advice}" + (f" ({said})" if said else "")
        return self._masked(text)

    def _masked(self, text: str) -> str:
        for key in (self.api_key, self.app_key):
            text = text.replace(key, "***") if key else text
        return text


def account(environ: Mapping[str, str] | None = None) -> Account:
    """Return the account that DD_API_KEY, DD_APP_KEY and DD_SITE name. Raises ConfigError.

    DATADOG_HOST, the datadog library's own variable, overrides the site with a URL.
    """
    environ = os.environ if environ is None else environ
    for name in ("DD_API_KEY", "DD_APP_KEY"):
        if not environ.get(name, "").strip():
            raise ConfigError(name, "is not set.", "Keys are read from the environment only.")
        if not re.fullmatch(r"[A-Za-z0-9_]{8,128}", environ[name].strip()):
            raise ConfigError(
                name, "does not look like a key.", "Copy it again; it holds letters and digits only."
            )
    url = environ.get("DATADOG_HOST", "").strip()
    if not url:
        site = environ.get("DD_SITE", "").strip() or SITES[0]
        if site not in SITES:
            raise ConfigError("DD_SITE", f"{site!r} is no Datadog site.", f"It is one of {', '.join(SITES)}.")
        url = f"https://api.{site}"
    elif not re.fullmatch(r"https?://[^/\s]+/?", url):
        raise ConfigError(
            "DATADOG_HOST",
            f"{url.rpartition('@')[2]!r} is no URL.",
            "Write https://host, or leave it out and set DD_SITE.",
        )
    return Account(url.rstrip("/"), environ["DD_API_KEY"].strip(), environ["DD_APP_KEY"].strip())


def _wait(headers: Mapping[str, str]) -> float:
    for name in ("X-RateLimit-Reset", "Retry-After"):
        try:
            return float(headers.get(name, ""))
        except ValueError:
            continue
    return 0.0


def _one_error(error: object) -> str:
    """Read an error of v1 (a text) or v2 (an object)."""
    return str(error.get("detail") or error.get("title")) if isinstance(error, dict) else str(error)


def _short(text: str) -> str:
    """Cut the library's advice off, and the address that it repeats."""
    return re.sub(r"^Could not request \S+ \S+: ", "", text).partition(". Please")[0]
