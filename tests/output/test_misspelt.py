"""DD_* variables that nobody reads: said where a process starts, and by `streaming-dd config`."""

from __future__ import annotations

from typing import Any

import pytest

from streaming_dd import cli
from streaming_dd.output import notices

SENTENCE = "Nobody reads the variable DD_SERVCE: did you mean DD_SERVICE?"


@pytest.fixture(autouse=True)
def _nothing_was_said() -> Any:
    notices.reset()
    yield
    notices.reset()


def test_a_start_names_a_misspelt_variable_once(
    configure: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of the logger `streaming_dd` says what was meant; names of other people's making are not mentioned."""
    monkeypatch.setenv("DD_SERVCE", "reports")
    monkeypatch.setenv("DD_OF_OUR_OWN", "1")
    for _ in range(2):
        configure(tracing_enabled=True, log_bridge=False)
    said = [record.getMessage() for record in caplog.records if record.name == "streaming_dd"]
    assert [line for line in said if "DD_" in line] == [SENTENCE]


def test_config_names_it_beside_the_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings stay alone on standard output, for `--json`; what was misspelt is on standard error."""
    monkeypatch.setenv("DD_SERVCE", "reports")
    monkeypatch.setenv("DD_TAGS", "team:")
    assert cli.main(["config", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "DD_SERVCE" not in out
    assert err.splitlines() == [
        "warning: DD_TAGS='team:': 'team:' cannot be used: write tags as key:value.",
        f"warning: {SENTENCE}",
    ]


def test_a_misspelt_setting_of_ours_is_refused_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A STREAMING_ name that is no setting ends the command, as it would the application."""
    monkeypatch.setenv("STREAMING_LOG_LEVLE", "INFO")
    assert cli.main(["config"]) == 2
    assert "Did you mean STREAMING_LOG_LEVEL?" in capsys.readouterr().err
