"""The DogStatsD parser: tables of bytes, and whatever hypothesis comes up with."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent.intake import dogstatsd
from streaming_dd.local_agent.intake.dogstatsd import Event, Sample, ServiceCheck

GOOD_METRICS = [
    (b"page.views:1|c", Sample("page.views", "c", (1.0,))),
    (b"fuel.level:0.5|g", Sample("fuel.level", "g", (0.5,))),
    (b"song.length:240|h|@0.5", Sample("song.length", "h", (240.0,), rate=0.5)),
    (b"users.uniques:1234|s", Sample("users.uniques", "s", ("1234",))),
    (b"users:a:b|s", Sample("users", "s", ("a:b",))),
    (b"users.online:1|c|#country:china,beta", Sample("users.online", "c", (1.0,), ("country:china", "beta"))),
    (b"t:1:2.5:3|ms", Sample("t", "ms", (1.0, 2.5, 3.0))),
    (b"h:0x1.8p1:1|g", Sample("h", "g", (3.0, 1.0))),
    (b"c:1|c|@2", Sample("c", "c", (1.0,), rate=2.0)),
    (b"t:1::2|d", Sample("t", "d", (1.0, 2.0))),
    (b"t::1:|d", Sample("t", "d", (1.0,))),
    (b"t:-1e3|g", Sample("t", "g", (-1000.0,))),
    (b"c:1|c|T1656581400", Sample("c", "c", (1.0,), timestamp=1656581400)),
    (b"c:1|c|c:83c0a99c0a54c0c187f461c7980e9b57|e:it-false,cn-x|card:low", Sample("c", "c", (1.0,))),
    (b"c:1|c|#a:1|@0.1|#b:2", Sample("c", "c", (1.0,), ("b:2",), rate=0.1)),
    (b"c:1|c|#a:1,,b:2,", Sample("c", "c", (1.0,), ("a:1", "b:2"))),
    (b"c:1|c|unknown|#x", Sample("c", "c", (1.0,), ("x",))),
    ("näme:1|c|#k:ü".encode(), Sample("näme", "c", (1.0,), ("k:ü",))),
    (b"bytes:1|c|#k:\xff", Sample("bytes", "c", (1.0,), ("k:\N{REPLACEMENT CHARACTER}",))),
]

BAD_LINES = [
    b"",
    b"name",
    b"name:1",
    b":1|c",
    b"name:|c",
    b"name:1|",
    b"name:1|x",
    b"name:one|c",
    b"name:1:x|c",
    b"name::|c",
    b"name:nan|g",
    b"name:inf|g",
    b"name:1e999|g",
    b"name:1_0|g",
    b"name: 1|g",
    b"name:1|c|@x",
    b"name:1|c|@0",
    b"name:1|c|@-1",
    b"t:5|ms|T1656581400",
    b"t:5|h|T1656581400",
    b"t:5|d|T1656581400",
    b"t:5|s|T1656581400",
    b"h:0x1|g",
    b"h:0x|g",
    b"h:0x1p99999|g",
    b"name:1|c|@nan",
    b"name:1|c|T0",
    b"name:1|c|T-5",
    b"name:1|c|Tx",
    b"_e{5,4}:title",
    b"_e{5,4}title|text",
    b"_e{0,4}:|text",
    b"_e{6,4}:title|text",
    b"_e{a,4}:title|text",
    b"_sc|name",
    b"_sc||0",
    b"_sc|name|4",
    b"_sc|name|ok",
]


@pytest.mark.parametrize(("line", "sample"), GOOD_METRICS)
def test_metric_line_is_read(line: bytes, sample: Sample) -> None:
    """A metric line gives its name, type, values, tags, rate and timestamp."""
    assert dogstatsd.parse(line) == sample


@pytest.mark.parametrize("line", BAD_LINES)
def test_broken_line_is_refused_with_a_reason(line: bytes) -> None:
    """A line that the Agent would drop raises ValueError, and says why."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        dogstatsd.parse(line)


