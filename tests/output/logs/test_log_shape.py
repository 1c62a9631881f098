"""How a line looks, from each of its three sources."""

from __future__ import annotations

import datetime
import logging
import threading

import pytest
from log_helpers import messages, run_script
from loguru import logger

from streaming_dd.output.logs.lines import status_of


def test_a_loguru_line_is_flat_json_with_reserved_names(start, lines):
    """A loguru line carries Datadog's names, the call site and its bound fields, one object a line."""
    logs = start(service="shop", env="test", version="1.2", correlation=lambda: ("ab" * 16, "77"))
    logger.bind(order=5).info("hello {}", "world")
    assert logs.stop(60)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("line") > 0
    assert line == {
        "status": "info",
        "message": "hello world",
        "service": "shop",
        "dd.service": "shop",
        "dd.env": "test",
        "dd.version": "1.2",
        "dd.trace_id": "ab" * 16,
        "dd.span_id": "77",
        "logger.name": __name__,
        "logger.thread_name": "MainThread",
        "logger.method_name": "test_a_loguru_line_is_flat_json_with_reserved_names",
        "function": "test_a_loguru_line_is_flat_json_with_reserved_names",
        "module": "test_log_shape",
        "order": 5,
    }


def test_a_standard_library_line_has_the_same_shape(start, lines):
    """A standard-library record becomes the same kind of line, its `extra` flat."""
    logs = start(service="shop", correlation=lambda: ("1", "2"))
    log = logging.getLogger("shop.orders")
    log.warning("late %s", "order", extra={"order": 5}, stack_info=True)
    logger.warning("late")
    assert logs.stop(60)
    bridged, own = lines()
    assert (bridged["status"], bridged["message"], bridged["logger.name"]) == (
        "warning",
        "late order",
        "shop.orders",
    )
    assert bridged["order"] == 5
    assert "Stack (most recent call last)" in bridged["stack_info"]
    assert bridged.keys() - {"order", "stack_info"} == own.keys()


def test_emit_writes_fields_past_loguru(start, lines):
    """`emit` writes the given fields with the caller's trace ids, and a pre-rendered constant part."""
    logs = start(correlation=lambda: ("12", "34"))
    logs.emit(
        {"message": "GET /", "duration": 12_000_000}, constant=logs.constant_part({"http.method": "GET"})
    )
    assert logs.stop(60)
    (line,) = lines()
    assert line["http.method"] == "GET"
    assert line["duration"] == 12_000_000
    assert (line["dd.trace_id"], line["dd.span_id"]) == ("12", "34")


def test_emit_takes_given_ids_and_a_given_time(start, lines):
    """Ids in the fields win over the context, `"0"` means none, and a line may be dated back."""
    logs = start(correlation=lambda: ("12", "34"))
    logs.emit({"message": "a", "dd.trace_id": "ff", "dd.span_id": "9"}, timestamp=1_700_000_000.0625)
    logs.emit({"message": "b", "dd.trace_id": "0", "dd.span_id": "0"}, "ERROR")
    assert logs.stop(60)
    first, second = lines()
    assert (first["dd.trace_id"], first["dd.span_id"]) == ("ff", "9")
    assert first["timestamp"] == "2023-11-14T22:13:20.062Z"
    assert not {"dd.trace_id", "dd.span_id"} & second.keys()
    assert second["status"] == "error"


def test_emit_of_an_unknown_level_or_of_nothing_is_a_line(start, lines):
    """`emit` neither raises nor writes broken JSON for an unknown level or no fields."""
    logs = start()
    logs.emit({"message": "x"}, "NOTICE")
    logs.emit({})
    assert logs.stop(60)
    assert [line["status"] for line in lines()] == ["info", "info"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("TRACE", "debug"),
        ("DEBUG", "debug"),
        ("INFO", "info"),
        ("SUCCESS", "ok"),
        ("WARNING", "warning"),
        ("ERROR", "error"),
        ("CRITICAL", "critical"),
    ],
)
def test_levels_become_datadogs_statuses(start, lines, name, status):
    """Each of loguru's levels is written as the status that Datadog knows."""
    logs = start(log_level="TRACE")
    logger.log(name, "x")
    assert logs.stop(60)
    assert [line["status"] for line in lines()] == [status]


