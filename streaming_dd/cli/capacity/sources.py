"""Where measurements come from: /stats of every worker, or the local agent. No state; blocks while it asks."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ...errors import CapacityError
from .window import Window, of_sections

_TIMEOUT: Final = 10.0
_SIZE_LIMIT: Final = 50_000_000
#: A URL that several workers share is asked by so many connections at once (one after the other would often reach the
#: same worker), until so many rounds in a row have brought nobody new.
_AT_ONCE: Final = 8
_NOTHING_NEW: Final = 4
_ROUNDS_LIMIT: Final = 50

Get = Callable[[str, Mapping[str, str]], Any]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it leads."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: the redirect's status is the answer."""


def get_json(url: str, headers: Mapping[str, str]) -> Any:
    """Return the JSON behind an http(s) URL; raise CapacityError saying what to do where there is none."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise CapacityError(f"{url}: write a URL such as http://127.0.0.1:8000/stats")
    # Without `Connection: close` a worker behind a shared port would answer again and again.
    request = urllib.request.Request(url, headers={**headers, "Connection": "close"})
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT) as answer:
            return json.loads(answer.read(_SIZE_LIMIT))
    except urllib.error.HTTPError as error:
        hint = {
            401: "give the token of STREAMING_STATS_TOKEN by --token or in the environment",
            403: "set STREAMING_STATS_TOKEN in the application, and give it by --token or in the environment",
            404: "is that the address of /stats? STREAMING_ENDPOINTS_PREFIX may have moved it",
        }.get(error.code, "look into the application's log")
        raise CapacityError(f"{url} answered {error.code}: {hint}") from None
    except (OSError, urllib.error.URLError) as error:
        raise CapacityError(f"{url} does not answer ({error})") from None
    except ValueError:
        raise CapacityError(f"{url} answers no JSON: is it the address of /stats?") from None


def from_stats(urls: Sequence[str], token: str = "", *, expect: int = 0, get: Get = get_json) -> Window:
    """Return the window of all workers behind these URLs; a URL that several share is asked until all have answered.

    With `expect`, raises CapacityError unless this many workers answer.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for url in urls:
            nothing_new = 0
            for _ in range(_ROUNDS_LIMIT):
                answers = pool.map(get, [url] * _AT_ONCE, [headers] * _AT_ONCE)
                sections = [section for answer in answers for section in _sections(answer, url)]
                workers = {(str(section["host"]), int(section["pid"])): section for section in sections}
                nothing_new = nothing_new + 1 if workers.keys() <= found.keys() else 0
                found.update(workers)
                if nothing_new >= _NOTHING_NEW or (expect and len(found) >= expect):
                    break
    if expect and len(found) != expect:
        raise CapacityError(
            f"{_workers(len(found))} answered, {expect} {'was' if expect == 1 else 'were'} expected: "
            "give the address of each, such as a port per pod"
        )
    return of_sections(found.values(), f"/stats of {_workers(len(found))}")


def _workers(number: int) -> str:
    return f"{number} worker{'s' * (number != 1)}"


def _sections(stats: Any, url: str) -> list[Mapping[str, Any]]:
    """The figures of every worker: an answer has a section for each that its server has."""
    if not isinstance(stats, dict):
        stats = {}
    workers = stats.get("workers")
    several = list(workers.values()) if isinstance(workers, dict) else [stats]
    found = [worker.get("capacity") for worker in several if isinstance(worker, dict)]
    sections: list[Mapping[str, Any]] = [
        one for one in found if isinstance(one, dict) and {"sums", "host", "pid"} <= one.keys()
    ]
    if not sections:
        raise CapacityError(f"{url} has no section 'capacity': is it /stats of streaming-dd?")
    return sections


# --- the local agent ------------------------------------------------------------------------------------------


def from_agent(
    url: str, seconds: float, *, get: Get = get_json, now: Callable[[], float] = time.time
) -> Window:
    """Return the window of all workers that have sent to the local agent within the last `seconds`."""
    base = url.rstrip("/")
    end = now() + 1
    query = f"start={end - seconds:.0f}&end={end:.0f}"
    figures = get(f"{base}/api/capacity?{query}", {})
    if not isinstance(figures, dict) or "arrival_rate" not in figures:
        raise CapacityError(f"{base} has no figures of capacity: is it the page of `streaming-dd agent`?")

    def value(name: str) -> float | None:
        figure = figures.get(name) or {}
        return figure.get("value")

    tasks = (figures.get("duration") or {}).get("samples") or 0
    rate, duration = value("arrival_rate"), value("duration")
    if rate is None or duration is None or not tasks:
        raise CapacityError(
            f"{base}: no task has ended in the last {seconds:.0f} s, there is nothing to go by. Is the application "
            "sending there? `streaming-dd doctor` looks."
        )
    prefix = str(figures.get("prefix") or "streaming.")
    answer = get(f"{base}/api/series?metric={prefix}process.workers&{query}", {})
    series = len({",".join(series["tags"]) for series in answer.get("series", [])})
    workers = max(series, (figures.get("worker_memory") or {}).get("samples") or 0, 1)
    return Window(
        source=f"the local agent at {base}",
        workers=workers,
        seconds=float(figures.get("seconds") or 0.0),
        tasks=float(tasks),
        rate=rate,
        busiest_rate=value("peak_rate"),
        duration=duration,
        duration_p95=value("duration_p95"),
        own_cpu=value("own_cpu_per_task"),
        all_cpu=value("cpu_per_task"),
        active_mean=value("concurrency"),
        active_peak=value("peak_concurrency"),
        clients_peak=value("clients") or 0.0,
        peaks_of=workers,
        task_memory=value("memory_per_task"),
        task_memory_note=str((figures.get("memory_per_task") or {}).get("note", "")),
        worker_memory=value("worker_memory"),
    )
