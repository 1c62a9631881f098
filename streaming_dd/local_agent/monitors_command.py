"""`streaming-dd monitors`: list the monitors, or check them on live traffic as a release gate. No state.

`check` runs an agent of its own, or asks a running one (`--agent URL`), for the time of a load test. It fails if a
group was in Alert at any evaluation meanwhile. The modules that need the extra are imported when it starts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LocalAgentError
from . import command

UNITS = {"s": 1, "m": 60, "h": 3600}
LATE = 30.0
"""Seconds beyond the last bucket after which an agent that has not evaluated is given up."""
LOOK_EVERY = 1.0
WORDS = {"Ignored": "BROKEN", "No Data": "NO DATA", "Skipped": "WAITS"}
ORDER = ("Alert", "Ignored", "Warn", "No Data", "Skipped", "OK")

Row = dict[str, Any]


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd monitors`."""
    parser = subparsers.add_parser(
        "monitors",
        help="list the monitors, or check them on live traffic",
        epilog="example: streaming-dd monitors check --for 60s",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="evaluate the monitors on live traffic; exit code 1 if one is in Alert: a release gate",
        epilog="example: streaming-dd monitors check --for 5m --agent http://127.0.0.1:8181",
    )
    check.add_argument("--for", dest="seconds", type=duration, default=60.0, metavar="60s", help="how long")
    check.add_argument("--agent", metavar="URL", help="ask this running agent, such as http://127.0.0.1:8181")
    check.add_argument("--json", action="store_true", help="the result as JSON")
    command.add_intake(check)
    check.set_defaults(
        handler=run_check,
        host="127.0.0.1",
        allow_host=[],
        headless=True,
        persist=None,
        notify_webhook=None,
        notify_anywhere=False,
    )
    listing = actions.add_parser(
        "list",
        help="list the monitors and say which cannot be read",
        epilog="example: streaming-dd monitors list --config dd-agent",
    )
    listing.add_argument(
        "--config", metavar="DIRECTORY", help="directory with monitors/ and slos/ (dd-agent)"
    )
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(handler=run_list)


def duration(text: str) -> float:
    """Return the seconds of `60s`, `5m` or `1h`."""
    found = re.fullmatch(r"(\d{1,6})([smh]?)", text)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write it as 60s, 5m or 1h")
    return float(int(found[1]) * UNITS[found[2] or "s"])


# --- check -------------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """What was seen while it lasted: the last row of each group, and since when which was in Alert."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    alerted: dict[tuple[str, str], Row] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def note(self, rows: list[Row]) -> None:
        """Take in one evaluation."""
        self.rows = {(row["monitor"], row["group"]): row for row in rows}
        for key, row in self.rows.items():
            if row["state"] == "Alert":
                self.alerted.setdefault(key, row)

    def verdict(self) -> list[Row]:
        """Return the rows, the worst first; one that was in Alert has state Alert, and `now` says how it ended."""
        found = []
        for key, row in {**self.alerted, **self.rows}.items():
            alert = self.alerted.get(key)
            found.append({**(alert or row), "now": row["state"] if key in self.rows else "No Data"})
        return sorted(found, key=lambda row: (ORDER.index(row["state"]), row["monitor"], row["group"]))


def run_check(options: argparse.Namespace) -> int:
    """Watch for the time that was asked for; return 0 if all is well, 1 if a monitor was in Alert."""
    if options.agent:
        watch = look_on(_fetcher(options.agent), options.seconds)
    else:
        watch = _with_own_agent(options)
    rows = watch.verdict()
    broken = [row for row in rows if row["state"] == "Ignored"]
    if options.json:
        passed = not watch.alerted and not broken and not watch.problems
        _print(json.dumps({
            "passed": passed, "seconds": options.seconds, "received": watch.received, "groups": rows,
            "problems": watch.problems,
        }, indent=2))  # fmt: skip
    else:
        for row in rows:
            _print(_line(row))
        _print(_summary(watch, len(broken)))
    for problem in watch.problems:
        _say(f"streaming-dd: {problem}")
    if watch.alerted:
        return 1
    return 2 if broken or watch.problems else 0


def _with_own_agent(options: argparse.Namespace) -> Watch:
    try:
        from .agent import LocalAgent
    except ImportError as error:
        raise LocalAgentError(f"{error.name} is not installed: pip install 'streaming-dd[agent]'") from error
    began = time.perf_counter()
    try:
        agent = LocalAgent(command.settings_of(options))
        agent.bind()
    except LocalAgentError as error:
        raise LocalAgentError(f"{error} If an agent is running, check that one: --agent URL.") from error
    with agent.running():
        _say(command.greeting(agent, time.perf_counter() - began))
        return look_on(_fetcher(f"http://127.0.0.1:{agent.page_port}"), options.seconds)