def test_levels_in_between_become_the_status_below():
    """A level that somebody invented has the status of the next lower known one."""
    assert [status_of(level) for level in (0, 5, 15, 21, 28, 35, 45, 99)] == [
        *("debug", "debug", "debug", "info", "info", "warning", "error", "critical")
    ]


def test_lines_below_the_level_are_not_written(start, lines):
    """STREAMING_LOG_LEVEL holds for loguru, the standard library and our own lines."""
    logs = start(log_level="WARNING")
    logger.info("no")
    logging.getLogger("x").info("no")
    logs.emit({"message": "no"})
    logger.warning("yes")
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == ["yes"]


def test_the_timestamp_is_utc_with_milliseconds(start, lines):
    """The timestamp is the moment of the call in UTC, in all three sources."""
    logs = start()
    before = datetime.datetime.now(datetime.UTC)
    logger.info("a")
    logging.getLogger("x").warning("b")
    logs.emit({"message": "c"})
    after = datetime.datetime.now(datetime.UTC)
    assert logs.stop(60)
    for line in lines():
        moment = datetime.datetime.fromisoformat(line["timestamp"])
        assert before - datetime.timedelta(milliseconds=2) <= moment <= after
        assert len(line["timestamp"]) == len("2023-11-14T22:13:20.062Z")


def test_a_users_field_cannot_overwrite_a_reserved_name(start, lines):
    """A field with a name that the line, or the Agent, needs is written as `extra.<name>`."""
    logs = start(service="shop", env="test", correlation=lambda: ("1", "2"))
    taken = {
        "status": "x",
        "message_": 1,
        "timestamp": 1,
        "service": "y",
        "host": "z",
        "line": 9,
        "@timestamp": 2,
    }
    logger.bind(**taken, **{"dd.env": "prod", "dd.trace_id": "666"}).info("hello")
    assert logs.stop(60)
    (line,) = lines()
    assert line["service"] == "shop"
    assert line["dd.env"] == "test"
    assert line["dd.trace_id"] == "1"
    assert line["message_"] == 1
    moved = taken.keys() - {"message_"}
    assert {f"extra.{name}": taken[name] for name in moved}.items() <= line.items()
    assert not {"host", "@timestamp"} & line.keys()


def test_ids_of_ddtraces_own_injection_are_used_where_ours_are_missing(start, lines):
    """The ids that ddtrace's own log injection put into a record are kept if we know none, its `0` is not."""
    logs = start()
    logger.bind(**{"dd.trace_id": "beef", "dd.span_id": "7", "dd.service": "x"}).info("with")
    logger.bind(**{"dd.trace_id": "0", "dd.span_id": "0"}).info("without")
    assert logs.stop(60)
    first, second = lines()
    assert (first["dd.trace_id"], first["dd.span_id"]) == ("beef", "7")
    assert "dd.service" not in first
    assert "dd.trace_id" not in second


def test_an_extra_dictionary_is_flattened(start, lines):
    """`extra={...}` in a loguru call, and an `extra` within the standard library's extra, become flat fields."""
    logs = start()
    logger.info("a", extra={"task_key": "k", "message": "m"})
    logging.getLogger("x").warning("b", extra={"extra": {"task_key": "k", "extra": {"deep": 1}}})
    assert logs.stop(60)
    first, second = lines()
    assert (first["task_key"], first["extra.message"], first["message"]) == ("k", "m", "a")
    assert second["task_key"] == "k"


