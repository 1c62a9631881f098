"""Find an argument of a call by its name, such as `report` or `report.pk`; refuse at decoration what is none. No state."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...errors import InstrumentError

#: Finds the argument among those of a call: (args, kwargs).
Argument = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function as its caller gives them, `self` of a function in a class included."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # C code without a signature
        return []


def find_argument(function: Callable[..., Any], path: str, decorator: str, option: str) -> Argument:
    """Return what finds the argument `path` (a parameter's name, with attributes behind dots) of a call.

    Raises InstrumentError where the function has no such parameter.
    """
    if not isinstance(path, str):
        raise InstrumentError(
            f"{decorator}({option}={path!r}): write the name of a parameter, such as {option}='report.pk'"
        )
    name, *attributes = path.split(".")
    found = parameters(function)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found)
    places = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    place = next((at for at, parameter in enumerate(places) if parameter.name == name), None)
    only = next((p for p in found if p.name == name and p.kind is p.KEYWORD_ONLY), None)
    if place is None and only is None and not takes_any:
        named = ", ".join(parameter.name for parameter in found) or "none"
        raise InstrumentError(
            f"{decorator}({option}={path!r}): {getattr(function, '__qualname__', function)} has no parameter {name!r} "
            f"(its parameters: {named})"
        )
    parameter = places[place] if place is not None else only
    default = parameter.default if parameter is not None and parameter.default is not parameter.empty else ""

    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = (
            kwargs[name]
            if name in kwargs
            else args[place]
            if place is not None and place < len(args)
            else default
        )
        for attribute in attributes:
            value = getattr(value, attribute)
        return value

    return find
