"""Where everything goes while a test captures it, in place of an Agent. No state; the one in force is the recorder's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .logs.destinations import Destination
from .metrics import Sender


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a test has everything go, and the settings that win over every other meanwhile."""

    settings: Mapping[str, Any]
    sender: Sender | None = None
    log_destination: Destination | None = None