def test_an_exception_is_three_fields_with_its_causes(start, lines):
    """error.kind, error.message and error.stack describe an exception, chained causes included."""
    logs = start()

    def fail():
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("bad row") from error

    try:
        fail()
    except ValueError:
        logger.exception("loguru's")
        logging.getLogger("x").exception("the library's")
    assert logs.stop(60)
    for line in lines():
        assert line["error.kind"] == "ValueError"
        assert line["error.message"] == "bad row"
        assert "KeyError: 'missing'" in line["error.stack"]
        assert "direct cause" in line["error.stack"]
        assert line["error.stack"].rstrip().endswith("ValueError: bad row")
        assert line["status"] == "error"


def test_the_kind_of_a_library_exception_names_its_module(start, lines):
    """error.kind is the qualified name for exceptions that are no built-ins, as Error Tracking groups by it."""
    logs = start()
    logger.opt(exception=threading.BrokenBarrierError("x")).error("a")
    logger.opt(exception=ExceptionGroup("g", [ValueError("inner")])).error("b")
    assert logs.stop(60)
    first, second = lines()
    assert first["error.kind"] == "threading.BrokenBarrierError"
    assert second["error.kind"] == "ValueError"
    assert "ValueError: inner" in second["error.stack"]


def test_an_error_field_of_the_users_stands_unless_there_is_an_exception(start, lines):
    """A user may set error.kind; on a line with an exception it is moved aside."""
    logs = start()
    logger.bind(**{"error.kind": "Timeout"}).info("a")
    logger.bind(**{"error.kind": "Timeout"}).opt(exception=ValueError("v")).info("b")
    assert logs.stop(60)
    first, second = lines()
    assert first["error.kind"] == "Timeout"
    assert (second["error.kind"], second["extra.error.kind"]) == ("ValueError", "Timeout")


def test_an_exception_without_an_exception(start, lines):
    """`logger.exception()` outside of an except block is a line without error.*, from both libraries."""
    logs = start()
    logger.exception("loguru's")
    logging.getLogger("x").exception("the library's")
    assert logs.stop(60)
    assert [[key for key in line if key.startswith("error.")] for line in lines()] == [[], []]


def test_a_custom_level_keeps_its_name(start, lines):
    """Datadog's status has six words: a level of one's own is found by `levelname`."""
    logs = start(log_level="TRACE")
    logging.addLevelName(35, "NOTICE")
    logger.level("AUDIT", no=38)
    logging.getLogger("x").log(35, "by logging")
    logger.log("AUDIT", "by loguru")
    logger.trace("very fine")
    logger.warning("plain")
    logger.bind(levelname="mine").warning("a field")
    assert logs.stop(60)
    found = [(line["status"], line.get("levelname"), line.get("extra.levelname")) for line in lines()]
    assert found == [
        ("warning", "NOTICE", None),
        ("warning", "AUDIT", None),
        ("debug", "TRACE", None),
        ("warning", None, None),
        ("warning", None, "mine"),
    ]


@pytest.mark.process
def test_our_own_notices_survive_a_dict_config():
    """A dictConfig disables every logger that was there before; ours goes on speaking."""
    code = """
import logging.config
from streaming_dd import logs
from streaming_dd.output.notices import say
logs.configure()
logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})
logs.current().refresh_bridge()
say("subject", "something is wrong")
"""
    result = run_script(code)
    assert messages(result.stdout) == ["something is wrong"], result.stderr


def test_a_long_message_is_kept_up_to_the_line_limit(start, lines):
    """300 kB are cut to what every Agent reads, 250,000 bytes; 200 kB are not cut."""
    logs = start()
    logger.info("{}", "x" * 300_000)
    logger.info("key: {}", "word " * 40_000)
    logs.write_record(logging.LogRecord("x", 20, "", 0, "€" * 100_000, (), None))
    assert logs.stop(60)
    first, second, third = lines()
    assert 235_000 < len(first["message"]) < 250_000
    assert first["truncated"] > 300_000
    assert second["message"] == "key: " + "word " * 40_000
    assert len(third["message"].encode()) < 250_000
