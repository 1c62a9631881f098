"""Properties: what is written can be read again, and no text brings anything but a QueryError."""

from __future__ import annotations

from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st

from streaming_dd.assets.query_language import (
    MONITOR_TYPES,
    And,
    Arithmetic,
    Call,
    ChangeMonitor,
    Compare,
    CompositeMonitor,
    Duration,
    EventMonitor,
    Everything,
    Expression,
    Fill,
    Filter,
    In,
    Keyword,
    MetricMonitor,
    MetricQuery,
    MonitorId,
    MonitorQuery,
    Negative,
    Not,
    Number,
    Or,
    Phrase,
    Range,
    Reference,
    Rollup,
    Search,
    ServiceCheckMonitor,
    Shift,
    SloMonitor,
    Tag,
    Term,
    Text,
    Variable,
    Window,
    parse_formula,
    parse_monitor,
    parse_query,
    parse_search,
    search_text,
)
from streaming_dd.errors import QueryError

WORDS = {"and", "or", "not", "in", "by"}
AGGREGATORS = st.sampled_from(["avg", "sum", "min", "max", "count", "p50", "p95", "p99.9"])
NUMBERS = st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(abs)  # no -0.0
THRESHOLDS = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value or 0.0)
COMPARATORS = st.sampled_from([">", ">=", "<", "<=", "==", "!="])
names = st.from_regex(r"[a-z][a-z0-9_]{0,6}(\.[a-z0-9_]{1,6}){0,2}", fullmatch=True).filter(
    lambda name: (
        name not in WORDS | {"avg", "sum", "min", "max", "count", "stddev", "histogram", "percentile"}
        and not name.startswith("p")
    )
)
keys = st.from_regex(r"[a-z][a-z0-9_.\-]{0,8}", fullmatch=True).filter(lambda key: key not in WORDS)
values = st.from_regex(r"[A-Za-z0-9_.\-/:*]{1,10}", fullmatch=True)
durations = st.builds(Duration, st.integers(1, 59), st.sampled_from(["m", "h"]))


def booleans(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Combine `leaves` with And, Or and Not."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        ),
        max_leaves=6,
    )


variables = st.builds(Variable, st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.booleans())
filters: st.SearchStrategy[Filter] = booleans(
    st.one_of(
        st.builds(Tag, keys, st.one_of(st.none(), values)),
        st.just(Everything()),
        variables,
        keys.flatmap(
            lambda key: st.builds(
                In,
                st.just(key),
                st.lists(
                    values.filter(lambda one: not one.startswith(f"{key}:")), min_size=1, max_size=3
                ).map(tuple),
            )
        ),
    )
)
queries = st.builds(
    MetricQuery,
    aggregator=AGGREGATORS,
    metric=names,
    scope=filters,
    by=st.lists(keys, max_size=2).map(tuple),
    kind=st.sampled_from([None, "count", "rate"]),
    rollup=st.one_of(
        st.none(),
        st.builds(Rollup, st.sampled_from(["avg", "sum", "max"]), st.one_of(st.none(), st.integers(1, 3600))),
        st.builds(Rollup, st.none(), st.integers(1, 3600)),
    ),
    fill=st.one_of(
        st.none(),
        st.builds(Fill, st.sampled_from(["zero", "last"]), st.one_of(st.none(), st.integers(1, 600))),
    ),
)
texts = st.from_regex(r"[A-Za-z0-9 _'\-]{0,8}", fullmatch=True).map(Text)


def expressions(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    """Combine `leaves` with arithmetic and functions."""
    return st.recursive(
        st.one_of(leaves, st.builds(Number, NUMBERS)),
        lambda inner: st.one_of(
            st.builds(Arithmetic, st.sampled_from("+-*/"), inner, inner),
            st.builds(Negative, inner),
            st.builds(
                Call,
                st.from_regex(r"f[a-z_0-9]{0,8}", fullmatch=True),
                st.lists(
                    st.one_of(
                        inner, texts, st.builds(Keyword, st.just("direction"), st.one_of(inner, texts))
                    ),
                    max_size=3,
                ).map(tuple),
            ),
        ),
        max_leaves=8,
    )


terms = st.from_regex(r"[A-Za-z0-9_*?][A-Za-z0-9_.*?\-/]{0,8}", fullmatch=True).filter(
    lambda word: word not in {"AND", "OR", "NOT", "*"}
)
search_keys = st.from_regex(r"@?[a-z][a-z0-9_.\-]{0,8}", fullmatch=True)
quantities = st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,2})?(ms|s|h)?", fullmatch=True)
phrases = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=10)
searches: st.SearchStrategy[Search] = booleans(
    st.one_of(
        st.builds(Term, st.one_of(st.none(), search_keys), terms),
        st.builds(Phrase, st.one_of(st.none(), search_keys), phrases),
        st.builds(Compare, search_keys, st.sampled_from([">", ">=", "<", "<="]), quantities),
        st.builds(Range, search_keys, st.one_of(st.just("*"), quantities), quantities),
        st.just(Everything()),
        variables,
    )
)

