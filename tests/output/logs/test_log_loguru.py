"""Living with a user's own loguru: sinks, patchers, `remove()`, context, and lines logged within lines."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import io
import logging
import signal
import subprocess
import sys
import threading
import time

import pytest
from log_helpers import messages, read_lines, run_script
from loguru import logger


@pytest.fixture(autouse=True)
def _loguru_as_it_was():
    """Give loguru back its patcher and extra."""
    yield
    logger.configure(patcher=lambda record: None, extra={})


def test_a_users_own_sink_survives(start, lines):
    """Sinks added before and after ours get every line, formatted their way, and stay when ours goes."""
    before, after = io.StringIO(), io.StringIO()
    first = logger.add(before, format="{level} {message}")
    logs = start()
    second = logger.add(after, format="{message}", serialize=True)
    logger.info("one")
    assert logs.stop(60)
    logger.info("two")
    logger.remove(first)
    logger.remove(second)
    assert before.getvalue() == "INFO one\nINFO two\n"
    assert after.getvalue().count('"text": ') == 2
    assert [line["message"] for line in lines()] == ["one"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_users_patcher_survives(start, lines, when):
    """A patcher set before or after our start runs, and what it adds is on the line."""

    def patch(record):
        record["extra"]["tenant"] = "t1"

    if when == "before":
        logger.configure(patcher=patch)
    logs = start(correlation=lambda: ("1", "2"))
    if when == "after":
        logger.configure(patcher=patch)
    logger.info("x")
    assert logs.stop(60)
    (line,) = lines()
    assert (line["tenant"], line["dd.trace_id"]) == ("t1", "1")


@pytest.mark.parametrize(
    "clear",
    [logger.remove, lambda: logger.configure(handlers=[{"sink": io.StringIO()}])],
    ids=["remove", "configure"],
)
def test_our_handler_comes_back_after_a_users_remove(start, lines, clear):
    """`logger.remove()`, which everybody calls before adding a sink of his own, does not end the JSON lines."""
    logs = start()
    clear()
    logger.info("still here")  # the very next line, too
    logs.refresh_bridge()
    logger.info("once")
    assert logs.stop(60)
    logger.info("gone")
    assert [line["message"] for line in lines()] == ["still here", "once"]


@pytest.mark.process
def test_loguru_default_handler_is_muted_while_lines_go_somewhere():
    """With a file alone a line is not written to standard error, too; after stop loguru speaks again; `remove(0)` works."""
    code = """
import sys
from loguru import logger
from streaming_dd import logs
logs.configure(stdout=False, path=sys.argv[1]); logger.info("to the file")
logs.configure(stdout=True); logger.info("ours"); logger.debug("too low")
logs.current().stop(60)
logger.debug("theirs again")
logs.configure(stdout=True)
logger.remove(0)
logger.info("ours once more")
logs.current().stop(60)
logger.info("nobody's")
"""
    result = run_script(code, "/dev/null")
    assert messages(result.stdout) == ["ours", "ours once more"], result.stderr
    said = [line.rsplit(" - ", 1)[1] for line in result.stderr.decode().splitlines()]
    assert said == ["theirs again"]


@pytest.mark.process
def test_a_users_first_handler_is_not_taken_for_the_default_one():
    """With LOGURU_AUTOINIT off the user's own sink has id 0: it keeps writing."""
    code = """
import os
os.environ["LOGURU_AUTOINIT"] = "0"
import sys
from loguru import logger
logger.add(sys.stderr, format="mine {message}")
from streaming_dd import logs
logs.configure()
logger.info("x")
"""
    result = run_script(code)
    assert result.stderr == b"mine x\n"
    assert messages(result.stdout) == ["x"]


def test_bound_and_contextual_fields_are_on_the_line(start, lines):
    """`bind`, `contextualize` and keyword arguments all become flat fields."""
    logs = start()
    with logger.contextualize(task_key="a:b:1"):
        logger.bind(user="joe").info("{n} rows", n=3)
    assert logs.stop(60)
    (line,) = lines()
    assert (line["task_key"], line["user"], line["n"], line["message"]) == ("a:b:1", "joe", 3, "3 rows")


def test_ids_are_those_of_the_context_that_logs(start, lines):
    """Concurrent tasks and threads each get their own ids on their lines, from loguru and the standard library."""
    current = contextvars.ContextVar("current", default=("0", "0"))
    logs = start(correlation=current.get)

    async def work(number):
        current.set((f"trace{number}", f"span{number}"))
        for _ in range(5):
            await asyncio.sleep(0)
            logger.bind(number=number).info("x")

    async def main():
        await asyncio.gather(*(work(number) for number in range(20)))
        await asyncio.to_thread(work_in_thread)

    def work_in_thread():
        current.set(("trace99", "span99"))
        logger.bind(number=99).info("x")

    asyncio.run(main())
    assert logs.stop(60)
    found = lines()
    assert len(found) == 101
    assert all(line["dd.trace_id"] == f"trace{line['number']}" for line in found)
    assert all(line["dd.span_id"] == f"span{line['number']}" for line in found)


