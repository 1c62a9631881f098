"""What an exception is called, wherever it is told: on spans, in log lines, as a metric's tag. No state.

An ExceptionGroup is called by what is in it: "unhandled errors in a TaskGroup" tells a timeout from a bug to nobody.
docs/decisions/0111. The user's code in it may raise anything, SystemExit too: then a placeholder is told.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Final

from . import redaction

#: Kinds of leaves that a group's name has at most, and leaves that are looked at.
_KINDS: Final = 3
_LEAVES: Final = 100
_MESSAGE_LIMIT: Final = 5_000
_STACK_LIMIT: Final = 20_000
_SHOWN: Final = 500
_OWN: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BUILTIN: Final = frozenset({"builtins", "__main__"})


def type_name(error: BaseException) -> str:
    """Return an exception's class name, for a tag: of a group the names in it, such as `KeyError/ValueError`."""
    return _joined(_name_of(kind, "__name__") for kind in _kinds(error))


def kind_name(error: BaseException) -> str:
    """Return an exception's qualified class name, as error.kind and error.type have it; of a group as `type_name`."""
    return _joined(qualified_name(kind) for kind in _kinds(error))


def qualified_name(kind: Any) -> str:
    """Return a class' name with its module, unless that is `builtins` or the script; never raises."""
    name = _name_of(kind, "__qualname__")
    module = _name_of(kind, "__module__", "builtins")
    return name if module in _BUILTIN else f"{module}.{name}"


def message_of(error: BaseException) -> str:
    """Return an exception's text, of a group with those of its leaves; never raises."""
    text = _text(error)
    if isinstance(error, BaseExceptionGroup):
        told = [
            f"{_name_of(type(leaf), '__name__')}: {_text(leaf)}"
            for leaf, _ in zip(_leaves(error), range(_KINDS), strict=False)
        ]
        text = "; ".join([text, *told])
    return text[:_MESSAGE_LIMIT]


def stack_of(error: BaseException, trace: TracebackType | None = None) -> str:
    """Return an exception's stack with its causes, our own outer frames left out; `trace` if not its own. Never raises."""
    trace = _users(error.__traceback__ if trace is None else trace)
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:  # noqa: BLE001 - user code runs in there: __str__, __repr__, properties, loaders
        return "".join(traceback.format_tb(trace)) + f"{kind_name(error)}: {_text(error)}"


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's qualified type, message and stack, as they may leave the process; never raises.

    Causes are included, secrets masked; of a long stack it is the end.
    """
    stack = redaction.mask(stack_of(error))
    return kind_name(error), redaction.mask(message_of(error)), stack[-_STACK_LIMIT:]


def shown(error: BaseException) -> str:
    """Return an exception in one line, for a sentence of ours: secrets masked; never raises."""
    text = redaction.mask(message_of(error)[:_SHOWN])
    return f"{kind_name(error)}: {text}" if text else kind_name(error)


def _kinds(error: BaseException) -> list[type[BaseException]]:
    if not isinstance(error, BaseExceptionGroup):
        return [type(error)]
    kinds = dict.fromkeys(type(leaf) for leaf, _ in zip(_leaves(error), range(_LEAVES), strict=False))
    return sorted(kinds, key=lambda kind: _name_of(kind, "__name__")) or [type(error)]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    while waiting:
        next_one = waiting.pop()
        if isinstance(next_one, BaseExceptionGroup):
            waiting += reversed(next_one.exceptions)
        else:
            yield next_one


def _joined(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    more = ["..."] if len(found) > _KINDS else []
    return "/".join(found[:_KINDS] + more)


def _name_of(kind: Any, attribute: str, otherwise: str = "Exception") -> str:
    """A name of a class; one whose author has taken it away, or whose metaclass raises, has none."""
    try:
        found = getattr(kind, attribute)
    except BaseException:  # noqa: BLE001 - user code runs in there
        return otherwise
    return found if isinstance(found, str) and found else otherwise


def _users(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the outermost frames that are this package's own; of our own faults all of them are told."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OWN):
        inner = inner.tb_next
    return inner or trace


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - a broken __str__ must not hide the error
        return "<its __str__ raised>"
