"""The rotating file: sizes, several processes, other people's rotation, faults of the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from log_helpers import messages, read_lines, run_script, wait_until
from loguru import logger

from streaming_dd.errors import ConfigError
from streaming_dd.output.logs.file import RotatingFile

WRITER = """
import sys
from streaming_dd.output.logs.file import RotatingFile
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = RotatingFile(path, 20_000, 500, 100_000)
sys.stdin.readline()
for number in range(count):
    file.put(b'{"writer":"%s","number":%d,"padding":"%s"}' % (name.encode(), number, b"x" * (number % 90)))
    if number % 50 == 0:
        file.flush(60)
assert file.stop(60)
"""


@pytest.fixture
def open_file(tmp_path):
    """Open a RotatingFile on `app.log`; closed after the test."""
    opened = []

    def open_rotating(max_bytes=1000, count=5, limit=10_000):
        opened.append(RotatingFile(str(tmp_path / "app.log"), max_bytes, count, limit))
        return opened[-1]

    yield open_rotating
    for file in opened:
        file.stop(60)


def test_the_directory_is_made(start, tmp_path):
    """A log file in a directory that does not exist yet is created with it."""
    path = tmp_path / "logs" / "deep" / "streaming.log"
    logs = start(log_file=str(path))
    logger.info("x")
    assert logs.stop(60)
    assert len(read_lines(path)) == 1


@pytest.mark.parametrize("bad", ["a-file/app.log", "."])
def test_a_file_that_cannot_be_written_is_an_error_at_start(start, tmp_path, bad):
    """An impossible log file raises ConfigError at start-up, and names the setting."""
    (tmp_path / "a-file").write_text("")
    with pytest.raises(ConfigError, match=r"STREAMING_LOG_FILE.*cannot be written"):
        start(log_file=str(tmp_path / bad))


def test_files_are_rotated_at_their_size_and_old_ones_go(open_file, tmp_path):
    """No file grows beyond its size, `count` old files are kept, the newest lines are in the file itself."""
    file = open_file(max_bytes=1000, count=2)
    for number in range(200):
        file.put(b'{"number":%03d}' % number)
    assert file.stop(60)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["app.log", "app.log.1", "app.log.2"]
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)
    kept = b"".join((tmp_path / name).read_bytes() for name in reversed(names))
    assert kept.split(b"\n")[-2] == b'{"number":199}'
    first = 200 - kept.count(b"\n")
    assert kept == b"".join(b'{"number":%03d}\n' % number for number in range(first, 200))


def test_a_line_longer_than_the_file_is_written_whole(open_file, tmp_path):
    """A line that is longer than the size has a file for itself; nothing loops, nothing is cut."""
    file = open_file(max_bytes=1024, count=3)
    for line in (b"a", b"b" * 5000, b"c"):
        file.put(line)
    assert file.stop(60)
    assert (tmp_path / "app.log").read_bytes() == b"c\n"
    assert (tmp_path / "app.log.1").read_bytes() == b"b" * 5000 + b"\n"
    assert (tmp_path / "app.log.2").read_bytes() == b"a\n"


@pytest.mark.process
def test_several_processes_lose_and_mix_no_line_at_rotation(tmp_path):
    """Three processes that write and rotate the same file at once: every line arrives once, whole, in order."""
    path = tmp_path / "app.log"
    count = 4000
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(count)], stdin=subprocess.PIPE)
        for name in "abc"
    ]
    for writer in writers:
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    assert [writer.wait(200) for writer in writers] == [0, 0, 0]
    for writer in writers:
        writer.stdin.close()

    def age(file: Path) -> int:
        return -int(file.suffix[1:]) if file.suffix[1:].isdigit() else 1

    files = sorted(tmp_path.iterdir(), key=age)
    assert len(files) > 10
    numbers = {"a": [], "b": [], "c": []}
    for file in files:
        assert file.stat().st_size <= 20_000
        for line in read_lines(file):
            numbers[line["writer"]].append(line["number"])
    assert all(found == list(range(count)) for found in numbers.values())


def test_a_file_moved_away_is_opened_anew(open_file, tmp_path):
    """After logrotate's `mv` the lines go to a new file at the same path; deleting is no harm either."""
    file = open_file()
    file.put(b"1")
    assert file.flush(60)
    (tmp_path / "app.log").rename(tmp_path / "moved.log")
    file.put(b"2")
    assert file.flush(60)
    (tmp_path / "app.log").unlink()
    file.put(b"3")
    assert file.flush(60)
    assert (tmp_path / "moved.log").read_bytes() == b"1\n"
    assert (tmp_path / "app.log").read_bytes() == b"3\n"


