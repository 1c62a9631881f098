"""How many servers are needed: what was measured (sources), what follows from it (plan), and the command. No state."""

from __future__ import annotations

from .plan import Plan, Server, make_plan
from .window import Window

__all__ = ["Plan", "Server", "Window", "make_plan"]
