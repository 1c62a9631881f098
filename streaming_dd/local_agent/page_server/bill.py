"""What Datadog would charge for the metrics that came: how many, what makes them, what would save some. No state.

The rule (docs.datadoghq.com/account_management/billing/custom_metrics): a custom metric is a name with one combination
of tag values, the host among them, seen in an hour. A distribution counts five times for each combination (count, sum,
min, max, avg), and five times more with percentiles; of a timer or histogram each aggregate of the Agent is a metric of
its own. `trace.*` metrics belong to APM and are not billed as custom ones. The page's table says so: 5 x combinations, and
2 x 5 with percentiles. Contracts by metric name (billing/metric_name_pricing) count names and points instead: not this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..store.points import Tags
from ..store.series import Store

RULE = "https://docs.datadoghq.com/account_management/billing/custom_metrics/"
HOUR = 3600
PLAIN, PERCENTILES = 5, 5
"""How often a combination of a distribution counts, and how often more with percentiles."""


def bill(store: Store, now: float) -> dict[str, Any]:
    """Return the billed custom metrics of the last hour, by metric, dearest first, and what each tag costs."""
    rows = []
    by_tag: Counter[str] = Counter()
    for name in store.names():
        if name.startswith("trace."):
            continue
        series = store.seen(name, now - HOUR)
        combinations = {tags for tags, _ in series}
        if not combinations:
            continue
        distribution = any(kind == "distribution" for _, kind in series)
        each = PLAIN + PERCENTILES if distribution else 1
        savings = _savings(combinations, each)
        by_tag.update(savings)
        rows.append(
            {
                "name": name,
                "kind": series[0][1],
                "combinations": len(combinations),
                "billed": len(combinations) * each,
                "without_tag": dict(sorted(savings.items(), key=lambda item: -item[1])),
                "without_percentiles": len(combinations) * PERCENTILES if distribution else 0,
            }
        )
    rows.sort(key=lambda row: (-int(str(row["billed"])), str(row["name"])))
    hosts = {tag for name in store.names() for tag in _hosts(store, name, now)}
    return {
        "billed": sum(int(str(row["billed"])) for row in rows),
        "percentiles": sum(int(str(row["without_percentiles"])) for row in rows),
        "hosts": len(hosts),
        "tags": dict(by_tag.most_common()),
        "metrics": rows,
        "rule": RULE,
    }


def _savings(combinations: set[Tags], each: int) -> dict[str, int]:
    """Return how many billed metrics fewer there would be without each tag key that saves any."""
    keys = {tag.partition(":")[0] for tags in combinations for tag in tags}
    found = {}
    for key in sorted(keys):
        left = {_without(tags, key) for tags in combinations}
        if len(left) < len(combinations):
            found[key] = (len(combinations) - len(left)) * each
    return found


def _without(tags: Tags, key: str) -> frozenset[str]:
    return frozenset(tag for tag in tags if tag.partition(":")[0] != key)


def _hosts(store: Store, name: str, now: float) -> Sequence[str]:
    return [tag for tags, _ in store.seen(name, now - HOUR) for tag in tags if tag.startswith("host:")]
