"""The standard library's loggers: every record once, consoles silent while standard output is ours, all put back."""

from __future__ import annotations

import copy
import io
import logging
import logging.config
import logging.handlers
import queue
import signal
import subprocess
import sys

import pytest
import uvicorn.config
from log_helpers import messages, run_script
from loguru import logger as loguru_logger

from streaming_dd.output.logs.bridge import BridgeHandler, forwards_to_loguru, writes_to_console


@pytest.fixture(autouse=True)
def _standard_library_as_it_was():
    """Put every logger back after a test, whatever it configured."""
    saved = {
        logger: (logger.level, list(logger.handlers), logger.propagate, logger.disabled)
        for logger in (logging.getLogger(), *logging.root.manager.loggerDict.values())
        if isinstance(logger, logging.Logger)
    }
    yield
    for logger in (*saved, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            level, handlers, propagate, disabled = saved.get(logger, (logging.NOTSET, [], True, False))
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, disabled


def snapshot():
    """Return the handlers and levels of all loggers."""
    loggers = [logging.getLogger()]
    loggers += [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    return {item.name: (item.level, item.propagate, list(item.handlers)) for item in loggers}


def own_handlers(name):
    """Return how many of our handlers a logger has."""
    return [type(handler) for handler in logging.getLogger(name).handlers].count(BridgeHandler)


@pytest.fixture
def uvicorn_config():
    """Configure logging as uvicorn does."""

    def configure():
        logging.config.dictConfig(copy.deepcopy(uvicorn.config.LOGGING_CONFIG))

    return configure


def test_handlers_are_put_back_in_their_order(start, capfd):
    """A console handler that stood before another stands there again, and what came meanwhile comes last."""
    logger = logging.getLogger("shop.ordered")
    logger.propagate = False
    console, file, later = logging.StreamHandler(), logging.NullHandler(), logging.NullHandler()
    logger.handlers = [console, file]
    try:
        logs = start(log_stdout=True)
        logger.addHandler(later)
        assert logs.stop(60)
        assert logger.handlers == [console, file, later]
    finally:
        logger.handlers.clear()


def test_uvicorns_loggers_are_bridged_and_put_back(start, lines, uvicorn_config, capfd):
    """uvicorn's own lines come as JSON once, not as text, and are text again after stop."""
    uvicorn_config()
    before = snapshot()
    logs = start(log_stdout=True)
    logging.getLogger("uvicorn.error").info("started %d", 5, extra={"color_message": "\x1b[36mstarted"})
    assert logs.stop(60)
    assert snapshot() == before
    logging.getLogger("uvicorn.error").info("as before")
    (line,) = lines()
    assert (line["message"], line["logger.name"]) == ("started 5", "uvicorn.error")
    assert "color_message" not in line
    out, err = capfd.readouterr()
    assert messages(out.encode()) == ["started 5"]
    assert "as before" in err
    assert "started 5" not in err


def test_consoles_keep_writing_while_stdout_is_not_ours(start, lines, uvicorn_config, capfd):
    """With lines going to a file only, uvicorn's console output stays."""
    uvicorn_config()
    logs = start(log_stdout=False)
    logging.getLogger("uvicorn.error").info("started")
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == ["started"]
    assert "started" in capfd.readouterr().err


def test_uvicorns_access_lines_give_way_to_ours(start, lines, uvicorn_config, capfd):
    """With our access log on, uvicorn's is neither bridged nor printed, and uvicorn need not even format it."""
    uvicorn_config()
    logs = start(log_stdout=True, access_log=True)
    access = logging.getLogger("uvicorn.access")
    assert not access.hasHandlers()  # what uvicorn asks before it makes a line
    logs.refresh_bridge()
    access.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/", "1.1", 200)
    assert logs.stop(60)
    assert lines() == []
    assert access.hasHandlers()


def test_uvicorns_access_lines_are_bridged_without_ours(start, lines, uvicorn_config):
    """With our access log off, uvicorn's arrives as JSON."""
    uvicorn_config()
    logs = start(access_log=False)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/", "1.1", 200)
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == ['127.0.0.1:1 - "GET / HTTP/1.1" 200']


def test_a_dictconfig_after_our_start_is_repaired(start, lines, uvicorn_config, capfd):
    """uvicorn configures logging after an app was wrapped: `refresh_bridge` takes over, and stop gives back the new."""
    uvicorn_config()
    logs = start(log_stdout=True)
    uvicorn_config()
    configured = snapshot()["uvicorn"]
    logs.refresh_bridge()
    logs.refresh_bridge()
    logging.getLogger("uvicorn.error").info("once")
    assert logs.stop(60)
    assert snapshot()["uvicorn"] == configured
    assert len(logging.getLogger("uvicorn.access").handlers) == 1
    assert [line["message"] for line in lines()] == ["once"]
    assert "once" not in capfd.readouterr().err


def test_loggers_at_two_levels_with_handlers_of_their_own_do_not_double(start, lines):
    """A parent and a child that each have handlers, propagating or not, give each record once."""
    for name, propagate in (
        ("streaming", False),
        ("streaming.coordinator", True),
        ("streaming.tasks", False),
    ):
        logger = logging.getLogger(name)
        logger.addHandler(logging.StreamHandler(io.StringIO()))
        logger.setLevel(logging.INFO)
        logger.propagate = propagate
    logs = start()
    logs.refresh_bridge()
    for name in ("streaming", "streaming.coordinator", "streaming.tasks", "streaming.tasks.deep", "other"):
        logging.getLogger(name).warning(name)
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == [
        "streaming",
        "streaming.coordinator",
        "streaming.tasks",
        "streaming.tasks.deep",
        "other",
    ]


def test_file_handlers_of_the_users_stay(start, lines, tmp_path):
    """A handler that writes to a file gets its lines as before, also while standard output is ours."""
    logger = logging.getLogger("reports")
    logger.propagate = False
    handler = logging.handlers.RotatingFileHandler(tmp_path / "own.log")
    logger.addHandler(handler)
    logs = start(log_stdout=True)
    logger.warning("kept")
    assert logs.stop(60)
    handler.close()
    assert (tmp_path / "own.log").read_text() == "kept\n"
    assert [line["message"] for line in lines()] == ["kept"]


def test_a_logger_that_was_silenced_stays_silent(start, lines):
    """A logger with nothing but a NullHandler and no propagation was silenced on purpose."""
    logger = logging.getLogger("noise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logs = start()
    logger.error("hush")
    assert logs.stop(60)
    assert lines() == []


def test_a_console_behind_a_queue_is_a_console(start, lines):
    """A QueueHandler whose listener writes to the console is taken off like the console handler itself."""
    handler = logging.handlers.QueueHandler(queue.SimpleQueue())
    handler.listener = logging.handlers.QueueListener(handler.queue, logging.StreamHandler())
    logger = logging.getLogger("queued")
    logger.addHandler(handler)
    logs = start(log_stdout=True)
    logger.warning("x")
    assert handler.queue.empty()
    assert logs.stop(60)
    logger.warning("y")
    assert not handler.queue.empty()
    assert [line["message"] for line in lines()] == ["x"]


def test_an_intercept_handler_is_left_in_charge(start, lines):
    """Where the user forwards the standard library to loguru, as loguru's documentation shows, lines come once."""

    class InterceptHandler(logging.Handler):
        def emit(self, record):
            loguru_logger.opt(depth=6, exception=record.exc_info).log(record.levelname, record.getMessage())

    handler = InterceptHandler()
    logging.getLogger().handlers.insert(0, handler)
    logs = start()
    logs.refresh_bridge()
    logging.getLogger("shop").warning("once")
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == ["once"]
    assert forwards_to_loguru(handler)
    assert not forwards_to_loguru(logging.StreamHandler())


def test_a_loguru_sink_that_forwards_to_the_standard_library_does_not_double(start, lines):
    """Where the user forwards loguru to the standard library, our line is the one from loguru."""

    class PropagateHandler(logging.Handler):
        def emit(self, record):
            logging.getLogger(record.name).handle(record)

    logs = start()
    sink = loguru_logger.add(PropagateHandler(), format="{message}")
    loguru_logger.warning("once")
    loguru_logger.remove(sink)
    logging.getLogger("x").warning("own extra", extra={"extra": {"a": 1}})
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == ["once", "own extra"]


def test_the_bridge_can_be_switched_off(start, lines):
    """With STREAMING_LOG_BRIDGE=False the standard library is left alone."""
    before = snapshot()
    logs = start(log_bridge=False, log_stdout=True)
    assert snapshot() == before
    logging.getLogger("x").error("theirs")
    assert logs.stop(60)
    assert lines() == []


def test_two_starts_do_not_double(start, lines):
    """A Logs started twice over (a reload, a test) writes each record once per Logs, and leaves nothing behind."""
    before = snapshot()
    first = start()
    assert first.stop(60)
    second = start()
    logging.getLogger("x").warning("once")
    assert second.stop(60)
    assert [line["message"] for line in lines()] == ["once"]
    assert snapshot() == before
    assert own_handlers(None) == 0


def test_console_handlers_are_recognised(tmp_path):
    """Handlers to standard output and error are consoles, by object or descriptor; files and buffers are not."""
    assert writes_to_console(logging.StreamHandler())
    assert writes_to_console(logging.StreamHandler(sys.stdout))
    assert writes_to_console(logging.StreamHandler(sys.__stderr__))
    with open(2, "w", closefd=False) as stream:
        assert writes_to_console(logging.StreamHandler(stream))
    assert not writes_to_console(logging.StreamHandler(io.StringIO()))
    assert not writes_to_console(logging.NullHandler())
    file = logging.FileHandler(tmp_path / "x", delay=True)
    assert not writes_to_console(file)
    file.close()


SCRIPT = """
import logging, sys
{setup}
from streaming_dd import logs
current = logs.configure(level="{level}")
{after}
logging.getLogger("app").info("info")
logging.getLogger("app").debug("debug")
logging.getLogger("app").error("error")
current.stop(60)
print(logging.getLevelName(logging.getLogger().level), len(logging.getLogger().handlers), file=sys.stderr)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("setup", "level", "after", "written", "left"),
    [
        ("", "INFO", "", ["info", "error"], b"WARNING 0"),
        ("", "DEBUG", "", ["info", "debug", "error"], b"WARNING 0"),
        ("logging.basicConfig(level='ERROR')", "INFO", "", ["error"], b"ERROR 1"),
        ("logging.basicConfig(level='DEBUG')", "INFO", "", ["info", "error"], b"DEBUG 1"),
        ("", "INFO", "logging.getLogger().setLevel('ERROR')", ["error"], b"ERROR 0"),
        (
            "",
            "INFO",
            "logging.basicConfig(level='DEBUG', force=True); current.refresh_bridge()",
            ["info", "error"],
            b"DEBUG 1",
        ),
    ],
    ids=["nothing", "nothing-debug", "basic-error", "basic-debug", "level-after", "basic-after"],
)
def test_the_level_of_the_root_is_lowered_only_if_nobody_configured_it(setup, level, after, written, left):
    """An unconfigured root would keep INFO from us; a configured one is respected, before and after our start."""
    result = run_script(SCRIPT.format(setup=setup, level=level, after=after))
    assert messages(result.stdout) == written, result.stderr
    assert result.stderr.strip() == left


UVICORN = """
import logging, sys
from loguru import logger
from streaming_dd import logs
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        logs.current().refresh_bridge()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        logs.current().drain(5)
        await send({"type": "lifespan.shutdown.complete"})
if __name__ == "__main__":
    import uvicorn
    logs.configure()
    uvicorn.run(app, port=0, loop=sys.argv[1])
"""


@pytest.mark.process
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_uvicorns_last_line_is_written_though_it_dies_by_the_signal(tmp_path, loop):
    """From start-up complete to the very last line, uvicorn's lines are JSON on standard output, once."""
    pytest.importorskip(loop)
    (tmp_path / "served.py").write_text(UVICORN)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "served.py", loop], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    lines = []
    while not lines or "Uvicorn running" not in lines[-1]:
        line = process.stdout.readline()
        assert line, process.communicate()
        lines += messages(line)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=200)
    lines += messages(out)
    assert [line.split(" [")[0].split(" on ")[0] for line in lines] == [
        "Application startup complete.",
        "Uvicorn running",
        "Shutting down",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        "Finished server process",
    ]
    assert process.returncode == -signal.SIGTERM
    assert b"Application startup complete" not in err


DJANGO = """
import logging, sys, django
from django.conf import settings
from streaming_dd import logs
LOGGING = {logging_setting}
settings.configure(DEBUG=True, LOGGING=LOGGING, ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", SECRET_KEY="x")
from django.urls import path
urlpatterns = [path("there", lambda request: None)]
{order}
from django.core.handlers.asgi import ASGIHandler
from django.test import Client
logging.getLogger("django").info("hello from django")
logging.getLogger("app").info("hello from app")
logging.getLogger("streaming.coordinator").info("hello from coordinator")
Client().get("/nope?token=s3cr3t", headers={{"host": "localhost"}})
logs.current().stop(60)
logging.getLogger("django").info("after")
"""
DEFAULT = "{}"
OWN = """{
    "version": 1, "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "streaming": {"handlers": ["console"], "level": "INFO"},
        "streaming.coordinator": {"handlers": ["console"], "level": "DEBUG"},
    },
}"""


@pytest.mark.process
@pytest.mark.parametrize("logging_setting", [DEFAULT, OWN], ids=["default", "own"])
@pytest.mark.parametrize(
    "order",
    ["django.setup(); logs.configure()", "logs.configure(); django.setup(); logs.current().refresh_bridge()"],
    ids=["django-first", "logs-first"],
)
def test_django_lines_arrive_once_whichever_comes_first(logging_setting, order):
    """Django's loggers, by its default or by a LOGGING of one's own, give each line once and nothing on the console."""
    result = run_script(DJANGO.format(logging_setting=logging_setting, order=order))
    assert sorted(messages(result.stdout)) == [
        "Not Found: /nope",
        "hello from app",
        "hello from coordinator",
        "hello from django",
    ], result.stderr
    assert result.stderr.splitlines()[-1].endswith(b"after")  # the console is Django's again after stop
    assert b"hello" not in result.stderr
    assert b"Not Found" not in result.stderr
    assert b"s3cr3t" not in result.stdout
    request_line = result.stdout.split(b"\n")[-2]
    assert b'"status_code":404' in request_line
