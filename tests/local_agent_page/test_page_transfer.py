"""Export, import and clear by the page's buttons: one file between two tries."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Visit, get
from playwright.sync_api import expect

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.browser


def test_a_try_is_taken_away_and_brought_back(visit: Visit, agent: LocalAgent, tmp_path: Path) -> None:
    """Clearing asks first; an exported file brings everything back; a file that is none says so and changes nothing."""
    page = visit.open("health")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export a file").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    rows = [row["message"] for row in get(agent, "logs?limit=50")["logs"]]
    page.get_by_role("button", name="Clear …").click()
    page.get_by_role("button", name="No", exact=True).click()
    assert len(get(agent, "logs?limit=50")["logs"]) == len(rows)
    page.get_by_role("button", name="Clear …").click()
    page.get_by_role("button", name="Yes, clear").click()
    expect(page.get_by_role("status")).to_contain_text("Everything was cleared")
    assert get(agent, "logs?limit=50")["logs"] == []
    page.get_by_label("File to import").set_input_files(file)
    expect(page.get_by_role("status")).to_contain_text("is what you see now")
    assert [row["message"] for row in get(agent, "logs?limit=50")["logs"]] == rows
    (tmp_path / "bad.sqlite").write_text("rubbish")
    page.get_by_label("File to import").set_input_files(tmp_path / "bad.sqlite")
    expect(page.get_by_role("status")).to_contain_text("no file that the local agent exported")
    assert len(get(agent, "logs?limit=50")["logs"]) == len(rows)
    assert [text for text in visit.problems if "400" not in text] == []
    visit.problems.clear()
