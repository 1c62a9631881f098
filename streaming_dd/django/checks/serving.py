"""Tells of a server that does not end open streams, as far as this process or its environment names it. No state."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

from ...process.servers import without_end

_ID: Final = "streaming_dd.W013"
#: What the variables of a server begin with.
_VARIABLES: Final = {"gunicorn": "GUNICORN_CMD_ARGS", "uvicorn": "UVICORN_", "granian": "GRANIAN_"}


def server_ends_streams(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W013: the server waits for open streams without a limit, or until it is killed."""
    named = [
        [server]
        for server, prefix in _VARIABLES.items()
        if any(variable.startswith(prefix) for variable in os.environ)
    ]
    for arguments in (sys.orig_argv, *named):
        endless = without_end(arguments, os.environ)
        if endless is not None:
            problem, fix = endless
            hint = (
                f"Set {fix}. What each server does with open streams is in streaming-dd's docs/shutdown.md."
            )
            return [CheckWarning(f"{problem}: a deployment takes until then.", hint=hint, id=_ID)]
    return []
