"""Standard output: whole lines, also through a shared, slow, broken or missing one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys

import pytest
from log_helpers import messages, parse_lines, run_script, wait_until

from streaming_dd.output.logs import feedback
from streaming_dd.output.logs.stdout import Stdout


def test_a_stream_without_a_descriptor_is_written_to(capsys):
    """Where standard output is an object of somebody's (a test's capture, a notebook), lines go there."""
    own = io.StringIO()
    destination = Stdout(100, own)
    destination.put('{"message":"é"}'.encode())
    assert destination.stop(60)
    assert own.getvalue() == '{"message":"é"}\n'


def test_a_missing_stdout_is_no_error(start, monkeypatch):
    """Without a standard output (a daemon, pythonw) lines go to the other destinations."""
    monkeypatch.setattr(sys, "stdout", None)
    logs = start(log_stdout=True)
    logs.emit({"message": "x"})
    assert logs.stop(60)
    assert logs.dropped == {}


@pytest.mark.process
def test_lines_and_prints_do_not_mix(tmp_path):
    """Lines are whole beside what the app prints."""
    code = """
from loguru import logger
from streaming_dd import logs
logs.configure()
for number in range(300):
    print("printed", flush=True)
    logger.info("{}", number)
"""
    result = run_script(code)
    lines = result.stdout.split(b"\n")
    assert lines.count(b"printed") == 300
    assert messages(b"\n".join(line for line in lines if line != b"printed")) == [str(n) for n in range(300)]


@pytest.mark.process
def test_several_workers_on_one_pipe_do_not_mix_lines():
    """Workers that share a pipe with a slow reader: every line arrives whole."""
    code = """
import sys
from loguru import logger
from streaming_dd import logs
logs.configure()
for number in range(2000):
    logger.bind(worker=sys.argv[1], padding="x" * (number % 700)).info("{}", number)
assert logs.current().stop(60)
"""
    reader, writer = os.pipe()
    workers = [subprocess.Popen([sys.executable, "-c", code, name], stdout=writer) for name in "ab"]
    os.close(writer)
    with open(reader, "rb") as pipe:
        lines = parse_lines(pipe.read())
    assert [worker.wait(200) for worker in workers] == [0, 0]
    for name in "ab":
        assert [line["message"] for line in lines if line["worker"] == name] == [str(n) for n in range(2000)]


@pytest.mark.process
def test_a_reader_that_went_away_is_no_error_of_the_app():
    """Closing the other end of the pipe drops lines, and neither raises nor changes how the app ends."""
    code = """
import sys
from loguru import logger
from streaming_dd import logs
current = logs.configure()
sys.stdin.readline()
for number in range(50):
    logger.info("x" * 1000)
print(current.stop(60), current.dropped, file=sys.stderr)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(200) == 0
    assert b"'write_failed': 5" in said


@pytest.mark.process
def test_a_stuck_reader_holds_neither_the_app_nor_its_exit():
    """Nobody reads the pipe: the app goes on, lines wait and are dropped, the exit keeps its time."""
    code = """
import sys, time
from loguru import logger
from streaming_dd import logs
current = logs.configure()
for number in range(20000):
    logger.info("x" * 500)
print("going on", file=sys.stderr, flush=True)
began = time.monotonic()
print(current.stop(0.5), time.monotonic() - began < 30, current.dropped["queue_full"] > 5000, file=sys.stderr)
"""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(200) == 0
    os.close(reader)
    assert said.endswith(b"going on\nFalse True True\n"), said


@pytest.mark.process
def test_a_stuck_reader_takes_no_time_from_the_file(tmp_path):
    """Standard output that nobody reads does not keep the file's lines from being written at the end."""
    code = """
import sys
from loguru import logger
from streaming_dd import logs
current = logs.configure(path=sys.argv[1])
for number in range(2000):
    logger.info("x" * 500)
print(current.stop(5.0), file=sys.stderr)
"""
    path = tmp_path / "app.log"
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(200) == 0
    os.close(reader)
    assert said == b"False\n"
    assert len(messages(path.read_bytes())) >= 2000


def test_a_pipe_somebody_made_non_blocking_loses_nothing(monkeypatch):
    """asyncio makes pipes non-blocking: what does not fit at once is written when there is room."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(writer, "w") as stream, open(reader, "rb") as pipe:
        destination = Stdout(100_000, stream)
        for number in range(1000):
            destination.put(b"%04d" % number + b"x" * 1000)
        received = b""
        while received.count(b"\n") < 1000:
            received += pipe.read1(65536)
        assert [line[:4] for line in received.splitlines()] == [b"%04d" % number for number in range(1000)]
        assert destination.stop(60)


@pytest.mark.process
def test_lines_reach_stdout_by_themselves():
    """A line is on standard output within a moment, without flush, stop or exit."""
    code = """
