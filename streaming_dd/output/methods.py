"""Hooks on methods of other people's classes, put on and taken off together. State: in each `Methods` the originals."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

Hook = Callable[[Callable[..., Any]], Callable[..., Any]]


class Methods:
    """The methods that are hooked, by (owner, name); falsy while none is."""

    def __init__(self) -> None:
        self._originals: dict[tuple[Any, str], Callable[..., Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._originals)

    def put_on(self, hooks: Mapping[tuple[Any, str], Hook]) -> None:
        """Replace each method by what its hook makes of it; one that is hooked already stays as it is.

        Raises AttributeError, before anything is changed, where a method is not there.
        """
        found = {key: getattr(*key) for key in hooks if key not in self._originals}
        for (owner, name), original in found.items():
            setattr(owner, name, functools.wraps(original)(hooks[owner, name](original)))
        self._originals.update(found)

    def take_off(self) -> None:
        """Put the classes' own methods back."""
        for (owner, name), original in self._originals.items():
            setattr(owner, name, original)
        self._originals.clear()
