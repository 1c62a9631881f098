"""How a line looks, from each of its three sources."""

from __future__ import annotations

import logging

from loguru import logger


def test_a_loguru_line_is_flat_json_with_reserved_names(start, lines):
    """A loguru line carries Datadog's names, the call site and its bound fields, one object a line."""
    logs = start(service="shop", env="test", version="1.2", correlation=lambda: ("ab" * 16, "77"))
    logger.bind(order=5).info("hello {}", "world")
    assert logs.stop(5)
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
    logs = start(service="shop")
    logging.getLogger("shop.orders").warning("late %s", "order", extra={"order": 5})
    assert logs.stop(5)
    (line,) = lines()
    assert (line["status"], line["message"], line["logger.name"]) == ("warning", "late order", "shop.orders")
    assert line["order"] == 5


def test_emit_writes_fields_past_loguru(start, lines):
    """`emit` writes the given fields with the caller's trace ids, and a pre-rendered constant part."""
    logs = start(correlation=lambda: ("12", "34"))
    logs.emit(
        {"message": "GET /", "duration": 12_000_000}, constant=logs.constant_part({"http.method": "GET"})
    )
    assert logs.stop(5)
    (line,) = lines()
    assert line["http.method"] == "GET"
    assert line["duration"] == 12_000_000
    assert (line["dd.trace_id"], line["dd.span_id"]) == ("12", "34")
