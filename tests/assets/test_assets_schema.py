"""The strict schema: it and Datadog's typed models, made strict, agree; its messages name the field."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from datadog_stand_in import model_complaints, with_ids
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_dd.assets.documents import Asset
from streaming_dd.assets.lint.schema import violations
from streaming_dd.assets.rendering import render

ASSETS = [
    asset
    for asset in render()
    if asset.name in ("overview", "health", "task-error-rate", "time-to-first-byte")
]


def places(document: Any) -> list[tuple[Any, Any]]:
    """List every (container, key) of a document."""
    found: list[tuple[Any, Any]] = []
    pending = [document]
    while pending:
        each = pending.pop()
        items = each.items() if isinstance(each, dict) else enumerate(each) if isinstance(each, list) else ()
        for key, value in items:
            found.append((each, key))
            pending.append(value)
    return found


@pytest.mark.slow
@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_schema_refuses_whatever_the_typed_models_refuse(data: st.DataObject) -> None:
    """Replace any field of a sound document: what the models refuse the schema refuses; of monitors also the reverse.

    (Where a model has alternatives, as widgets have, the models take much that fits none of them.)
    """
    asset: Asset = data.draw(st.sampled_from(ASSETS))
    document = copy.deepcopy(with_ids(asset))
    container, key = data.draw(st.sampled_from(places(document)))
    mutation = data.draw(st.sampled_from(["drop", "rename", "word", "list", "object", "negative"]))
    if mutation == "drop":
        del container[key]
    elif mutation == "rename" and isinstance(container, dict):
        container[f"{key}_x"] = container.pop(key)
    else:
        container[key] = {"word": "nonsense", "list": ["nonsense"], "object": {"nonsense": 1}}.get(
            mutation, -1
        )
    ours, theirs = violations(asset.kind, document), model_complaints(asset.kind, document)
    assert ours or not theirs, (mutation, key, theirs)
    assert theirs or not ours or asset.kind != "monitor", (mutation, key, ours)


@pytest.mark.parametrize(
    ("kind", "document", "path", "message"),
    [
        ("monitor", {"type": "query alert"}, "", "the field 'query' is missing"),
        ("monitor", {"type": "query alert", "query": 5}, "query", "expected a string, found 5"),
        (
            "monitor",
            {"type": "query alert", "query": "x", "priority": "1"},
            "priority",
            "expected an integer or null",
        ),
        ("monitor", [], "", "expected an object, found []"),
        (
            "dashboard",
            {"title": "x", "layout_type": "ordered", "widgets": {}},
            "widgets",
            "expected an array",
        ),
        ("slo", {"name": "x", "type": "metric", "thresholds": [{}]}, "thresholds[0]", "'target' is missing"),
    ],
)
def test_messages_name_the_field(kind: str, document: Any, path: str, message: str) -> None:
    """A violation says where it is and what was expected."""
    assert any(place == path and message in said for place, said in violations(kind, document))


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_document_breaks_the_check(document: Any) -> None:
    """Any JSON at all is checked without an exception, and is refused: none of it is a dashboard."""
    json.dumps(document)
    assert violations("dashboard", document)
