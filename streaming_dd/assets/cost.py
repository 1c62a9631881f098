"""`streaming-dd assets cost`: what Datadog would charge for the metrics that the local agent received. No state."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from ..errors import AssetError

Json = dict[str, Any]
AGENT = "http://127.0.0.1:8181"


def fetch_bill(url: str) -> Json:
    """Ask the local agent for the bill. Raises AssetError saying what to do where it does not answer."""
    if not url.startswith(("http://", "https://")):
        raise AssetError(f"{url!r}: write the address of the local agent's page, such as {AGENT}")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/bill", timeout=10) as answer:
            found = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise AssetError(
            f"{url} gives no bill ({error}): is it the page of a running `streaming-dd agent`? Run your application "
            "there for a while first; what it sends is what is counted"
        ) from None
    if not isinstance(found, dict) or "billed" not in found:
        raise AssetError(f"{url} gives no bill: is it the page of a running `streaming-dd agent`?")
    return found


def render_bill(found: Json, top: int) -> str:
    """Write the bill in words: how many, by metric, which tag makes most of them, what would save some."""
    rows = found["metrics"]
    if not rows:
        return "No metric was received in the last hour: there is nothing to go by."
    lines = [
        f"{found['billed']} billed custom metrics in the last hour, from {found['hosts']} host"
        f"{'s' * (found['hosts'] != 1)}; each further host brings about as many again.",
        "",
        f"{'metric':<44} {'billed':>7} {'combinations':>13}  without its dearest tag",
    ]
    for row in rows[:top]:
        tag, saved = next(iter(row["without_tag"].items()), ("", 0))
        saving = f"-{saved} without {tag}" if tag else ""
        lines.append(f"{row['name']:<44} {row['billed']:>7} {row['combinations']:>13}  {saving}".rstrip())
    if len(rows) > top:
        rest = sum(row["billed"] for row in rows[top:])
        lines.append(f"{f'{len(rows) - top} more':<44} {rest:>7}")
    lines.append("")
    dearest = [f"{tag} -{saved}" for tag, saved in list(found["tags"].items())[:5]]
    if dearest:
        lines.append(
            f"Tags that make most of them, and what leaving each out would save: {', '.join(dearest)}."
        )
    if found["percentiles"]:
        lines.append(
            f"Percentiles: -{found['percentiles']} without them, and p95 could not be asked for. STREAMING_TIMERS=timer "
            "costs half as well, and its percentiles hold for one series alone."
        )
    first = rows[0]
    lines += [f"Leaving {first['name']} out would save {first['billed']}.", f"The rule: {found['rule']}"]
    return "\n".join(lines)
