"""Ports for programs that must be told theirs before they listen: no port that the system gives to whoever asks for any.

A port that was asked for and let go again is soon somebody else's where many tests open connections at the same time.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: The system gives ports from 32768 on (Linux) or 49152 on; the tests of the demo take some from 18125 on.
_PORTS = range(11_000, 18_000)
#: Other workers, and other runs, choose at the same time: a lock on the byte of its number keeps a port for this process
#: from the choice until it ends, whether somebody listens yet or has listened.
_LOCKS = os.open(
    Path(tempfile.gettempdir()) / f"streaming_dd_ports_of_tests_{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600
)
_given: set[int] = set()


def free_port() -> int:
    """Return a port that is free for TCP and UDP, and is given to nobody who asks for any port, nor by us again."""
    chance = random.SystemRandom()
    for _ in range(1000):
        port = chance.choice(_PORTS)
        if port in _given:
            continue
        try:
            fcntl.lockf(_LOCKS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        _given.add(port)
        return port
    raise AssertionError("no port is free")
