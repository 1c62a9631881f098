"""`streaming-dd assets`: list, render, lint, diff, push, pull, cost. No state.

Exit codes: 0 all is well, 1 something differs or failed. What keeps a command from running (options, keys, no network)
is raised, and ends with 2 in `cli.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import AssetError
from .options import THRESHOLDS, Options

DEFAULT_DIRECTORY = Path("dd-agent")
OK, PROBLEMS = 0, 1
_EXAMPLES = {
    "list": "list --thresholds",
    "render": "render --service reports --env prod --notify '@slack-ops'",
    "lint": "lint my-dashboard.json",
    "diff": "diff --directory dd-agent",
    "push": "push --apply",
    "pull": "pull --output drifted",
    "cost": "cost",
}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to an argparse program; each action sets `handler`, a function of the arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "assets", help="dashboards, monitors and SLOs: render, check, compare, send to Datadog"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(
            name, help=help, description=help, epilog=f"example: streaming-dd assets {_EXAMPLES[name]}"
        )
        made.set_defaults(handler=run)
        return made

    listing = action("list", run_list, "List the dashboards, monitors and SLOs, or the thresholds.")
    listing.add_argument(
        "--thresholds", action="store_true", help="list the numbers that --threshold can change"
    )
    _add_options(listing)
    render = action("render", run_render, "Write them as Datadog's JSON, with metadata.csv and Terraform.")
    render.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file is stale, as `diff` does"
    )
    render.add_argument(
        "--integration", action="store_true", help="monitors as files of Datadog's integrations, no Terraform"
    )
    _add_options(render)
    _add_directory(render)
    lint = action(
        "lint",
        run_lint,
        "Check them, or JSON files of yours, for what the API accepts and production suffers.",
    )
    lint.add_argument("files", nargs="*", type=Path, help="JSON files; without any, what would be rendered")
    lint.add_argument("--rules", action="store_true", help="list the rules")
    _add_options(lint)
    diff = action(
        "diff", run_diff, "Compare the files on disk with what would be rendered; exit 1 if they differ."
    )
    _add_options(diff)
    _add_directory(diff)
    push = action("push", run_push, "Show what would change in the account; with --apply, change it.")
    push.add_argument("--apply", action="store_true", help="send it; without this flag nothing is sent")
    push.add_argument("--dry-run", action="store_true", help="only show the plan (the default)")
    push.add_argument(
        "--no-metadata", action="store_true", help="leave units, descriptions and percentiles alone"
    )
    _add_options(push)
    cost = action(
        "cost",
        run_cost,
        "Say what Datadog would charge for the metrics that the local agent received, and why.",
    )
    cost.add_argument(
        "--agent", default="http://127.0.0.1:8181", metavar="URL", help="the local agent's page"
    )
    cost.add_argument("--top", type=int, default=15, metavar="N", help="metrics to list (15)")
    cost.add_argument("--json", action="store_true", help="as JSON, with every metric and tag")
    pull = action(
        "pull", run_pull, "Show how the account drifted from what would be rendered; exit 1 if it did."
    )
    pull.add_argument("--output", type=Path, metavar="DIR", help="write the account's documents there")
    _add_options(pull)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", default="streaming", help="first part of the metrics' names")
    parser.add_argument("--service", default="", help="narrow monitors and SLOs to a service")
    parser.add_argument("--env", default="", help="narrow monitors and SLOs to an environment")
    parser.add_argument(
        "--timers", choices=("timer", "distribution"), default="distribution", help="how timers are sent"
    )
    parser.add_argument(
        "--notify", default="", metavar="HANDLES", help="who is notified, such as '@slack-ops'"
    )
    parser.add_argument("--team", default="", help="the tag `team` of monitors, SLOs and dashboards")
    parser.add_argument("--site", default="datadoghq.com", help="Datadog's site, for links in messages")
    parser.add_argument("--request-operation", default="", metavar="NAME", help="operation of request spans")
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="change a number; `list --thresholds`",
    )


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--directory", type=Path, default=DEFAULT_DIRECTORY, help="where the files lie")


def options_of(arguments: argparse.Namespace) -> Options:
    """Read the options from the command line. Raises AssetError."""
    thresholds: dict[str, float] = {}
    for given in arguments.threshold:
        name, _, number = given.partition("=")
        try:
            thresholds[name] = float(number)
        except ValueError:
            raise AssetError(
                f"--threshold {given!r}: write NAME=NUMBER, such as loop-lag.critical=500"
            ) from None
    operation = {"request_operation": arguments.request_operation} if arguments.request_operation else {}
    return Options(
        prefix=arguments.prefix,
        service=arguments.service,
        env=arguments.env,
        timers=arguments.timers,
        notify=arguments.notify,
        team=arguments.team,
        site=arguments.site,
        thresholds=thresholds,
        **operation,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def run_list(arguments: argparse.Namespace) -> int:
    """List assets or thresholds."""
    from .rendering import render

    options = options_of(arguments)
    if arguments.thresholds:
        for name, (_, help) in THRESHOLDS.items():
            _say(f"{name:<42} {options.threshold(name):>7g}  {help}")
        return OK
    for asset in render(options):
        _say(f"{asset.kind:<9} {asset.name:<31} {asset.title}")
    return OK


def run_render(arguments: argparse.Namespace) -> int:
    """Write the files."""
    from .files import abandoned, write
    from .rendering import rendered_files

    if arguments.check:
        return run_diff(arguments)
    texts = rendered_files(_sound(options_of(arguments)), integration=arguments.integration)
    changed = write(texts, arguments.directory)
    for path in changed:
        _say(f"wrote {arguments.directory / path}")
    for path in abandoned(texts, arguments.directory):
        _say(f"left {arguments.directory / path}: nothing generates it any more, delete it")
    _say(f"{len(texts)} files, {len(changed)} written")
    return OK


def run_lint(arguments: argparse.Namespace) -> int:
    """Check what would be rendered, or files."""
    from .lint.rules import RULES, asset_of, lint
    from .rendering import render

    if arguments.rules:
        for rule, meaning in RULES.items():
            _say(f"{rule:<20} {meaning}")
        return OK
    options = options_of(arguments)
    if not arguments.files:
        assets = render(options)
        problems = lint(assets, options)
    else:
        assets = [asset_of(str(path), _text(path)) for path in _json_files(arguments.files)]
        problems = lint(assets, options, strict=False)
    for problem in problems:
        _say(str(problem))
    faults = [problem for problem in problems if not problem.note]
    notes = f", {len(problems) - len(faults)} notes" if len(problems) > len(faults) else ""
    _say(f"{len(assets)} checked, {len(faults)} problems{notes}")
    return PROBLEMS if faults else OK


def _json_files(paths: Sequence[Path]) -> list[Path]:
    """Take folders apart into their JSON files."""
    return [file for path in paths for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise AssetError(f"cannot read {path}: {reason}") from None


def run_diff(arguments: argparse.Namespace) -> int:
    """Compare files with the rendering."""
    from .files import stale, unified
    from .rendering import rendered_files

    texts = rendered_files(_sound(options_of(arguments)))
    wrong = list(stale(texts, arguments.directory))
    for path, what in wrong:
        _say(f"{arguments.directory / path} {what}")
        if what == "differs":
            _say(unified(path, texts[path], arguments.directory))
    _say(f"{len(texts)} files, {len(wrong)} differ" + ("; run `streaming-dd assets render`" if wrong else ""))
    return PROBLEMS if wrong else OK


def run_push(arguments: argparse.Namespace) -> int:
    """Show the plan, and carry it out if asked."""
    from .account.client import account
    from .account.descriptions import push_metadata
    from .account.push import apply, fetch, plan
    from .rendering import render

    if arguments.apply and arguments.dry_run:
        raise AssetError("--apply and --dry-run contradict each other")
    options = _sound(options_of(arguments))
    datadog = account()
    changes = plan(render(options), fetch(datadog), options)
    well = True
    for change in apply(datadog, changes) if arguments.apply else changes:
        _say(str(change))
        well &= change.action in ("create", "update", "unchanged")
    if not arguments.no_metadata:
        for line in push_metadata(datadog, options, dry_run=not arguments.apply):
            _say(line)
            well &= not line.startswith("failed")
    if not arguments.apply:
        _say(f"Nothing was sent to {datadog.url}. Add --apply to do this.")
    return OK if well else PROBLEMS


def run_cost(arguments: argparse.Namespace) -> int:
    """Print the bill."""
    from .cost import fetch_bill, render_bill

    found = fetch_bill(arguments.agent)
    _say(json.dumps(found, indent=2) if arguments.json else render_bill(found, max(1, arguments.top)))
    return OK


def run_pull(arguments: argparse.Namespace) -> int:
    """Show drift, and write what the account holds if asked."""
    from .account.client import account
    from .account.push import fetch, known_ids, plan, symbolised
    from .documents import dumps
    from .files import write
    from .rendering import render

    options = options_of(arguments)
    assets = render(options)
    remote = fetch(account())
    changes = plan(assets, remote, options)
    for change in changes:
        if change.action != "unchanged":
            _say(str(change).replace("create   ", "missing  ").replace("update   ", "drifted  "))
    ids = known_ids(assets, remote, options)
    texts = {
        change.asset.path: dumps(
            symbolised(_ours(remote.found[change.asset.kind, options.identity(change.asset.name)][0]), ids)
        )
        for change in changes
        if change.id is not None
    }
    if arguments.output:
        for path in write(texts, arguments.output):
            _say(f"wrote {arguments.output / path}")
    drifted = sum(change.action != "unchanged" for change in changes)
    _say(f"{len(changes)} assets, {len(texts)} in the account, {drifted} drifted")
    return PROBLEMS if drifted else OK


SERVER_FIELDS = {
    *(
        "id",
        "created",
        "created_at",
        "created_by",
        "creator",
        "modified",
        "modified_at",
        "deleted",
        "url",
        "org_id",
    ),
    *("author_handle", "author_name", "is_read_only", "notify_list", "restricted_roles", "assets"),
    *("multi", "matching_downtimes", "overall_state", "overall_state_modified", "state"),
}
"""What only the account writes."""


def _ours(document: dict[str, Any]) -> dict[str, Any]:
    """Leave the server's own fields out."""
    return {key: value for key, value in document.items() if key not in SERVER_FIELDS}


def _sound(options: Options) -> Options:
    """Refuse options with which the assets would be wrong, before anything is written or sent."""
    from .lint.rules import lint
    from .rendering import render

    problems = lint(render(options), options)
    if problems:
        raise AssetError("\n".join(["with these options the assets would be wrong:", *map(str, problems)]))
    return options