quoted_texts = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=8)
groups = st.lists(quoted_texts, min_size=1, max_size=2).map(tuple)
monitors: dict[str, st.SearchStrategy[MonitorQuery]] = {
    "query alert": st.one_of(
        st.builds(
            MetricMonitor,
            st.sampled_from(["avg", "sum", "min", "max", "percentile"]),
            st.builds(Window, durations, st.booleans()),
            expressions(queries),
            COMPARATORS,
            THRESHOLDS,
        ),
        st.builds(
            ChangeMonitor,
            st.sampled_from(["change", "pct_change"]),
            st.sampled_from(["avg", "sum", "min", "max"]),
            st.builds(Window, durations),
            st.builds(Shift, durations, st.booleans()),
            expressions(queries),
            COMPARATORS,
            THRESHOLDS,
        ),
    ),
    "service check": st.builds(
        ServiceCheckMonitor,
        quoted_texts,
        groups,
        st.one_of(st.just(()), groups),
        st.one_of(st.just(()), groups),
        st.integers(1, 100),
    ),
    "log alert": st.one_of(
        st.builds(
            EventMonitor,
            st.just("logs"),
            searches,
            st.just("count"),
            st.none(),
            durations.filter(lambda length: length.seconds <= 48 * 3600),
            COMPARATORS,
            THRESHOLDS,
            st.one_of(st.just(()), groups),
            st.lists(search_keys, max_size=2).map(tuple),
        )
    ),
    "trace-analytics alert": st.builds(
        EventMonitor,
        st.just("trace-analytics"),
        searches,
        st.sampled_from(["avg", "pc95", "cardinality"]),
        search_keys,
        durations.filter(lambda length: length.seconds <= 48 * 3600),
        COMPARATORS,
        THRESHOLDS,
        st.just(()),
        st.lists(search_keys, max_size=2).map(tuple),
    ),
    "slo alert": st.one_of(
        st.builds(
            SloMonitor,
            st.just("error_budget"),
            quoted_texts,
            durations,
            st.sampled_from([">", ">="]),
            THRESHOLDS,
        ),
        st.builds(
            SloMonitor,
            st.just("burn_rate"),
            quoted_texts,
            durations,
            st.sampled_from([">", ">="]),
            THRESHOLDS,
            durations,
            durations,
        ),
    ),
    "composite": st.builds(
        CompositeMonitor,
        booleans(
            st.one_of(
                st.integers(1, 10**9).map(lambda id: MonitorId(str(id))),
                st.from_regex(r"[a-z][a-z\-]{0,8}", fullmatch=True).map(
                    lambda name: MonitorId(f"${{monitor:{name}}}")
                ),
            )
        ),
    ),
}


@given(expressions(queries))
def test_expression_is_read_as_it_was_written(expression: Expression) -> None:
    """parse(str(expression)) gives the same expression."""
    assert parse_query(str(expression)) == expression


@given(expressions(st.builds(Reference, names)))
def test_formula_is_read_as_it_was_written(expression: Expression) -> None:
    """parse(str(formula)) gives the same formula."""
    assert parse_formula(str(expression)) == expression


@given(st.sampled_from(sorted(monitors)).flatmap(lambda type: st.tuples(st.just(type), monitors[type])))
def test_monitor_is_read_as_it_was_written(case: tuple[str, MonitorQuery]) -> None:
    """parse(str(monitor)) gives the same monitor, for every type."""
    type, monitor = case
    assert parse_monitor(str(monitor), type) == monitor


@given(searches)
def test_search_is_read_as_it_was_written(search: Search) -> None:
    """parse(text(search)) gives the same search."""
    assert parse_search(search_text(search)) == search


PIECES = """
avg sum : { } ( ) * $ $env a.b env:prod , ! AND OR NOT IN by .as_count() .rollup( 60 5 > == = " ' \\ - + / last_5m
logs( .last( @x: [ TO ] && || 1 service: ${monitor:a} é
""".split()  # noqa: SIM905
SOUP = st.lists(st.sampled_from([*PIECES, " ", "\n", "\x00"])).map("".join)
PARSERS = [
    parse_query,
    parse_formula,
    parse_search,
    *(partial(parse_monitor, type=type) for type in MONITOR_TYPES),
]


@given(st.one_of(st.text(), SOUP))
@example("avg:a{")
@example("\ud800")
def test_no_text_brings_anything_but_a_query_error(text: str) -> None:
    """Whatever is typed either parses or raises QueryError with a position inside the text."""
    for parse in PARSERS:
        position = 0
        try:
            parse(text)
        except QueryError as error:
            position = error.position
        assert 0 <= position <= len(text)
