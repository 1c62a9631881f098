"""Secrets out of what is sent, by the rules of `config.masking`.

State: the Redactor in use, `_current`, which every way out but the log lines' asks: they have one for each configuration.
"""

from __future__ import annotations

from ..config.masking import HIDDEN, HIDDEN_TEXT, MASK, SHOWN, Redactor, cut_text, mask_text

__all__ = [
    "HIDDEN",
    "HIDDEN_TEXT",
    "MASK",
    "SHOWN",
    "Redactor",
    "cut_text",
    "mask",
    "mask_name",
    "mask_text",
    "mask_value",
    "use",
]

_current = Redactor()


def use(keys: tuple[str, ...]) -> None:
    """Have `mask` know further keys that hold secrets."""
    global _current
    _current = Redactor(keys)


def mask(text: str) -> str:
    """Return `text` as it may leave the process: on a span, in an answer, in a profile."""
    return _current.mask(text)


def mask_name(name: str) -> str:
    """Return a short name that comes again and again as it may leave the process."""
    return _current.mask_name(name)


def mask_value(key: str, value: object, text: str) -> str:
    """Return `text`, by which `value` is told under `key`, as it may leave the process."""
    return MASK if _current.hides(key, value) else _current.mask(text)
