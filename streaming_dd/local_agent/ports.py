"""The ports that the local agent listens on unless it is told otherwise: no state, and nothing that an extra brings."""

from __future__ import annotations

from typing import Final

DOGSTATSD: Final = 8125
TRACES: Final = 8126
LOGS: Final = 10518
PAGE: Final = 8181
