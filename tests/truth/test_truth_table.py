"""Every number that is shown is what really happened: the truth table, against the clients' own books."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from truth_books import Books, Workers
from truth_happened import addresses, compared, happened, settle, visit_all
from truth_readers import Readers

from examples.demo.view import Watch
from streaming_dd.assets.truth import NUMBERS
from streaming_dd.local_agent import LocalAgent

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(390),  # what waits for buckets to close, several times, on a busy machine
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the books on CPU need /proc"),
]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_place_shows_what_happened(
    workers: int, tmp_path: Path, agent: LocalAgent, record_property: Any
) -> None:
    """With one worker and with three, each number of the table is the same at every place, and what clients counted."""
    since, books, watch = time.time() - 10, Books(), Watch(agent)
    with Workers(workers, tmp_path, addresses(agent)).running() as site:
        before = site.cpu_seconds()
        asyncio.run(visit_all(site, books))
        settle(agent, books)
        books.cpu_seconds = site.cpu_seconds() - before
        with Readers(agent, since, site, watch) as readers:
            rows, wrong = compared(readers, happened(books, workers, time.time() - since))
    record_property(f"truth with {workers} workers", "\n".join(rows))
    assert wrong == [], "\n" + "\n".join(rows)


def test_the_table_of_the_docs_is_fresh() -> None:
    """docs/truth.md is what the table says."""
    from streaming_dd.cli.reference import render as rendered

    text = Path("docs/truth.md").read_text(encoding="utf-8")
    assert rendered(text) == text
    assert json.dumps([number.name for number in NUMBERS])