import time
from loguru import logger
from streaming_dd import logs
logs.configure()
logger.info("hello")
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with contextlib.closing(process.stdout):
        assert messages(process.stdout.readline()) == ["hello"]
        process.kill()
        process.wait(200)


def test_an_urgent_line_does_not_wait_for_others(monkeypatch):
    """An error is written at once; an ordinary line waits for others to be written with it."""
    monkeypatch.setattr("streaming_dd.output.logs.destinations.BATCH_DELAY", 3600.0)
    own = io.StringIO()
    destination = Stdout(100, own)
    destination.put(b"ordinary")
    destination.put(b"error", urgent=True)
    wait_until(lambda: own.getvalue() == "ordinary\nerror\n", 60)
    assert destination.stop(60)


#: Ways to make a logger of standard output, as people write them; `join` returns when everything is logged.
REDIRECTORS = """
import logging, queue, sys, threading, loguru
from collections import deque
from streaming_dd import logs

class Shown:  # its logger is a member of it: Celery's LoggingProxy and most others
    def __init__(self):
        self.logger = logging.getLogger("redirected")
    def write(self, text):
        for line in text.rstrip().splitlines():
            self.log(line)
    def log(self, line):
        self.logger.warning(line)
    def flush(self):
        pass
    def join(self):
        pass

class Hidden(Shown):
    def __init__(self):
        pass
    def log(self, line):
        logging.getLogger("redirected").warning(line)

class Loguru(Hidden):
    def log(self, line):
        loguru.logger.warning("{}", line)

class Later(Hidden):  # another thread logs, with something before the line
    def __init__(self):
        self.lines = queue.Queue()
        threading.Thread(target=self.go_on, daemon=True).start()
    def go_on(self):
        while True:
            logging.getLogger("redirected").warning("stdout: %s", self.lines.get())
            self.lines.task_done()
    def log(self, line):
        self.lines.put(line)
    def join(self):
        self.lines.join()

before, real = {before!r}, sys.stdout
if not before:
    current = logs.configure()
sys.stdout = sys.stderr = {kind}()
if before:
    current = logs.configure()
for number in range(3):
    logging.getLogger("app").warning("logged %d", number)
    print(f"printed {{number}}")
    loguru.logger.info("said {{}}", number)
    sys.stdout.join()
    assert current.flush(60)
    sys.stdout.join()
assert current.flush(60)
sys.stdout.join()
assert current.stop(60)
print("dropped", current.dropped, file=real, flush=True)
"""


@pytest.mark.process
@pytest.mark.parametrize("before", [True, False], ids=["redirected before", "redirected after"])
@pytest.mark.parametrize("kind", ["Shown", "Hidden", "Loguru", "Later"])
def test_a_standard_output_that_logs_gets_no_line_of_ours_back(kind, before):
    """sys.stdout and sys.stderr are a logger in disguise: each line comes out once, and what is printed is a record."""
    result = run_script(_redirectors(kind, before))
    assert result.returncode == 0, result.stderr
    *lines, last = result.stdout.splitlines(keepends=True)
    assert last == b"dropped {}\n"
    prefix = "stdout: " if kind == "Later" else ""
    wanted = [text for n in range(3) for text in (f"logged {n}", f"{prefix}printed {n}", f"said {n}")]
    assert sorted(messages(b"".join(lines))) == sorted(wanted)


def _redirectors(kind, before):
    head, _, tail = REDIRECTORS.partition("before, real = ")
    return head + ("before, real = " + tail).format(kind=kind, before=before)


def test_a_standard_output_that_logs_and_is_the_only_one_loses_lines(monkeypatch):
    """Where the process has no standard output of its own either, lines are dropped and counted."""
    monkeypatch.setattr(sys, "__stdout__", None)

    class Redirected(io.StringIO):
        def write(self, text):
            feedback.is_echo(lambda: text)  # as the handler of any record asks
            return len(text)

    destination = Stdout(100, Redirected())
    destination.put(b"{}")
    assert destination.stop(60)
    assert destination.dropped == {"write_failed": 1}
    assert feedback.watched == []
