"""The workers of one server on one host, and how any of them answers for all.

`siblings.py` is the way in; the endpoints bring what is said. State: files and sockets in the user's private folder, one
folder for each service and master, and a `Siblings` in each worker.
"""

from __future__ import annotations

from .siblings import Answers, Siblings, Silent

__all__ = ["Answers", "Siblings", "Silent"]
