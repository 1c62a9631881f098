"""Values that JSON cannot hold, secrets, line breaks and sizes: a line is never lost, never two, never too long."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import logging
import math
import pathlib
import uuid
from collections import OrderedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from streaming_dd import config as config_module
from streaming_dd.output.logs.lines import MAX_LINE, LineRenderer


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Login:
    user: str
    password: str


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no")


class Hostile(dict):
    def items(self):
        raise RuntimeError("no")


class LateString:
    """As Django's lazy translations."""

    def __str__(self):
        return "translated"


def circular():
    value = {"a": 1}
    value["self"] = value
    return value


def deep():
    value = "bottom"
    for _ in range(5000):
        value = [value]
    return value


class SilentHandler(logging.Handler):
    def emit(self, record):
        pass


MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (decimal.Decimal("1.50"), "1.50"),
        (b"\xffab", "\\xffab"),
        ({3}, [3]),
        ((1, 2), [1, 2]),
        (math.nan, None),
        (math.inf, None),
        (MOMENT, "2026-01-02T03:04:05+00:00"),
        (datetime.timedelta(seconds=90), "0:01:30"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (2**64, "18446744073709551616"),
        (-(2**63), -(2**63)),
        ("\udc80x", "\\udc80x"),
        (Login("joe", "hunter2"), {"user": "joe", "password": "***"}),
        (OrderedDict(a={1: "one", None: 2}), {"a": {"1": "one", "None": 2}}),
        (ValueError("bad"), "bad"),
        (LateString(), "translated"),
        (Unprintable(), "<Unprintable: its text raised RuntimeError>"),
        ([Unprintable()], ["<Unprintable: its text raised RuntimeError>"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_json_has_no_type_for_is_written_as_text(start, lines, value, written):
    """Each such value becomes its natural text or list, at the top and nested, and the line is there."""
    logs = start()
    logger.bind(value=value).info("x")
    logger.bind(value={"in": value}).info("x")
    logging.getLogger("x").warning("x", extra={"value": value})
    logs.emit({"message": "x", "value": value})
    assert logs.stop(60)
    top, nested, bridged, own = lines()
    assert top["value"] == bridged["value"] == own["value"] == written
    assert nested["value"] == {"in": written}
    assert logs.dropped == {}


@pytest.mark.parametrize(
    "value",
    [circular(), deep(), Hostile(a=1), 10**5000, [[0] * 1000] * 1000, object, lambda: None, {"k" * 999: 1}],
    ids=["circular", "deep", "hostile", "huge", "broad", "class", "function", "key"],
)
def test_a_value_without_end_is_cut(start, lines, value):
    """Cycles, depth, breadth and huge integers are cut; the line is there and of a bounded size."""
    logs = start()
    logger.bind(value=value).info("x")
    assert logs.stop(60)
    (line,) = lines()
    assert len(json.dumps(line["value"])) < 100_000


def test_a_wrong_format_string_does_not_lose_the_line(start, lines):
    """`log.info("%d", "x")` is written unformatted, with its argument."""
    log = logging.getLogger("wrong.format")  # kept from pytest's own handler, which raises for such a line
    log.propagate = False
    log.addHandler(SilentHandler())
    logs = start()
    log.warning("%d rows", "many")
    log.warning("%s", Unprintable())
    assert logs.stop(60)
    first, second = lines()
    assert first["message"] == "%d rows ('many',)"
    assert second["message"].startswith("%s ")


def test_a_record_made_by_hand_is_written(start, lines):
    """A record with hardly anything in it, as unpickled ones may be, is neither lost nor an error."""
    logs = start()
    logging.getLogger("x").handle(logging.makeLogRecord({"msg": "bare", "levelno": 30}))
    logging.getLogger("x").handle(
        logging.makeLogRecord({"msg": "odd", "levelno": 40, "name": None, "funcName": None})
    )
    assert logs.stop(60)
    first, second = lines()
    assert (first["message"], first["status"]) == ("bare", "warning")
    assert second["status"] == "error"


def test_a_patcher_that_ruins_records_loses_no_line(start, lines):
    """Whatever a user's patcher makes of the message, the line is there."""
    logs = start()
    logger.patch(lambda record: record.update(message=Unprintable())).info("x")
    logger.patch(lambda record: record.update(name=None, function=None)).info("y")
    assert logs.stop(60)
    first, second = lines()
    assert first["message"].startswith("<Unprintable")
    assert second["message"] == "y"


def test_a_line_that_cannot_be_rendered_is_counted(start, lines):
    """A record that is none any more is counted, said in its place and raises nothing into the caller."""
    logs = start()
    logger.patch(lambda record: record.pop("thread")).info("x")
    logger.info("y")
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == [
        "A log line could not be rendered: KeyError: 'thread'",
        "y",
    ]
    assert logs.dropped == {"unserialisable": 1}


def test_secrets_are_masked_wherever_they_are(start, lines, tmp_path):
    """A secret's value is nowhere in the file: by key, deep, in texts, exceptions and objects' own texts."""
    logs = start(log_redact=["ssn"])
    secret = "hunter2hunter2"
    logger.info("login password={}", secret, password=secret, nested={"a": [{"api_key": secret}]})
    logger.bind(
        ssn=secret, headers={"Authorization": f"Bearer {secret}"}, url=f"http://x/?token={secret}"
    ).info("x")
    logger.bind(login=Login("joe", secret), text=f"Login(password='{secret}')").info("x")
    logging.getLogger("x").warning("dsn %s", f"postgres://joe:{secret}@db/x", extra={"session": secret})
    logs.emit({"message": "x", "http.referer": f"https://x/?sessionid={secret}", "token": secret})
    try:
        raise ValueError(f"cannot connect with password={secret}")
    except ValueError:
        logger.exception("x")
    assert logs.stop(60)
    assert len(lines()) == 6
    assert secret not in (tmp_path / "app.log").read_text()


def test_line_breaks_cannot_forge_a_line(start, lines, tmp_path):
    """Whatever breaks lines is escaped in messages, keys and values: one call is one line."""
    logs = start()
    evil = 'x\n{"status":"critical","message":"forged"}\r\n\x00\x1b[31m'
    logger.bind(**{evil: evil}).info(evil)
    logging.getLogger(evil).warning(evil, extra={evil: evil})
    logs.emit({"message": evil, evil: evil})
    assert logs.stop(60)
    assert [line["message"] for line in lines()] == [evil] * 3
    raw = (tmp_path / "app.log").read_bytes()
    assert raw.count(b"\n") == 3
    assert not any(byte in raw for byte in (b"\r", b"\x00", b"\x1b"))


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x01" * 1_000_000, "é" * 500_000, "a b c\n" * 200_000])
def test_a_long_line_is_cut_and_still_json(start, lines, tmp_path, text):
    """A line is never longer than an Agent reads; what is cut is marked, what is around it is whole."""
    logs = start()
    logger.bind(text=text, row=5, nested={"deep": [text]}).info("start {}", text)
    logs.emit({"message": text, **{f"k{number}": "v" * 900 for number in range(1000)}})
    assert logs.stop(60)
    assert max(map(len, (tmp_path / "app.log").read_bytes().split(b"\n"))) <= MAX_LINE
    first, second = lines()
    assert first["message"].startswith("start ")
    assert "characters cut" in first["message"]
    assert first["truncated"] > MAX_LINE
    assert first["row"] == 5
    assert second["truncated"] > MAX_LINE


def test_a_long_secret_is_masked_and_a_long_text_fills_the_line(start, lines):
    """A secret is masked to its end however long it is, and only what an Agent would not read is cut."""
    logs = start()
    logger.info("token=" + "A" * 1_000_000 + " end")
    logger.info("a: b " * 200_000)
    assert logs.stop(60)
    first, second = lines()
    assert "AAA" not in first["message"]
    assert first["message"].endswith("end")
    assert 235_000 < len(second["message"]) < 250_000


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)
RENDERER = LineRenderer(config_module.load({"service": "s"}, environ={}), lambda: ("0", "0"))


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine generates slowly
@given(st.dictionaries(st.text(alphabet=st.characters()), JSON_LIKE), st.text(alphabet=st.characters()))
def test_whatever_the_fields_a_line_is_one_json_object(fields, message):
    """Any fields, any text (lone surrogates included): one line, JSON, with its reserved names intact."""
    record = logging.makeLogRecord({**fields, "name": "n", "msg": message, "levelno": 20, "args": ()})
    for line in (
        RENDERER.from_stdlib(record),
        RENDERER.from_fields({**fields, "message": message}, 20),
    ):
        assert b"\n" not in line
        decoded = json.loads(line)
        assert decoded["status"] == "info"
        assert decoded["service"] == "s" or "service" in fields
        assert isinstance(decoded["message"], str)
