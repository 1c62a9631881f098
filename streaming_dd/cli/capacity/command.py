"""`streaming-dd capacity`: ask the workers or the local agent, and say how many servers are needed. No state."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any, Final

from ...errors import CapacityError
from . import sources
from .plan import LEAST_TASKS, MB, Plan, Server, make_plan, refusal, too_little
from .window import Window

_GB: Final = 1024 * MB
_UNITS: Final = {"K": 1024.0, "M": MB, "G": _GB, "T": 1024 * _GB}
_AGENT: Final = "http://127.0.0.1:8181"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `streaming-dd capacity`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "capacity",
        help="how many servers are needed, from what was measured",
        description="Say how many servers a load needs, by Little's law, from /stats of all workers or the local agent.",
        epilog="examples: streaming-dd capacity --agent; streaming-dd capacity http://10.0.0.1:8000/stats --growth 3",
    )
    add = parser.add_argument
    add("urls", nargs="*", metavar="URL", help="/stats of each worker, or of a port that they share")
    add("--agent", nargs="?", const=_AGENT, metavar="URL", help=f"ask the local agent instead ({_AGENT})")
    add("--window", type=_positive, default=60.0, metavar="MINUTES", help="of the local agent's data (60)")
    add("--token", default="", help="of /stats; STREAMING_STATS_TOKEN by default")
    add("--expect", type=_whole, default=0, metavar="N", help="workers that must answer")
    add("--growth", type=_positive, default=1.0, metavar="X", help="times the measured load (1)")
    add("--cores", type=_whole, metavar="N", help="of a server (as measured)")
    add("--memory", type=_size, metavar="SIZE", help="of a server, such as 8G (as measured)")
    add("--workers", type=_whole, metavar="N", help="processes on a server (one for each core)")
    add("--utilisation", type=_share, default=0.7, metavar="SHARE", help="of a resource at most (0.7)")
    add("--spare", type=_whole_or_none, default=1, metavar="N", help="servers beside those for the load (1)")
    add("--task-memory", type=_size, metavar="SIZE", help="of one task, where it could not be measured")
    add("--open-files", type=_whole, metavar="N", help="limit of a worker (as measured)")
    add("--tasks-per-worker", type=_whole, metavar="N", help="at once, where something limits them")
    add("--least-tasks", type=_whole, default=LEAST_TASKS, metavar="N", help=f"to go by ({LEAST_TASKS})")
    add("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Print the plan and return 0; raise CapacityError where there is too little to go by."""
    window = _measured(options)
    server, unknown = _server(options, window)
    if server is None:  # whatever else is missing is said with it: nobody is to ask twice
        raise refusal([*unknown, *too_little(window, options.least_tasks)])
    plan = make_plan(
        window,
        server,
        growth=options.growth,
        spare=options.spare,
        task_memory=options.task_memory,
        least_tasks=options.least_tasks,
    )
    print(json.dumps(plan.as_json(), indent=2) if options.json else render(plan))  # noqa: T201 - the command's answer
    return 0


def _measured(options: argparse.Namespace) -> Window:
    if bool(options.urls) == bool(options.agent):
        raise CapacityError("give the URLs of /stats, or --agent to ask the local agent: one of the two")
    if options.agent:
        return sources.from_agent(options.agent, options.window * 60)
    token = options.token or os.environ.get("STREAMING_STATS_TOKEN", "")
    return sources.from_stats(options.urls, token, expect=options.expect)


def _server(options: argparse.Namespace, window: Window) -> tuple[Server | None, list[str]]:
    """Return the server that is asked about, or what must be given to know it and what else could be."""
    cores = options.cores or window.cores
    memory = options.memory or window.memory
    if cores is None or memory is None:
        needed = [name for name, value in (("--cores", cores), ("--memory", memory)) if value is None]
        judged = [
            name
            for name, value in (
                ("--task-memory", options.task_memory or window.task_memory),
                ("--open-files", options.open_files or window.open_files_limit),
                ("--tasks-per-worker", options.tasks_per_worker),
            )
            if value is None
        ]
        also = f" (what is not known either and is not judged without: {', '.join(judged)})" if judged else ""
        return None, [f"the size of a server is not known from there: give {' and '.join(needed)}{also}"]
    server = Server(
        cores=cores,
        memory=memory,
        workers=options.workers or cores,
        utilisation=options.utilisation,
        open_files=options.open_files,
        tasks_per_worker=options.tasks_per_worker,
    )
    return server, []


