"""`streaming-dd demo`: the example project, real clients and the local agent, for those who installed the package. No state.

The example is the checkout's `examples/`; the wheel carries a copy.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ..errors import StreamingDDError

_PACKAGED: Final = Path(__file__).parents[1] / "shipped_examples"
_CHECKOUT: Final = Path(__file__).parents[2]
#: What the example and its clients need beside the package: the extra `demo`.
_NEEDED: Final = (
    "django",
    "httpx",
    "httpx_sse",
    "lark",
    "msgspec",
    "uvicorn",
    "uvloop",
    "websockets",
    "yaml",
)


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="run the example, a local agent and real clients: no account, no Docker",
        epilog="example: streaming-dd demo --seconds 20",
    )
    parser.add_argument("--seconds", type=float, help="stop after so many seconds and check what arrived")
    parser.add_argument("--port-offset", type=int, default=0, metavar="N", help="add this to every port")
    parser.set_defaults(handler=_run)


def _run(options: argparse.Namespace) -> int:
    home = next((path for path in (_PACKAGED, _CHECKOUT) if (path / "examples/demo").is_dir()), None)
    if home is None:
        raise StreamingDDError(
            "the example is not in this installation: install the wheel, or use a checkout"
        )
    _require()
    sys.path.insert(0, str(home))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(home), os.environ.get("PYTHONPATH"))))
    seconds = [] if options.seconds is None else ["--seconds", str(options.seconds)]
    arguments = [*seconds, "--port-offset", str(options.port_offset)]
    return int(import_module("examples.demo.__main__").main(arguments))


def _require() -> None:
    missing = []
    for name in _NEEDED:
        try:
            import_module(name)
        except ModuleNotFoundError:
            missing.append(name)
    if missing:
        raise StreamingDDError(f"{', '.join(missing)} not installed: pip install 'streaming-dd[demo]'")