def test_correlation_that_raises_costs_no_line(start, lines, caplog):
    """A fault in the tracer costs the line its ids, not the line, and is said once."""

    def correlation():
        raise RuntimeError("tracer broke")

    logs = start(correlation=correlation, log_bridge=False)
    logger.info("x")
    logs.emit({"message": "y"})
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == ["x", "y"]
    assert caplog.text.count("without trace ids") == 1


def test_a_line_logged_while_a_line_is_rendered_is_written(start, lines):
    """A value whose text itself logs does not deadlock and is not an error: both lines are written."""

    class Chatty:
        def __str__(self):
            logger.info("inner")
            return "chatty"

    logs = start()
    logger.bind(value=Chatty()).info("outer")
    assert logs.stop(60)
    assert sorted(line["message"] for line in lines()) == ["inner", "outer"]


def test_threads_that_log_at_once_lose_nothing(start, lines):
    """Many threads logging at once: every line arrives once, each thread's in order."""
    logs = start(log_queue=100_000)

    def work(number):
        for count in range(500):
            logger.bind(thread=number, count=count).info("x")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logs.stop(60)
    found = lines()
    for number in range(8):
        assert [line["count"] for line in found if line["thread"] == number] == list(range(500))


@pytest.mark.slow
def test_logging_in_a_signal_handler_does_not_deadlock(start, lines):
    """A signal handler that logs while the interrupted code logs: nothing hangs, every line arrives."""
    logs = start(log_queue=100_000)
    handled = []
    going_on = True

    def handler(_number, _frame):
        handled.append(1)
        logger.info("signal")
        if going_on:
            signal.setitimer(signal.ITIMER_REAL, 0.002)  # one after the other, however slow the machine is

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    sent = 0
    try:
        deadline = time.monotonic() + 100
        while len(handled) < 50 and time.monotonic() < deadline:
            logs.emit({"message": "work"})
            sent += 1
            if sent % 20_000 == 0:  # more than the queue holds on a machine that is late with its signals
                assert logs.flush(60)
    finally:
        going_on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)  # calls the handler of one that has just come
    assert logs.stop(60)
    found = [line["message"] for line in lines()]
    assert found.count("work") == sent
    assert found.count("signal") == len(handled) >= 50


def test_nothing_is_touched_when_logs_are_off(start):
    """With STREAMING_LOGS_ENABLED=False, or everything off, neither loguru nor the standard library changes."""
    handlers = dict(logger._core.handlers)
    root = list(logging.getLogger().handlers)
    for setting in ("logs_enabled", "enabled"):
        logs = start(**{setting: False})
        assert logger._core.handlers == handlers
        assert logging.getLogger().handlers == root
        logs.emit({"message": "x"})
        logs.write(b"{}")
        logs.refresh_bridge()
        assert logs.flush(1)
        assert logs.stop(1)
        assert logs.dropped == {}


@pytest.mark.process
def test_a_logger_is_handed_to_a_spawned_process(tmp_path):
    """A logger passed on to another process writes there what it would have written here, to the same file."""
    script = tmp_path / "spawning.py"
    script.write_text("""
import multiprocessing, pickle, sys
from loguru import logger
from streaming_dd import logs

def child(passed, again):
    passed.bind(part=1).info("from the child")
    pickle.loads(again).info("from a child's child")

if __name__ == "__main__":
    logger.remove()
    logs.configure(stdout=False, path=sys.argv[1], service="reports")
    process = multiprocessing.get_context("spawn").Process(target=child, args=(logger, pickle.dumps(logger)))
    process.start(); process.join(200)
    sys.exit(process.exitcode)
""")
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "app.log")],
        capture_output=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    said = read_lines(tmp_path / "app.log")
    assert [(line["message"], line["service"]) for line in said] == [
        ("from the child", "reports"),
        ("from a child's child", "reports"),
    ]


def test_a_copied_logger_writes_once(start, lines):
    """`copy.deepcopy(logger)`, loguru's way to independent handlers, neither fails nor doubles lines."""
    logger.remove()
    logs = start()
    copied = copy.deepcopy(logger)
    copied.info("by the copy")
    logger.info("by the original")
    copied.remove()
    logger.info("once more")
    logs.refresh_bridge()
    logger.info("still once")
    assert logs.stop(60)
    copied.info("ended")
    assert [line["message"] for line in lines()] == [
        "by the copy",
        "by the original",
        "once more",
        "still once",
    ]


def test_no_line_is_lost_after_a_remove(start, lines):
    """The line that follows `logger.remove()` or `logger.configure()` is written, each time."""
    logs = start()
    for number in range(20):
        logger.remove()
        logger.info("removed {}", number)
        logger.configure(handlers=[])
        logger.info("configured {}", number)
    assert logs.stop(60)
    assert len(lines()) == 40
    assert logs.dropped == {}
