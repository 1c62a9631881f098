"""From a request's scope to its route template: never a raw path.

Starlette and FastAPI leave what they matched in the scope; Django's hook (streaming_dd.django.hooks) notes the
resolver's route on the request's exchange; an app without routes is covered by configured patterns. State: the
templates already found, bounded.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final

from .notices import say

UNMATCHED: Final = "unmatched"
_CACHE_LIMIT: Final = 2000
_PLACEHOLDER = re.compile(r"\{([^{}:]+)(?::([a-z]+))?\}")
_CONVERTERS: Final = {"path": ".*", "int": "[0-9]+", "uuid": "[0-9a-fA-F-]{36}"}
#: Module of a framework -> the module of ours whose `install()` has the framework note its routes.
_HOOKS: Final = {"django.core.handlers.asgi": "streaming_dd.django.hooks"}


def install_hooks() -> None:
    """Have the frameworks that this process has loaded note the routes they find; what fails is said once."""
    for framework, home in _HOOKS.items():
        if framework not in sys.modules:
            continue
        try:
            import_module(home).install()
        except Exception as error:  # noqa: BLE001 - a framework too new or old must not cost the request
            say("routes", f"{home} cannot be installed ({error!r}); routes count as unmatched")


def compile_pattern(template: str) -> re.Pattern[str]:
    """Return the expression of a template such as `/stream/{app}/{id:int}`; `{rest:path}` matches slashes too."""
    parts, at = [], 0
    for match in _PLACEHOLDER.finditer(template):
        parts.append(re.escape(template[at : match.start()]))
        parts.append(_CONVERTERS.get(match.group(2) or "", "[^/]+"))
        at = match.end()
    parts.append(re.escape(template[at:]))
    return re.compile("".join(parts))


def without_converters(template: str) -> str:
    """Return the template with `{id}` for `{id:int}`: how a part is parsed does not belong in a tag."""
    return _PLACEHOLDER.sub(r"{\1}", template)


def path_matcher(patterns: Iterable[str]) -> Callable[[str], object] | None:
    """Return a test whether a path is one of `patterns` (`*` matches any text), or None without patterns."""
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    return re.compile("|".join(expressions)).match if expressions else None


class Routes:
    """Find the route templates of one wrapped application."""

    def __init__(self, app: Any, patterns: Iterable[str] = ()) -> None:
        self._app = app
        self._patterns = [(compile_pattern(pattern), without_converters(pattern)) for pattern in patterns]
        self._templates: dict[tuple[int | str, str], str] = {}
        self._leaves: dict[int, str] = {}
        self._kept: list[Any] = []

    def template(self, scope: Any, path: str, root_path: str, noted: str | None = None) -> str:
        """Return the template of a request that the app has seen.

        `path` and `root_path` are what the scope had at first: routers change it. `noted` is a route that the
        application's framework told us itself, relative to where it is mounted. Never raises: a router that
        cannot be read gives `unmatched`, said once a minute.
        """
        try:
            if noted is not None:
                return self._noted(scope, path, root_path, noted)
            route = scope.get("route")
            if route is not None and scope.get("root_path", "") == root_path:
                found = self._leaves.get(id(route))  # the usual case: one look
                if found is not None:
                    return found
            return self._find(scope, route, path, root_path)
        except Exception as error:  # noqa: BLE001 - a custom route class must not cost the request
            say("routes", f"the route of a request could not be read ({error!r}); it counts as unmatched")
            return UNMATCHED

    def _find(self, scope: dict[str, Any], route: Any, path: str, root_path: str) -> str:
        if route is None:
            # An app without routes, one that has none for this path, a router whose marks were lost in a copy of
            # the scope, or a Starlette that does not leave the route in it.
            return self._walk(path, root_path, scope) or self._configured(path)
        now_under = scope.get("root_path", "")
        if now_under == root_path:
            found = getattr(route, "path", None)
            if found is not None and not hasattr(route, "routes"):
                template = without_converters(str(found))
                if len(self._leaves) < _CACHE_LIMIT:
                    self._leaves[id(route)] = template
                    self._kept.append(route)  # so that no other route gets its id
                return template
        key = (id(route), now_under)
        known = self._templates.get(key)
        if known is not None:
            return known
        template = self._walk(path, root_path, scope) or self._configured(path)
        self._remember(key, template)
        return template

    def _noted(self, scope: dict[str, Any], path: str, root_path: str, noted: str) -> str:
        """Join what a framework noted to the mounts that lead to it; what it could not match has no route."""
        if noted == UNMATCHED:
            return self._configured(path)
        now_under = scope.get("root_path", "")
        if now_under == root_path:
            return noted
        key = (noted, now_under)
        template = self._templates.get(key)
        if template is None:
            template = self._mounts(scope, path, root_path) + noted
            self._remember(key, template)
        return template

    def _remember(self, key: tuple[int | str, str], template: str) -> None:
        if len(self._templates) >= _CACHE_LIMIT:
            self._templates.clear()
        self._templates[key] = template

    def _configured(self, path: str) -> str:
        for expression, template in self._patterns:
            if expression.fullmatch(path):
                return template
        return UNMATCHED

    def _walk(self, path: str, root_path: str, scope: dict[str, Any]) -> str | None:
        found = _walk(_routes_of(self._app), self._first_scope(path, root_path, scope), "", leaf=True)
        return without_converters(found) if found is not None else None

    def _mounts(self, scope: dict[str, Any], path: str, root_path: str) -> str:
        """The templates of the mounts that led to where the request was handled."""
        found = _walk(_routes_of(self._app), self._first_scope(path, root_path, scope), "", leaf=False)
        return without_converters(found) if found is not None else ""

    @staticmethod
    def _first_scope(path: str, root_path: str, scope: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": scope["type"],
            "method": scope.get("method", "GET"),
            "headers": scope.get("headers", []),
            "path": path,
            "root_path": root_path,
            "path_params": {},
        }


def _routes_of(app: Any) -> list[Any]:
    """The routes of an app, looking through the middleware around it."""
    for _ in range(50):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return list(routes)
        inner = getattr(app, "app", None)
        if inner is None or inner is app:
            break
        app = inner
    return []


def _walk(routes: list[Any], scope: dict[str, Any], prefix: str, *, leaf: bool) -> str | None:
    """Match as Starlette's router does, and return the joined templates; with `leaf` false, those of mounts only."""
    partial: str | None = None
    for route in routes:
        match, child_scope = route.matches(scope)
        if match.value == 0:  # Match.NONE
            continue
        inner = _routes_of(getattr(route, "app", None)) if not hasattr(route, "endpoint") else []
        own = getattr(route, "path", "") if not hasattr(route, "host") else ""
        if hasattr(route, "endpoint"):
            if match.value == 2:  # Match.FULL
                return prefix + own if leaf else prefix
            partial = partial or (prefix + own if leaf else prefix)
            continue
        if inner:
            return _walk(inner, {**scope, **child_scope}, prefix + own, leaf=leaf) or (
                None if leaf else prefix + own
            )
        if not leaf:
            return str(prefix + own)
        return f"{prefix}{own}/{{path}}"  # static files and other apps without routes: one template
    return partial
