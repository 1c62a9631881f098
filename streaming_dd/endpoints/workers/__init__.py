"""What the workers of one server say together, whichever of them is asked: `Workers`.

`series` has this worker's numbers, `state` puts them into bytes, `totals` adds up, `together` asks the siblings
(process/siblings). State: a `Workers` and a `Series` for each recorder.
"""

from __future__ import annotations

from .series import Series
from .state import Name, metric_of
from .together import FRESH, Whole, Workers, no_worker
from .totals import Point, Total

__all__ = ["FRESH", "Name", "Point", "Series", "Total", "Whole", "Workers", "metric_of", "no_worker"]
