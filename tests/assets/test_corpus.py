"""`make corpus`: what it finds below a path, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import corpus


def test_shares_of_a_small_corpus_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dashboards and monitors are found by their shape, whatever lies beside them, and each share has its reasons."""
    requests = [
        {"q": "avg:a{*}, avg:b{*}", "display_type": "line"},
        {"q": "avg:a{*"},
        {"response_format": "timeseries", "queries": [{"data_source": "rum", "name": "a", "search": {"query": "x"}}]},
    ]  # fmt: skip
    widgets = [{"definition": {"type": "timeseries", "requests": [request]}} for request in requests]
    board = {"title": "x", "layout_type": "ordered", "widgets": widgets}
    monitor = {"name": "m", "type": "query alert", "query": "avg(last_5m):avg:a{*} > 5", "message": "x"}
    files = {
        "board": board,
        "wrapped": {"title": "t", "definition": monitor},
        "rum": {**monitor, "type": "rum alert", "name": "r"},
        "other": {"hello": 1},
    }
    for name, document in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (tmp_path / "broken.json").write_text("{")
    assert corpus.main([str(tmp_path)]) == 0
    lines = {
        line[:28].strip(): line.split() for line in capsys.readouterr().out.splitlines() if "goal" in line
    }
    shares = {name: words[len(name.split()) : len(name.split()) + 3] for name, words in lines.items()}
    assert shares == {
        "queries that parse": ["4", "of", "5"],
        "dashboards that lint clean": ["0", "of", "1"],
        "monitors that lint clean": ["2", "of", "2"],
        "monitors that are evaluated": ["1", "of", "2"],
        "widget requests drawn": ["1", "of", "3"],
    }


def test_nothing_found_is_a_failure(tmp_path: Path) -> None:
    """A wrong path does not pass for a perfect corpus."""
    assert corpus.main([str(tmp_path)]) == 1