# --- the answer in words --------------------------------------------------------------------------------------


def render(plan: Plan) -> str:
    """Return a plan as text: measured, assumed, needed, and the answer."""
    return "\n".join((*_measured_lines(plan.window), *_needed_lines(plan), "", _answer(plan)))


def _measured_lines(window: Window) -> list[str]:
    seen = "" if window.active_mean is None else f"; {window.active_mean:.3g} were seen"
    at_peak = "at the peak" if window.peaks_of == 1 else "at the peaks of the workers, added up"
    peak = "" if window.active_peak is None else f", {window.active_peak:.0f} {at_peak}"
    busiest = "" if window.busiest_rate is None else f", {window.busiest_rate:.3g} in the busiest minute"
    p95 = "" if window.duration_p95 is None else f", p95 {window.duration_p95:.3g} s"
    cpu = (
        []
        if window.all_cpu is None
        else [f"{window.all_cpu:.3g} s of all that the workers did ({window.cores_used:.1%} of a core each)"]
    )
    cpu += [] if window.own_cpu is None else [f"{window.own_cpu:.3g} s of its own steps and threads"]
    memory = (
        f"{window.task_memory / MB:.3g} MB for each one more at once"
        + (f" (R² {window.task_memory_fit:.2f})" if window.task_memory_fit is not None else "")
        if window.task_memory is not None
        else f"not known: {window.task_memory_note}"
    )
    base = (
        "" if window.worker_memory is None else f"; a worker without tasks {window.worker_memory / MB:.0f} MB"
    )
    return [
        f"Measured: {window.source}, {window.workers} worker{'s' * (window.workers != 1)}, {window.seconds / 60:.1f} min, "
        f"{window.tasks:.0f} task{'s' * (round(window.tasks) != 1)} ended",
        f"  arrivals     {window.rate:.3g} tasks/s{busiest}",
        f"  duration     mean {window.duration:.3g} s{p95}",
        f"  at once      {window.little:.3g} by Little's law ({window.rate:.3g} x {window.duration:.3g}){seen}{peak}",
        f"  CPU a task   {', '.join(cpu)}",
        f"  memory       {memory}{base}",
        f"  clients      {window.clients_peak:.0f} {at_peak}",
    ]


def _needed_lines(plan: Plan) -> list[str]:
    lines = ["Assumed: " + "; ".join(plan.assumed)]
    lines += [f"Doubtful: {warning}" for warning in plan.warnings]
    lines.append(
        f"Needed for {plan.rate:.3g} tasks/s ({plan.rate_of} x {plan.growth:g}), {plan.tasks_at_once:.3g} tasks at once:"
    )
    for need in plan.needs:
        amount = "not judged" if need.servers is None else f"{need.servers:.2f} servers"
        lines.append(f"  {need.resource:<12} {amount:<14} {need.how}")
    return lines


def _answer(plan: Plan) -> str:
    needs = {need.resource: need.servers for need in plan.needs if need.servers}
    binding = needs.pop(plan.binding, 0.0) or 0.0
    room = [
        f"{name} would allow {binding / servers:.1f} times more" for name, servers in needs.items() if servers
    ]
    spare = f", {plan.spare} spare" if plan.spare else ""
    count = f"{plan.servers} server{'s' * (plan.servers != 1)}"
    reason = f"{plan.binding} binds" + (f"; {'; '.join(room)}" if room else "")
    return f"{count}: {plan.load_servers} for the load{spare}. {reason}."


# --- what can be typed ----------------------------------------------------------------------------------------


def _number(text: str, right: Callable[[float], bool], hint: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not right(number) or number == float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: write {hint}")
    return number


def _positive(text: str) -> float:
    return _number(text, lambda number: number > 0, "a number above 0")


def _share(text: str) -> float:
    return _number(text, lambda number: 0 < number <= 1, "a share above 0, at most 1, such as 0.7")


def _whole(text: str) -> int:
    return int(_number(text, lambda number: number >= 1 and number == int(number), "a whole number from 1"))


def _whole_or_none(text: str) -> int:
    return int(_number(text, lambda number: number >= 0 and number == int(number), "a whole number from 0"))


def _size(text: str) -> float:
    hint = "a size with its unit, such as 512M or 8G"
    number = text.upper().removesuffix("IB").removesuffix("B")
    unit = number[-1:]
    if unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r}: write {hint}")
    return _number(number[:-1], lambda found: found > 0, hint) * _UNITS[unit]
