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

from ..errors import CapacityError
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
                sections = [_section(answer, url) for answer in answers]
                workers = {(str(section["host"]), int(section["pid"])): section for section in sections}
                nothing_new = nothing_new + 1 if workers.keys() <= found.keys() else 0
                found.update(workers)
                if nothing_new >= _NOTHING_NEW or (expect and len(found) >= expect):
                    break
    if expect and len(found) != expect:
        raise CapacityError(
            f"{len(found)} workers answered, {expect} were expected: give the address of each, such as a port per pod"
        )
    return of_sections(found.values(), f"/stats of {len(found)} worker{'s' * (len(found) != 1)}")


def _section(stats: Any, url: str) -> Mapping[str, Any]:
    section = stats.get("capacity") if isinstance(stats, dict) else None
    if not isinstance(section, dict) or not {"sums", "host", "pid"} <= section.keys():
        raise CapacityError(f"{url} has no section 'capacity': is it /stats of streaming-dd?")
    return section


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
    prefix = _prefix(get, base)
    cpu = _by_worker(get, base, f"{prefix}process.cpu", query)
    rss = _by_worker(get, base, f"{prefix}process.rss", query)
    cpu_seconds = sum(percent / 100 * 10 for points in cpu.values() for percent in points)
    return Window(
        source=f"the local agent at {base}",
        workers=max(len(cpu), len(rss), 1),
        seconds=float(figures.get("seconds") or 0.0),
        tasks=float(tasks),
        rate=rate,
        busiest_rate=value("peak_rate"),
        duration=duration,
        duration_p95=value("duration_p95"),
        own_cpu=value("cpu_per_task"),
        all_cpu=cpu_seconds / tasks if cpu else None,
        active_mean=value("concurrency"),
        active_peak=value("peak_concurrency"),
        clients_peak=value("clients") or 0.0,
        task_memory=value("memory_per_task"),
        task_memory_note=str((figures.get("memory_per_task") or {}).get("note", "")),
        worker_memory=max((min(points) for points in rss.values() if points), default=None),
    )


def _prefix(get: Get, base: str) -> str:
    """The prefix of the metrics' names: a setting of the application."""
    ending = "telemetry.flush_time.avg"
    metrics = get(f"{base}/api/metrics?search={ending}", {}).get("metrics", [])
    return str(metrics[0]["name"]).removesuffix(ending) if metrics else "streaming."


def _by_worker(get: Get, base: str, metric: str, query: str) -> dict[str, list[float]]:
    """Points of a gauge, by the service and worker that sent them."""
    found: dict[str, list[float]] = {}
    for series in get(f"{base}/api/series?metric={metric}&{query}", {}).get("series", []):
        points = [point for point in series["values"] if point is not None]
        found.setdefault(",".join(series["tags"]), []).extend(points)
    return found
