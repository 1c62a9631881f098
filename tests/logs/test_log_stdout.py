"""Standard output: whole lines, also through a shared, slow, broken or missing one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys

import pytest
from log_helpers import messages, parse_lines, run_script, wait_until

from streaming_dd.log_destinations import Stdout


def test_a_stream_without_a_descriptor_is_written_to(capsys):
    """Where standard output is an object of somebody's (a test's capture, a notebook), lines go there."""
    own = io.StringIO()
    destination = Stdout(100, own)
    destination.put('{"message":"é"}'.encode())
    assert destination.stop(5)
    assert own.getvalue() == '{"message":"é"}\n'


def test_a_missing_stdout_is_no_error(start, monkeypatch):
    """Without a standard output (a daemon, pythonw) lines go to the other destinations."""
    monkeypatch.setattr(sys, "stdout", None)
    logs = start(log_stdout=True)
    logs.emit({"message": "x"})
    assert logs.stop(5)
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
    assert [worker.wait(60) for worker in workers] == [0, 0]
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
print(current.stop(5), current.dropped, file=sys.stderr)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
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
print(current.stop(0.5), time.monotonic() - began < 10, current.dropped["queue_full"] > 5000, file=sys.stderr)
"""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    os.close(reader)
    assert said.endswith(b"going on\nFalse True True\n"), said


def test_a_stuck_reader_takes_no_time_from_the_file(tmp_path):
    """Standard output that nobody reads does not keep the file's lines from being written at the end."""
    code = """
import sys
from loguru import logger
from streaming_dd import logs
current = logs.configure(path=sys.argv[1])
for number in range(2000):
    logger.info("x" * 500)
print(current.stop(1.0), file=sys.stderr)
"""
    path = tmp_path / "app.log"
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
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
        assert destination.stop(5)


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
        process.wait(10)


def test_an_urgent_line_does_not_wait_for_others(monkeypatch):
    """An error is written at once; an ordinary line waits for others to be written with it."""
    monkeypatch.setattr("streaming_dd.log_destinations.BATCH_DELAY", 30.0)
    own = io.StringIO()
    destination = Stdout(100, own)
    destination.put(b"ordinary")
    destination.put(b"error", urgent=True)
    wait_until(lambda: own.getvalue() == "ordinary\nerror\n", 20)
    assert destination.stop(5)
