"""Forks: nothing lost, nothing twice, no deadlock; by os.fork, multiprocessing and gunicorn --preload."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from log_helpers import messages, parse_lines, read_lines, run_script, wait_until

pytestmark = [pytest.mark.process, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")]

FORK = """
import os, sys
from loguru import logger
from streaming_dd import logs
current = logs.configure(path=sys.argv[1])
for number in range(50):
    logger.info("parent {}", number)      # still queued when the fork comes
pids = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for number in range(50):
            logger.info("child {} {}", child, number)
        current.flush(60)
        os._exit(0)
    pids.append(pid)
    logger.info("forked {}", child)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
logger.info("last")
"""


def test_a_fork_loses_and_doubles_no_line(tmp_path):
    """Lines queued at the fork are the parent's to write; each child writes its own, to stdout and the shared file."""
    path = tmp_path / "app.log"
    result = run_script(FORK, path)
    assert result.returncode == 0, result.stderr
    expected = (
        [f"parent {number}" for number in range(50)] + [f"forked {child}" for child in range(3)] + ["last"]
    )
    expected += [f"child {child} {number}" for child in range(3) for number in range(50)]
    for data in (result.stdout, path.read_bytes()):
        assert sorted(messages(data)) == sorted(expected)


def test_a_fork_gives_no_warning_of_threads():
    """Python warns when a process with threads forks: ours are not running then."""
    code = """
import os, sys, warnings
warnings.simplefilter("error")
from loguru import logger
from streaming_dd import logs
logs.configure(path=sys.argv[1])
logger.info("before")
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
logger.info("after")
"""
    result = run_script(code, "/dev/null", env={**os.environ, "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0"})
    assert result.returncode == 0, result.stderr
    assert messages(result.stdout) == ["before", "after"]
    assert b"Warning" not in result.stderr


def test_forks_while_threads_log_do_not_deadlock():
    """Children forked at any moment, while several threads log, can log and end."""
    code = """
import os, sys, threading, logging
from loguru import logger
from streaming_dd import logs
current = logs.configure()
stop = threading.Event()
def work():
    while not stop.wait(0.0005):
        logger.info("thread")
        logging.getLogger("x").warning("thread")
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for number in range(30):
    pid = os.fork()
    if pid == 0:
        logger.info("child")
        logging.getLogger("x").warning("child")
        os._exit(0 if current.flush(60) else 1)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
assert current.stop(60)
"""
    result = run_script(code)
    assert result.returncode == 0, result.stderr
    assert messages(result.stdout).count("child") == 60


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_loses_nothing(tmp_path, method):
    """What a multiprocessing child logs in its last moment is written, although such a child skips atexit."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import multiprocessing, sys
from loguru import logger
from streaming_dd import logs
def work(number):
    logs.configure(path=sys.argv[1], stdout=False)
    logger.info("child {}", number)
if __name__ == "__main__":
    logs.configure(path=sys.argv[1], stdout=False)
    logger.info("parent")
    context = multiprocessing.get_context(sys.argv[2])
    children = [context.Process(target=work, args=(number,)) for number in range(2)]
    for child in children: child.start()
    for child in children: child.join()
"""
    )
    path = tmp_path / "app.log"
    subprocess.run([sys.executable, script, path, method], check=True, timeout=250)
    assert sorted(messages(path.read_bytes())) == ["child 0", "child 1", "parent"]


APP = """
import logging, os
from loguru import logger
from streaming_dd import logs
current = logs.configure(path=os.environ["APP_LOG"], agent=os.environ["APP_AGENT"])
logger.info("imported in {}", os.getpid())
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        current.refresh_bridge()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        current.flush(60)
        await send({"type": "lifespan.shutdown.complete"})
        return
    logger.info("request in {}", os.getpid())
    logging.getLogger("app").warning("bridged in {}".format(os.getpid()))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
"""


def test_gunicorn_with_preload_writes_every_workers_lines(tmp_path):
    """Two preloaded workers write to one stdout, one file and one Agent port: all whole, all once, at SIGTERM too."""
    (tmp_path / "preloaded.py").write_text(APP)
    path = tmp_path / "app.log"
    worker = "uvicorn_worker.UvicornWorker" if _has_uvicorn_worker() else "uvicorn.workers.UvicornWorker"
    options = ["--preload", "-w", "2", "-b", "127.0.0.1:0", "-k", worker]
    with socket.create_server(("127.0.0.1", 0)) as intake:
        environ = {
            **os.environ,
            "APP_LOG": str(path),
            "APP_AGENT": f"127.0.0.1:{intake.getsockname()[1]}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "preloaded:app", *options],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as server:
            try:
                wait_until(lambda: path.exists() and b"Listening at" in path.read_bytes(), 200)
                port = int(re.search(rb"Listening at: http://127.0.0.1:(\d+)", path.read_bytes())[1])
                wait_until(lambda: _get(port) == 200, 200)
                for _ in range(40):
                    assert _get(port) == 200
                server.send_signal(signal.SIGTERM)
                out, err = server.communicate(timeout=200)
            finally:
                server.kill()
        received = _received(intake)
    on_stdout = parse_lines(b"".join(line for line in out.splitlines(keepends=True) if line.startswith(b"{")))
    for lines in (on_stdout, read_lines(path), received):
        found = [line["message"] for line in lines]
        requests = [message for message in found if message.startswith("request in")]
        assert len(requests) == sum(message.startswith("bridged in") for message in found)
        assert len(requests) >= 41, err
        assert sum(message.startswith("imported in") for message in found) == 1
        assert any("Booting worker" in message for message in found)


def _received(intake: socket.socket) -> list[dict[str, Any]]:
    """Return the lines of all connections that were made to `intake`."""
    lines = []
    intake.settimeout(1)
    with contextlib.suppress(TimeoutError):
        while True:
            connection, _ = intake.accept()
            with connection:
                connection.settimeout(60)
                data = b""
                while chunk := connection.recv(65536):
                    data += chunk
                lines += parse_lines(data)
    return lines


def _has_uvicorn_worker() -> bool:
    return importlib.util.find_spec("uvicorn_worker") is not None


def _get(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
