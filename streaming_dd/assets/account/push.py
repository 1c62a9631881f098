"""Bring an account up to date: a plan first, then its execution. No state.

What is ours is found by its tag (monitors, SLOs) or its marker (dashboards), never by its title, so a push may be
repeated, interrupted and repeated again. What this package did not make is never changed, nothing is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import AccountError
from ..documents import MANAGED, Asset, Kind, marker, resolved
from ..options import Options
from .client import Account

Json = dict[str, Any]
Action = Literal["create", "update", "unchanged", "conflict", "failed", "skipped"]
Id = int | str
PATHS: dict[Kind, str] = {"monitor": "monitor", "slo": "slo", "dashboard": "dashboard"}
PAGE = 100
SAME_TYPE = {"metric alert", "query alert"}
"""Datadog answers with the one or the other, whichever was sent."""


@dataclass
class Remote:
    """What an account holds of ours: documents by (kind, identity); more than one of them is a conflict."""

    found: dict[tuple[Kind, str], list[Json]] = field(default_factory=dict)

    def add(self, kind: Kind, identity: str, document: Json) -> None:
        """Note a document under its identity."""
        self.found.setdefault((kind, identity), []).append(document)


@dataclass
class Change:
    """What a push does, or did, to one asset."""

    asset: Asset
    action: Action
    id: Id | None = None
    differences: list[str] = field(default_factory=list)
    problem: str = ""

    def __str__(self) -> str:
        detail = self.problem or ", ".join(self.differences[:5]) + (
            ", ..." if len(self.differences) > 5 else ""
        )
        text = f"{self.action:<9} {self.asset.kind:<9} {self.asset.name}"
        return f"{text}: {detail}" if detail else text


def fetch(account: Account) -> Remote:
    """Read all that is ours from an account. Raises AccountError."""
    remote = Remote()
    for kind, listing in (("monitor", _monitors(account)), ("slo", _slos(account))):
        for document in listing:
            tags = document.get("tags") or []
            for tag in tags if MANAGED in tags else ():
                if tag.startswith("streaming-dd:"):
                    remote.add(kind, tag.partition(":")[2], document)  # type: ignore[arg-type]
    start = f"[{MANAGED} streaming-dd:"
    for summary in account.request("GET", "dashboard").get("dashboards", []):
        description = summary.get("description") or ""
        if start in description:
            identity = description.rpartition(start)[2].partition("]")[0]
            remote.add("dashboard", identity, account.request("GET", f"dashboard/{summary['id']}"))
    return remote


def _monitors(account: Account) -> Iterator[Json]:
    page = 0
    while True:
        found = account.request("GET", "monitor", monitor_tags=MANAGED, page=page, page_size=PAGE)
        yield from found
        if len(found) < PAGE:
            return
        page += 1


def _slos(account: Account) -> Iterator[Json]:
    offset = 0
    while True:
        found = account.request("GET", "slo", tags_query=MANAGED, limit=PAGE, offset=offset).get("data") or []
        yield from found
        if len(found) < PAGE:
            return
        offset += PAGE


def plan(assets: Sequence[Asset], remote: Remote, options: Options) -> list[Change]:
    """Compare assets with what an account holds; in the order in which they must be written."""
    ids = known_ids(assets, remote, options)
    return [_planned(asset, remote, options, ids) for asset in in_order(assets)]


def known_ids(assets: Sequence[Asset], remote: Remote, options: Options) -> dict[tuple[str, str], Id]:
    """Return the ids of the assets that an account holds, by (kind, name)."""
    found: dict[tuple[str, str], Id] = {}
    for asset in assets:
        documents = remote.found.get((asset.kind, options.identity(asset.name)), [])
        if len(documents) == 1:
            found[asset.kind, asset.name] = documents[0]["id"]
    return found


def _planned(asset: Asset, remote: Remote, options: Options, ids: dict[tuple[str, str], Id]) -> Change:
    identity = options.identity(asset.name)
    documents = remote.found.get((asset.kind, identity), [])
    if len(documents) > 1:
        listed = " and ".join(str(document["id"]) for document in documents)
        tag = marker(identity) if asset.kind == "dashboard" else f"streaming-dd:{identity}"
        return Change(asset, "conflict", problem=f"{listed} both carry {tag}: take it off all but one")
    if not documents:
        return Change(asset, "create")
    document = documents[0]
    missing = asset.references() - ids.keys()
    if missing:
        return Change(
            asset, "update", document["id"], [f"reference to {kind} {name}" for kind, name in sorted(missing)]
        )
    changed = list(differences(resolved(asset.document, ids), document))
    return Change(asset, "update" if changed else "unchanged", document["id"], changed)


def in_order(assets: Sequence[Asset]) -> list[Asset]:
    """Sort so that each asset comes after those it refers to."""
    by_name = {(asset.kind, asset.name): asset for asset in assets}
    ordered: dict[tuple[str, str], Asset] = {}

    def place(asset: Asset) -> None:
        for reference in sorted(asset.references()):
            if reference in by_name and reference not in ordered:
                place(by_name[reference])
        ordered.setdefault((asset.kind, asset.name), asset)

    for asset in assets:
        place(asset)
    return list(ordered.values())


def apply(account: Account, changes: Sequence[Change]) -> Iterator[Change]:
    """Carry out a plan, giving each change as it is done.

    What fails is reported and the rest goes on, but for what refers to it. Repeat the push to finish.
    """
    ids: dict[tuple[str, str], Id] = {}
    for change in changes:
        asset = change.asset
        missing = sorted(reference for reference in asset.references() if reference not in ids)
        if change.action in ("create", "update") and missing:
            needed = ", ".join(f"{kind} {name}" for kind, name in missing)
            yield Change(asset, "skipped", change.id, problem=f"needs {needed}")
            continue
        done = _carried_out(account, change, ids)
        if done.id is not None and done.action not in ("failed", "conflict"):
            ids[asset.kind, asset.name] = done.id
        yield done


def _carried_out(account: Account, change: Change, ids: dict[tuple[str, str], Id]) -> Change:
    if change.action not in ("create", "update"):
        return change
    asset, path = change.asset, PATHS[change.asset.kind]
    document = resolved(asset.document, ids)
    try:
        if change.action == "create":
            answer = account.request("POST", path, document)
        else:
            answer = account.request("PUT", f"{path}/{change.id}", document)
    except AccountError as error:
        if error.status == 409:
            return Change(asset, "conflict", change.id, problem=str(error))
        return Change(asset, "failed", change.id, problem=str(error))
    if asset.kind == "slo":
        answer = answer["data"][0]
    return Change(asset, change.action, answer["id"], change.differences)


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Give the paths at which an account differs from our document; what only the account has does not count."""
    if path == "type" and {ours, theirs} <= SAME_TYPE:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from differences(value, theirs.get(key), f"{path}.{key}" if path else key)
    elif isinstance(ours, list) and isinstance(theirs, list):
        if path.endswith("tags"):
            if sorted(ours) != sorted(theirs):
                yield path
        elif len(ours) != len(theirs):
            yield path
        else:
            for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from differences(one, other, f"{path}[{index}]")
    elif ours != theirs and not (ours in ([], "") and theirs is None):
        yield path


def symbolised(document: Json, ids: dict[tuple[str, str], Id]) -> Json:
    """Put symbols back in the place of ids, so that what was pulled can be compared with the files."""
    by_id = {str(id): f"${{{kind}:{name}}}" for (kind, name), id in ids.items()}
    pattern = re.compile("|".join(rf"\b{re.escape(id)}\b" for id in by_id)) if by_id else None

    def fill(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: fill(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [fill(item, key) for item in value]
        if key == "monitor_ids":
            return by_id.get(str(value), value)
        if isinstance(value, str) and pattern and key in ("query", "slo_id", "alert_id"):
            return pattern.sub(lambda found: by_id[found[0]], value)
        return value

    filled: Json = fill(document)
    return filled