def test_a_truncated_file_is_appended_to(open_file, tmp_path):
    """After logrotate's `copytruncate` lines start at the top, without a hole."""
    file = open_file()
    file.put(b"1")
    assert file.flush(60)
    os.truncate(tmp_path / "app.log", 0)
    file.put(b"2")
    assert file.flush(60)
    assert (tmp_path / "app.log").read_bytes() == b"2\n"


def test_a_full_disk_drops_counts_and_recovers(open_file, tmp_path, monkeypatch, caplog):
    """While the disk is full lines wait, as many as the queue holds; no half line stays, all is said and counted."""
    file = open_file(limit=20)
    file.retry_delay = lambda: 3600.0  # an attempt takes the lines that wait out of the queue for a moment
    real_write = os.write
    full = threading.Event()

    def write(descriptor, data):
        if not full.is_set() or descriptor != file._fd:
            return real_write(descriptor, data)
        if len(data) > 3:
            return real_write(descriptor, bytes(data)[:3])  # as a disk does that fills up within a line
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    file.put(b"first")
    assert file.flush(60)
    full.set()
    file.put(b"second")
    assert file.flush(60) is False
    assert (tmp_path / "app.log").read_bytes() == b"first\n"
    for _ in range(30):
        file.put(b"more")
    assert file.dropped == {"write_failed": 11}
    full.clear()
    assert file.flush(60)
    assert (tmp_path / "app.log").read_bytes() == b"first\nsecond\n" + b"more\n" * 19
    assert "No space left" in caplog.text


def test_a_file_system_without_locks_is_written_all_the_same(open_file, tmp_path, monkeypatch, caplog):
    """Where files cannot be locked (some network file systems) lines are written, and it is said."""

    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    file = open_file(max_bytes=50)
    for number in range(20):
        file.put(b"line %02d" % number)
    assert file.stop(60)
    assert (tmp_path / "app.log").read_bytes().endswith(b"line 19\n")
    assert caplog.text.count("file system without locks") == 1


def test_a_torn_last_line_is_ended_before_the_next(open_file, tmp_path):
    """After somebody was killed while writing, the next line does not continue the torn one."""
    (tmp_path / "app.log").write_bytes(b'{"a":1}\n{"torn')
    file = open_file()
    file.put(b'{"b":2}')
    assert file.stop(60)
    assert (tmp_path / "app.log").read_bytes() == b'{"a":1}\n{"torn\n{"b":2}\n'


def test_a_directory_that_vanished_comes_back(open_file, tmp_path):
    """Lines wait while the log directory is removed under a running application."""
    file = open_file()
    file.stop(60)
    nested = RotatingFile(str(tmp_path / "logs" / "app.log"), 1000, 2, 100)
    try:
        (tmp_path / "logs" / "app.log").unlink()
        (tmp_path / "logs").rmdir()
        nested.put(b"early")
        assert nested.flush(60) is False
        (tmp_path / "logs").mkdir()
        nested.put(b"late")
        assert nested.flush(60)
        assert (tmp_path / "logs" / "app.log").read_bytes() == b"early\nlate\n"
    finally:
        nested.stop(60)


