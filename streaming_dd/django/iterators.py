"""A synchronous iterator given to StreamingHttpResponse under ASGI: Django reads it to its end before the first byte.

Found when such a response is sent, and in the source of views by the system check. No state.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.http import FileResponse
from django.urls import URLPattern, URLResolver

from ..output.notices import say
from .route_templates import template_of

_RESPONSE: Final = "StreamingHttpResponse"
_METHODS: Final = ("get", "post", "put", "patch", "delete", "head")
_SYNC_BUILTINS: Final = frozenset({"iter", "map", "filter", "zip", "enumerate", "reversed", "open"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


# --- when it happens ------------------------------------------------------------------------------------------------


def warns_of_sync_iterators(run_get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Hook `ASGIHandler.run_get_response`: say once a minute which route streams from a synchronous iterator."""

    @functools.wraps(run_get_response)
    async def get_response_and_warn(self: Any, request: Any) -> Any:
        response = await run_get_response(self, request)
        if response.streaming and not response.is_async and not isinstance(response, FileResponse):
            route = template_of(request.resolver_match.route) if request.resolver_match else "a middleware"
            say(
                f"sync_iterator:{route}",
                f"{route} gives StreamingHttpResponse a synchronous iterator: under ASGI, Django reads it to its end "
                "before the client gets the first byte. Give it an async generator.",
            )
        return response

    return get_response_and_warn


# --- in the source of views -----------------------------------------------------------------------------------------


def views(patterns: list[URLPattern | URLResolver]) -> Iterator[Any]:
    """Yield the views of a URLconf, each once."""
    seen: set[int] = set()
    waiting = list(patterns)
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, URLResolver):
            waiting += item.url_patterns
        elif id(item.callback) not in seen:
            seen.add(id(item.callback))
            yield item.callback


def streams_synchronously(view: Any) -> str:
    """Return the source line by which a view streams from a synchronous iterator; "" if none is seen.

    Reads the view's own source: what it cannot follow, it does not report.
    """
    owner = getattr(view, "view_class", None)
    functions = [getattr(owner, name, None) for name in _METHODS] if owner is not None else [view]
    for function in functions:
        unwrapped = inspect.unwrap(function) if callable(function) else None
        if inspect.isfunction(unwrapped) and _RESPONSE in unwrapped.__code__.co_names:
            found = _Source(unwrapped, owner).offence()
            if found:
                return found
    return ""


class _Source:
    """The source of one function, and what the names in it mean."""

    def __init__(self, function: Any, owner: type | None) -> None:
        self._owner = owner
        self._names = {**function.__globals__, **_closure(function)}
        self._tree: ast.Module | None
        try:
            self._tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError, TypeError):  # no source, or none that stands alone: a lambda in a call
            self._tree = None

    def offence(self) -> str:
        """Return the call that is given a synchronous iterator."""
        for node in ast.walk(self._tree) if self._tree is not None else ():
            if isinstance(node, ast.Call) and _last_name(node.func) == _RESPONSE:
                given = node.args[0] if node.args else None
                for keyword in node.keywords:
                    given = keyword.value if keyword.arg == "streaming_content" else given
                if given is not None and self._is_sync(given):
                    return ast.unparse(node)
        return ""

    def _is_sync(self, node: ast.expr, depth: int = 0) -> bool:
        if isinstance(node, ast.GeneratorExp):
            return not any(part.is_async for part in node.generators)
        if isinstance(node, ast.List | ast.Tuple | ast.ListComp):
            return True
        if isinstance(node, ast.Name) and depth < 5:
            values = [
                item.value
                for item in ast.walk(self._tree or ast.Module([], []))
                if isinstance(item, ast.Assign)
                and any(isinstance(target, ast.Name) and target.id == node.id for target in item.targets)
            ]
            return bool(values) and all(self._is_sync(value, depth + 1) for value in values)
        return isinstance(node, ast.Call) and self._calls_generator(node.func)

    def _calls_generator(self, called: ast.expr) -> bool:
        if isinstance(called, ast.Name):
            local = self._local_function(called.id)
            if local is not None:
                return isinstance(local, ast.FunctionDef) and _yields(local)
            target = self._names.get(called.id)
            return (target is None and called.id in _SYNC_BUILTINS) or inspect.isgeneratorfunction(target)
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            holder = self._owner if called.value.id == "self" else self._names.get(called.value.id)
            return inspect.isgeneratorfunction(inspect.getattr_static(holder, called.attr, None))
        return False

    def _local_function(self, name: str) -> Function | None:
        for node in ast.walk(self._tree) if self._tree is not None else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                return node
        return None


def _closure(function: Any) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            found[name] = cell.cell_contents
    return found


def _yields(function: Function) -> bool:
    """Tell whether a function is a generator: a `yield` of its own, not of a function inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