def look_on(fetch: Callable[[], Any], seconds: float) -> Watch:
    """Take in each evaluation until the bucket is evaluated in which the time is over."""
    first = fetch()
    if not first["groups"]:
        raise LocalAgentError(
            "the agent has no monitors: name a directory that has some with --config DIRECTORY"
        )
    watch = Watch(problems=first["problems"])
    seen, until = first["now"], first["now"] + seconds
    give_up = time.monotonic() + seconds + 10 + LATE
    _say(f"Checking {len({row['monitor'] for row in first['groups']})} monitors for {seconds:g} s ...")
    while True:
        answer = fetch()
        if answer["evaluated"] > seen:
            seen = answer["evaluated"]
            watch.note(answer["groups"])
        if seen >= until:
            break
        if time.monotonic() > give_up:
            raise LocalAgentError("the agent stopped evaluating its monitors: see its page's health view")
        time.sleep(LOOK_EVERY)
    watch.problems = answer["problems"]
    watch.received = {name: count - first["received"][name] for name, count in answer["received"].items()}
    if not any(watch.received.values()):
        raise LocalAgentError(
            "nothing came in, so there was nothing to check. Point the application at the agent (DD_AGENT_HOST, "
            "DD_DOGSTATSD_PORT) and send traffic to it meanwhile."
        )
    return watch


def _fetcher(address: str) -> Callable[[], Any]:
    """Return what asks an agent how its monitors stand."""
    if not re.match(r"https?://[^/]", address):
        raise LocalAgentError(
            f"--agent {address}: write the address of its page, such as http://127.0.0.1:8181"
        )
    url = f"{address.rstrip('/')}/api/gate"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch() -> Any:
        try:
            with opener.open(url, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise LocalAgentError(f"{url} answers {error.code}: is that this package's agent?") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise LocalAgentError(
                f"no agent answers at {url}: {reason}. Start one: streaming-dd agent"
            ) from error

    return fetch


def _line(row: Row) -> str:
    """Return `ALERT    task-error-rate {app:reports}   37.2 > 5`."""
    word = WORDS.get(row["state"]) or str(row["state"]).upper()
    group = "" if row["group"] in ("", "*") else f" {{{row['group']}}}"
    parts = [f"{word:<8} {row['monitor']}{group}  {_against(row)}"]
    if row["state"] == "Alert" and row["now"] != "Alert":
        parts.append(f"meanwhile; {row['now']} at the end")
    if row["waits"] and row["state"] in ("Alert", "Warn"):
        parts.append(f"Datadog would wait: {row['waits']}")
    text = "; ".join(parts)
    return "".join(letter if letter.isprintable() else "·" for letter in text.replace("\n", " "))


def _against(row: Row) -> str:
    """Return a value beside the thresholds, or why there is none."""
    if row["value"] is None or not row["comparator"]:
        return str(row["rule"])
    limits = [
        f"{name} {row['comparator']} {row[name]:g}"
        for name in ("critical", "warning")
        if row[name] is not None
    ]
    return f"{row['value']:.6g} ({', '.join(limits)})"


def _summary(watch: Watch, broken: int) -> str:
    came = ", ".join(f"{count} {name}" for name, count in watch.received.items())
    if watch.alerted:
        names = sorted({monitor for monitor, _ in watch.alerted})
        return f"Failed: {', '.join(names)} in Alert. Received {came}."
    if broken or watch.problems:
        return f"Not all could be checked: {broken + len(watch.problems)} broken. Received {came}."
    return f"Passed: no monitor in Alert. Received {came}."


# --- list --------------------------------------------------------------------------------------------------------


def run_list(options: argparse.Namespace) -> int:
    """Print a line per monitor; return 1 if one cannot be read."""
    try:
        from .monitors import files as monitors
        from .page_server import shipped
    except ImportError as error:
        raise LocalAgentError(f"{error.name} is not installed: pip install 'streaming-dd[agent]'") from error
    directory = Path(options.config) if options.config else shipped.find()
    if directory is None or not (directory / "monitors").is_dir():
        raise LocalAgentError(f"--config {directory}: there is no monitors/ in it")
    documents, problems = monitors.read_folder(directory / "monitors")
    found = [monitors.read(name, document) for name, document in documents.items()]
    if options.json:
        _print(json.dumps([_listed(each) for each in found], indent=2))
    else:
        width = max((len(each.name) for each in found), default=0)
        for each in found:
            _print(f"{each.name:<{width}}  {each.document.get('type')}  {each.title}")
            _print(f"{'':<{width}}  {each.document.get('query')}")
    broken = [f"monitor {each.name}: {each.problem}" for each in found if each.problem]
    for problem in [*problems, *broken]:
        _say(f"streaming-dd: {problem}")
    return 1 if problems or broken else 0


def _listed(monitor: Any) -> Row:
    document = monitor.document
    return {
        "name": monitor.name,
        "title": monitor.title,
        "type": document.get("type"),
        "query": document.get("query"),
        "thresholds": monitor.thresholds,
        "tags": document.get("tags") or [],
        "problem": monitor.problem,
    }


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
