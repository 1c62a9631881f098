"""What is said of a fault: in one line, without secrets, whatever the exception is like."""

from __future__ import annotations

from typing import Any

import pytest

from streaming_dd.output.failure import shown


class _Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (ValueError("amqp://u:hunter2x@h"), "ValueError: amqp://u:***@h"),
        (ExceptionGroup("two", [KeyError(1), OSError("down")]), "KeyError/OSError: two (2 sub-exceptions)"),
        (_Mute(), f"{__name__}._Mute: <its __str__ raised>"),
    ],
)
def test_an_exception_is_told_in_one_line(error: Exception, told: str) -> None:
    """Its class and its text, masked; one that cannot be shown is told all the same."""
    assert shown(error).startswith(told)


def test_a_fault_whose_exception_cannot_be_shown_is_counted(
    configure: Any, sender: Any, flush: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said and counted, and raises nothing itself; a secret in an exception's text is not said."""
    found = configure()

    def fail(error: Exception) -> None:
        raise error

    for error in (_Mute(), ValueError("token=hunter2x9")):
        found.guarded(fail, error)
    flush()
    assert sender.total("streaming.telemetry.samples_dropped", reason="internal_error") == 2
    said = [record.getMessage() for record in caplog.records]
    assert any("_Mute: <its __str__ raised>" in line for line in said)
    assert "hunter2x9" not in str(said)