def test_lines_beyond_the_queue_are_dropped_and_counted(open_file, tmp_path, monkeypatch, caplog):
    """A destination that hangs lets at most its queue wait; callers go on at once, the rest is counted."""
    file = open_file(limit=10)
    hanging = threading.Event()
    release = threading.Event()
    real_send = file.send

    def send(lines):
        hanging.set()
        release.wait(200)
        return real_send(lines)

    monkeypatch.setattr(file, "send", send)
    file.put(b"0")
    wait_until(hanging.is_set)
    for number in range(1, 31):
        file.put(b"%d" % number)
    assert file.dropped == {"queue_full": 20}
    assert file.flush(0.05) is False
    release.set()
    assert file.stop(60)
    assert (tmp_path / "app.log").read_bytes() == b"".join(b"%d\n" % number for number in range(11))
    assert caplog.text.count("are dropped (queue_full)") == 1


def test_stopping_twice_and_logging_afterwards_is_harmless(start, lines):
    """`stop` is idempotent, and what is logged after it is neither an error nor a line."""
    logs = start()
    logger.info("before")
    assert logs.stop(60)
    assert logs.stop(60)
    logger.info("after")
    logs.emit({"message": "after"})
    assert [line["message"] for line in lines()] == ["before"]
    assert logs.dropped == {"stopped": 1}


@pytest.mark.process
def test_a_killed_process_has_written_what_it_logged_a_moment_before(tmp_path):
    """Lines reach the file by themselves: `kill -9` half a second later loses none of them, an error none at all."""
    code = """
import sys, time, os, signal
from loguru import logger
from streaming_dd import logs
current = logs.configure(path=sys.argv[1], stdout=False)
for number in range(100):
    logger.info("{}", number)
while open(sys.argv[1], "rb").read().count(b"\\n") < 100:
    time.sleep(0.001)
print("written", flush=True)
time.sleep(60)
"""
    path = tmp_path / "app.log"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"written\n"
    process.kill()
    process.wait(200)
    process.stdout.close()
    assert messages(path.read_bytes()) == list(map(str, range(100)))


@pytest.mark.process
def test_a_script_that_just_ends_loses_nothing(tmp_path):
    """Lines logged in the last moment before a plain exit, an exception or sys.exit are written."""
    for number, ending in enumerate(["", "raise ValueError", "sys.exit(3)"]):
        path = tmp_path / f"{number}.log"
        code = (
            "import sys\nfrom loguru import logger\nfrom streaming_dd import logs\n"
            f"logs.configure(path=sys.argv[1], stdout=False)\nlogger.info('last words')\n{ending}"
        )
        run_script(code, path)
        assert messages(path.read_bytes()) == ["last words"]


@pytest.mark.process
def test_a_file_that_fails_is_said_on_standard_error_where_nothing_else_could(tmp_path):
    """When the only destination cannot be written any more, standard error says so; with another one a line does."""
    code = """
import os, shutil, sys, time
from loguru import logger
from streaming_dd import logs
logs.configure(path=sys.argv[1] + "/logs/app.log", stdout=sys.argv[2] == "both")
logger.info("first")
logs.current().flush(60)
os.rename(sys.argv[1] + "/logs", sys.argv[1] + "/moved")
open(sys.argv[1] + "/logs", "w").close()
logger.info("second")
logs.current().flush(60)
"""
    for wanted in ("alone", "both"):
        folder = tmp_path / wanted
        folder.mkdir()
        result = run_script(code, folder, wanted)
        assert (b"app.log cannot be written" in result.stderr) is (wanted == "alone"), result.stderr
        assert (b"app.log cannot be written" in result.stdout) is (wanted == "both")


def test_files_have_the_mode_that_the_docs_name(start, tmp_path):
    """Log files are 0644, rotated ones too, less what the umask takes away."""
    before = os.umask(0o027)
    try:
        logs = start(log_file_bytes=1024)
        for number in range(20):
            logger.info("a line that makes the file full, number {}", number)
            assert logs.flush(60)
        assert logs.stop(60)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) > 2
    assert set(modes.values()) == {0o640}
