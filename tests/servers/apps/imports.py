"""An observed application that tells which modules are loaded and which sockets are open in its process."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading

from observed_starlette_site import app, site
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["app"]


def sockets():
    """The peers of the process' connected sockets, and the addresses of its UDP and unix sockets."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            opened = socket.socket(fileno=os.dup(number))
        except OSError:  # the descriptor of the listing itself
            continue
        with opened:
            try:
                found.append(str(opened.getpeername()))
            except OSError:
                continue
    return found


async def loaded(request):
    doors = ("ddtrace", "datadog", "loguru", "streaming_dd")
    return JSONResponse(
        {
            "modules": [name for name in doors if name in sys.modules],
            "sockets": sockets(),
            "threads": sorted(thread.name for thread in threading.enumerate()),
        }
    )


site.router.routes.append(Route("/loaded", loaded))
