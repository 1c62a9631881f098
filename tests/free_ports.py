"""Ports for programs that must be told theirs before they listen: no port that the system gives to whoever asks for any.

A port that was asked for and let go again is soon somebody else's where many tests open connections at the same time.
"""

from __future__ import annotations

import random
import socket

#: The system gives ports from 32768 on (Linux) or 49152 on; the tests of the demo take some from 18125 on.
_PORTS = range(11_000, 18_000)


def free_port() -> int:
    """Return a port that is free for TCP and UDP, and is given to nobody who asks for any port."""
    chance = random.SystemRandom()
    for _ in range(1000):
        port = chance.choice(_PORTS)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")
