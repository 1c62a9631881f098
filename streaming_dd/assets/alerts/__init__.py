"""The monitors as a table: what each looks at, what it means, what to do first. No state.

`monitors.py` makes Datadog's JSON of a row (`row.py`); a module here for each kind of thing that is looked at. A row's
missing-data policy is chosen on purpose and said beside it; its thresholds are the options'. In `means`, `{value}` stands
for the value with its unit and the threshold that it passed.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import streams, tasks, traffic, workers
from .row import Alert

ALERTS: Mapping[str, Alert] = {**traffic.ALERTS, **tasks.ALERTS, **streams.ALERTS, **workers.ALERTS}

__all__ = ["ALERTS", "Alert"]
