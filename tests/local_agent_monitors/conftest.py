"""Fixtures: a fresh laboratory for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from laboratory import Laboratory


@pytest.fixture
def lab() -> Iterator[Laboratory]:
    """A fresh laboratory."""
    laboratory = Laboratory()
    yield laboratory
    laboratory.records.close()