def test_event_is_read_with_every_field() -> None:
    """An event's lengths count UTF-8 bytes, and its line breaks are written as backslash n."""
    title, text = "Größe", "zwei\\nZeilen | mit Strich"
    line = f"_e{{{len(title.encode())},{len(text.encode())}}}:{title}|{text}"
    line += "|d:1700000000|h:web-1|k:deploy|p:low|s:ci|t:warning|#env:prod,a|c:ignored"
    assert dogstatsd.parse(line.encode()) == Event(
        "Größe", "zwei\nZeilen | mit Strich", 1700000000, "web-1", "deploy", "low", "ci", "warning", ("env:prod", "a")
    )  # fmt: skip


def test_event_with_odd_optional_fields_keeps_the_rest() -> None:
    """An optional field that makes no sense is ignored, as in the Agent; the event is kept."""
    event = dogstatsd.parse(b"_e{1,1}:a|b|t:purple|p:urgent|d:soon")
    assert event == Event("a", "b")


def test_service_check_is_read_with_every_field() -> None:
    """A service check's message comes last and may hold escaped line breaks."""
    line = b"_sc|db.up|2|d:1700000000|h:web-1|#env:prod|m:Timeout\\nafter 3 s"
    assert dogstatsd.parse(line) == ServiceCheck(
        "db.up", "critical", 1700000000, "web-1", ("env:prod",), "Timeout\nafter 3 s"
    )


@pytest.mark.parametrize(
    ("name", "normalized"),
    [
        ("a.b_c", "a.b_c"),
        ("9lives", "lives"),
        ("with space-dash", "with_space_dash"),
        ("emoji😀s", "emoji_s"),
        ("Case.Kept", "Case.Kept"),
        ("a-.b", "a.b"),
        ("a.-b", "a.b"),
        ("a._b", "a._b"),
        ("x" * 300, "x" * 200),
        ("😀", "invalid"),
    ],
)
def test_metric_name_is_normalized_as_by_the_backend(name: str, normalized: str) -> None:
    """A name starts with a letter, holds ASCII letters, digits, `_` and `.`, and has at most 200 characters."""
    assert dogstatsd.normalize_name(name) == normalized


@pytest.mark.parametrize(
    ("tag", "normalized"),
    [
        ("Env:PROD", "env:prod"),
        ("route:GET /a/{id}", "route:get_/a/_id"),
        ("a__b:x!!y", "a_b:x_y"),
        ("1st:x", "st:x"),
        ("key:", "key"),
        ("größe:ü", "größe:ü"),
        ("k:" + "v" * 300, "k:" + "v" * 198),
        ("!!", ""),
    ],
)
def test_tag_is_normalized_as_by_the_backend(tag: str, normalized: str) -> None:
    """A tag is lower case, starts with a letter, and unsafe characters become one `_`."""
    assert dogstatsd.normalize_tag(tag) == normalized


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_value_error(line: bytes) -> None:
    """No line of bytes makes the parser fail in another way than ValueError."""
    with suppress(ValueError):
        assert isinstance(dogstatsd.parse(line), Sample | Event | ServiceCheck)


numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(
    st.characters(exclude_characters=":|#@,\n", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(
    name=words.filter(lambda name: not name.startswith(("_e{", "_sc"))),
    kind=st.sampled_from(["c", "g", "ms", "h", "d"]),
    values=st.lists(numbers, min_size=1, max_size=20),
    tags=st.lists(words, max_size=5),
    rate=st.floats(0.001, 1),
    order=st.randoms(),
)
def test_written_sample_reads_back(name, kind, values, tags, rate, order) -> None:
    """What a client writes is what is read, whatever the order of the optional fields."""
    optional = [f"|@{rate!r}", "|c:in-1", "|card:none"] + ([f"|#{','.join(tags)}"] if tags else [])
    order.shuffle(optional)
    line = f"{name}:{':'.join(map(repr, values))}|{kind}{''.join(optional)}"
    assert dogstatsd.parse(line.encode()) == Sample(name, kind, tuple(values), tuple(tags), None, rate)


@pytest.mark.slow
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    """A normalised name or tag stays as it is."""
    name, tag = dogstatsd.normalize_name(text), dogstatsd.normalize_tag(text)
    assert dogstatsd.normalize_name(name) == name
    assert dogstatsd.normalize_tag(tag) == tag
