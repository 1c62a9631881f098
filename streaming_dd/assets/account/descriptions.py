"""Bring the metrics of an account up to date: unit, type, description, percentiles. No state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import AccountError
from ..files.metadata import metadata
from ..options import Options
from .client import Account

Json = dict[str, Any]


def push_metadata(account: Account, options: Options, *, dry_run: bool) -> Iterator[str]:
    """Bring the metrics' type, unit and description up to date, and their percentiles; give a line for each change."""
    for row in metadata(options):
        name = row["metric_name"]
        wanted = {
            "type": row["metric_type"],
            "description": row["description"],
            "short_name": row["short_name"],
        }
        if row["unit_name"]:
            wanted["unit"] = row["unit_name"]
        if row["metric_type"] == "distribution":
            del wanted["type"]  # the account knows, and refuses to be told
        try:
            yield from _describe(account, name, wanted, dry_run)
            if row["metric_type"] == "distribution":
                yield from _percentiles(account, name, dry_run)
        except AccountError as error:
            yield f"failed    metric    {name}: {error}"


def _describe(account: Account, name: str, wanted: Json, dry_run: bool) -> Iterator[str]:
    there = account.request("GET", f"metrics/{name}", missing_ok=True)
    if there is None:
        yield f"skipped   metric    {name}: not received yet; push again when the application has sent it"
        return
    changed = [key for key, value in wanted.items() if there.get(key) != value]
    if not changed:
        return
    if not dry_run:
        account.request("PUT", f"metrics/{name}", wanted)
    yield f"update    metric    {name}: {', '.join(changed)}"


def _percentiles(account: Account, name: str, dry_run: bool) -> Iterator[str]:
    """Let `p95:` be asked of a distribution; without it Datadog answers with nothing, and no error."""
    path = f"metrics/{name}/tags"
    there = account.request("GET", path, version="v2", missing_ok=True)
    attributes = (there or {}).get("data", {}).get("attributes", {})
    if attributes.get("include_percentiles"):
        return
    if not dry_run:
        wanted: Json = {"include_percentiles": True}
        if there is None:  # every tag stays queryable
            wanted |= {"metric_type": "distribution", "tags": [], "exclude_tags_mode": True}
        body = {"data": {"type": "manage_tags", "id": name, "attributes": wanted}}
        account.request("POST" if there is None else "PATCH", path, body, version="v2")
    yield f"update    metric    {name}: percentiles"
