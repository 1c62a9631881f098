"""Starting, configuring and stopping: alone, with the rest of the package, twice, wrongly."""

from __future__ import annotations

import json
import logging
import time

import pytest
from log_helpers import messages, run_script
from loguru import logger

from streaming_dd import config as config_module
from streaming_dd import logs
from streaming_dd.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    """Keep settings of the machine out of these tests."""
    for name in config_module.names():
        monkeypatch.delenv(name, raising=False)


def read(path):
    """Return the messages in a file."""
    return messages(path.read_bytes())


def test_configure_starts_logging_alone(tmp_path, monkeypatch):
    """`configure` takes its arguments before the environment and the defaults."""
    monkeypatch.setenv("STREAMING_LOG_LEVEL", "ERROR")
    monkeypatch.setenv("DD_SERVICE", "from-environment")
    current = logs.configure(path=str(tmp_path / "a.log"), level="debug", stdout=False, redact=["ssn"])
    assert logs.current() is current
    logger.debug("x")
    assert current.stop(60)
    assert logs.current() is None
    line = json.loads((tmp_path / "a.log").read_text())
    assert line["service"] == "from-environment"
    assert current.config.log_redact == ("ssn",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"level": "LOUD"}, "log_level: 'LOUD'.*write one of TRACE"),
        ({"agent": "nowhere"}, "log_agent: 'nowhere'.*host:port"),
        ({"path": "/dev/null/x.log"}, "STREAMING_LOG_FILE: .*cannot be written"),
    ],
)
def test_a_wrong_argument_is_an_error_and_changes_nothing(tmp_path, arguments, said):
    """A value that cannot work raises ConfigError, and what ran before goes on."""
    current = logs.configure(path=str(tmp_path / "a.log"), stdout=False)
    with pytest.raises(ConfigError, match=said):
        logs.configure(**arguments)
    logger.info("still here")
    assert current.stop(60)
    assert read(tmp_path / "a.log") == ["still here"]


def test_the_same_config_again_changes_nothing(tmp_path):
    """`start` with an equal config keeps the Logs, its destinations and its single handler."""
    config = config_module.load({"log_stdout": False, "log_file": str(tmp_path / "a.log")}, environ={})
    first = logs.start(config)
    destinations = first._destinations
    assert logs.start(config) is first
    assert first._destinations is destinations
    logger.info("once")
    logging.getLogger("x").warning("once")
    assert first.stop(60)
    assert read(tmp_path / "a.log") == ["once", "once"]


def test_another_config_takes_over_without_losing_a_line(tmp_path):
    """Reconfiguring keeps the object that others hold, writes what was queued and counts on."""
    first = logs.start(
        config_module.load({"log_stdout": False, "log_file": str(tmp_path / "a.log")}, environ={})
    )
    logger.info("one")
    logger.patch(lambda record: record.pop("thread")).info("lost")
    again = logs.start(
        config_module.load({"log_stdout": False, "log_file": str(tmp_path / "b.log")}, environ={})
    )
    assert again is first
    logger.info("two")
    first.emit({"message": "three"})
    assert first.stop(60)
    assert read(tmp_path / "a.log")[0] == "one"
    assert read(tmp_path / "b.log") == ["two", "three"]
    assert first.dropped == {"unserialisable": 1}


@pytest.mark.parametrize("order", ["configure first", "package first"])
def test_configure_and_the_rest_of_the_package_come_in_any_order(tmp_path, order):
    """What `logs.configure` was given holds, whether the package around was configured before or comes after."""
    package = config_module.load({"service": "shop", "log_stdout": False, "log_level": "ERROR"}, environ={})

    def configure():
        logs.configure(path=str(tmp_path / "a.log"), level="INFO")

    steps = [configure, lambda: logs.start(package)]
    for step in steps if order == "configure first" else reversed(steps):
        step()
    logger.info("x")
    current = logs.current()
    assert current.stop(60)
    line = json.loads((tmp_path / "a.log").read_text())
    assert (line["service"], line["message"]) == ("shop", "x")
    assert current.config.access_log is True
    assert current.config.log_stdout is False


def test_a_line_of_the_end_is_waited_for_also_where_the_thread_that_writes_is_late(tmp_path, monkeypatch):
    """After `drain` a line is written when the call returns: the process may die by a signal right after it."""
    current = logs.configure(path=str(tmp_path / "a.log"), stdout=False)
    (file,) = current._destinations
    send = file.send

    def late(lines):
        time.sleep(0.5)
        return send(lines)

    monkeypatch.setattr(file, "send", late)
    assert current.drain(60)
    logger.info("last")
    assert read(tmp_path / "a.log") == ["last"]
    assert current.stop(60)


@pytest.mark.process
def test_django_settings_are_read():
    """In a Django project the settings' STREAMING_LOG_* hold for `logs.configure()` too."""
    code = """
from django.conf import settings
settings.configure(STREAMING_LOG_LEVEL="ERROR", DD_SERVICE="shop")
from loguru import logger
from streaming_dd import logs
logs.configure()
logger.info("low")
logger.error("high")
"""
    result = run_script(code)
    assert messages(result.stdout) == ["high"], result.stderr
    assert json.loads(result.stdout)["service"] == "shop"
