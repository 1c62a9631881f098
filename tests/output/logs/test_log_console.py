"""What people read on a terminal: the same lines, in another form, and only there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_helpers import messages, run_script

from streaming_dd.output.logs.console import links_shown, readable

SCRIPT = """
from loguru import logger
from streaming_dd import logs
logs.configure(service="shop")
logger.bind(row=17).info("written")
try:
    {}["missing"]
except KeyError:
    logger.exception("failed")
"""


def on_a_terminal(code: str = SCRIPT, **environment: str) -> str:
    """Run the script with a terminal as its standard output, and return what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    os.close(theirs)
    got = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        got += piece
    _, errors = process.communicate(timeout=200)
    os.close(ours)
    assert process.returncode == 0, errors
    return got.decode().replace("\r\n", "\n")


@pytest.mark.process
def test_a_terminal_gets_lines_for_people() -> None:
    """Time, level, message, fields and the stack over several lines; in colours, unless NO_COLOR is set."""
    text = on_a_terminal(NO_COLOR="1")
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} INFO     written row=17 __main__\n", text), text
    assert "ERROR    failed" in text
    assert "\n    KeyError: 'missing'\n" in text
    assert "\x1b[" not in text
    assert "\x1b[31m" in on_a_terminal(NO_COLOR="")


@pytest.mark.process
def test_json_where_it_is_asked_for_or_no_terminal() -> None:
    """A pipe gets JSON; so does a terminal with STREAMING_LOG_FORMAT=json; `console` is for pipes as well."""
    assert messages(run_script(SCRIPT).stdout) == ["written", "failed"]
    lines = on_a_terminal(STREAMING_LOG_FORMAT="json").splitlines()
    assert [orjson.loads(line)["message"] for line in lines] == ["written", "failed"]
    forced = run_script(SCRIPT, env={**os.environ, "STREAMING_LOG_FORMAT": "console", "NO_COLOR": "1"})
    assert b"INFO     written row=17" in forced.stdout


TRACED = """
import streaming_dd as dd
from streaming_dd import timers
import asyncio
dd.configure(service="shop", metrics_enabled=False)
@timers.task("reports.export")
async def export(): pass
asyncio.run(export())
"""
PAGE = "http://127.0.0.1:8181/traces/"
LINK = re.compile(
    r"\x1b\]8;;http://127\.0\.0\.1:8181/traces/([0-9a-f]{32})\x1b\\trace ([0-9a-f]{8})\x1b\]8;;\x1b\\"
)


@pytest.mark.process
def test_a_trace_is_a_link_in_terminals_that_show_links() -> None:
    """The end of its id is shown, the whole leads to the agent's page; elsewhere, and in files and pipes, it is text."""
    able = {
        "TERM_PROGRAM": "WezTerm",
        "STREAMING_LOG_TRACE_URL": PAGE,
        "FORCE_HYPERLINK": "",
        "NO_COLOR": "",
        "STREAMING_LOOP_BLOCK": "0",  # the line of a block, on a slow machine, would have a link, too
    }
    links = LINK.findall(on_a_terminal(TRACED, **able))
    assert len(links) == 2
    assert all(trace_id.endswith(shown) for trace_id, shown in links)
    for unable in (
        {"TERM_PROGRAM": "Apple_Terminal", "TERM": "xterm-256color", "VTE_VERSION": "", "WT_SESSION": ""},
        {"FORCE_HYPERLINK": "0"},
        {"NO_COLOR": "1"},
        {"STREAMING_LOG_TRACE_URL": ""},
    ):
        text = on_a_terminal(TRACED, **{**able, **unable})
        assert "trace " in text
        assert "\x1b]" not in text
    piped = run_script(TRACED, env={**os.environ, **able, "STREAMING_LOG_FORMAT": "console"})
    assert b"trace " in piped.stdout
    assert b"\x1b]" not in piped.stdout


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"TERM_PROGRAM": "vscode"}, True),
        ({"TERM": "xterm-kitty"}, True),
        ({"VTE_VERSION": "7603"}, True),
        ({"VTE_VERSION": "4602"}, False),
        ({"WT_SESSION": "8d3f"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "screen", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM_PROGRAM": "vscode", "FORCE_HYPERLINK": "0"}, False),
        ({}, False),
    ],
)
def test_terminals_that_show_links_are_known_by_their_variables(environ: dict[str, str], shown: bool) -> None:
    """One that is not known gets text: what it cannot read would stand there as rubbish."""
    assert links_shown(environ) is shown


@given(st.binary() | st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63)).map(orjson.dumps))
def test_whatever_the_line_something_is_shown(line: bytes) -> None:
    """A line that is none of ours is shown as it is; nothing raises."""
    assert isinstance(readable(line), str)


@given(st.text())
def test_a_message_cannot_steer_the_terminal(text: str) -> None:
    """Control characters are shown, not sent."""
    line = {"timestamp": "2026-01-01T00:00:00.000Z", "status": "info", "message": text, text: text}
    shown = readable(orjson.dumps(line), colours=False)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


def test_where_the_loop_was_held_is_told_by_the_applications_own_frames() -> None:
    """Of a stack that is no error's only frames of the application are shown; with none there is nothing but the line."""
    library = (
        '  File "/venv/lib/python3.12/site-packages/starlette/routing.py", line 7, in app\n    await x\n'
    )
    own = '  File "/srv/shop/app.py", line 15, in export\n    parse(rows)\n'
    fields = {"timestamp": "2026-11-23T18:34:08.601Z", "status": "warning", "message": "event loop held"}
    held = readable(orjson.dumps({**fields, "loop.stack": library + own + library}), colours=False)
    assert held.split("\n")[1:] == [
        '      File "/srv/shop/app.py", line 15, in export',
        "        parse(rows)",
    ]
    assert "\n" not in readable(orjson.dumps({**fields, "loop.stack": library}), colours=False)
