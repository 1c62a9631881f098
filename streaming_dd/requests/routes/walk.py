"""Matching a request against an app's routes as Starlette's and FastAPI's routers do, to join their templates.

State: the routes of an app as one expression, in its `Nowhere`.
It is for requests whose route the framework did not leave in the scope, and for what is mounted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

#: Apps within apps that are looked through to find one with routes.
_LAYERS = 50
#: Whose routes have a `path_regex` and never match a path that it does not.
_MATCH_BY_PATH = frozenset(
    {
        *(f"starlette.routing.{name}.matches" for name in ("Route", "WebSocketRoute", "Mount")),
        *(f"fastapi.routing.{name}.matches" for name in ("APIRoute", "APIWebSocketRoute", "Mount")),
    }
)
_NAMED = re.compile(r"\(\?P<\w+>")


class _Found(NamedTuple):
    template: str
    #: Whether the method fits, too; a path alone is what a 405 and a CORS preflight have.
    full: bool


def walk(app: Any, scope: dict[str, Any], *, leaf: bool) -> str | None:
    """Return the joined templates of the routes that match `scope`; with `leaf` false, those of mounts only."""
    found = _walk(routes_of(app), scope, "", leaf)
    return found.template if found is not None else None


class Nowhere:
    """Tell in one look that a path matches none of an app's routes: scanners ask for many such paths."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._routes: list[Any] | None = None
        self._somewhere: re.Pattern[str] | None = None
        #: The list of the router that was seen last, how many routes it had, and whether all were of known classes.
        self._of_router: Any = None
        self._number = -1
        self._known = False

    def missed(self, scope: Any) -> bool:
        """Return whether a router has looked for this request's route and found none: then nobody needs to look again.

        It leaves itself in the scope before it looks, and what it found, if only by its path or a mount, with an endpoint.
        """
        if "endpoint" in scope:
            return False
        routes = getattr(scope.get("router"), "routes", None)
        if not isinstance(routes, list):
            return False
        if routes is not self._of_router or len(routes) != self._number:
            self._of_router, self._number = routes, len(routes)
            self._known = all(map(_matches_by_path, routes))
        return self._known

    def has(self, path: str) -> bool:
        """Return whether no route matches this path; False also where that must be found out by walking."""
        routes = routes_of(self._app)
        if routes != self._routes:
            self._routes = routes
            self._somewhere = _joined(routes)
        return self._somewhere is not None and self._somewhere.match(path) is None


def _matches_by_path(route: Any) -> bool:
    known = getattr(type(route), "matches", None)
    return f"{getattr(known, '__module__', '')}.{getattr(known, '__qualname__', '')}" in _MATCH_BY_PATH


def _joined(routes: Iterable[Any]) -> re.Pattern[str] | None:
    """Return the expressions of all routes as one; None if any route matches by something else."""
    found = []
    for route in routes:
        expression = getattr(route, "path_regex", None)
        if (
            not _matches_by_path(route)
            or not isinstance(expression, re.Pattern)
            or expression.flags != re.UNICODE
            or hasattr(route, "host")
        ):
            return None
        found.append(f"(?:{_NAMED.sub('(?:', expression.pattern)})")
    try:
        return re.compile("|".join(found)) if found else None
    except re.error:  # an expression that refers to its groups
        return None


def routes_of(app: Any) -> list[Any]:
    """Return the routes of an app, looking through the middleware around it."""
    for _ in range(_LAYERS):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return list(routes)
        inner = getattr(app, "app", None)
        if inner is None or inner is app:
            break
        app = inner
    return []


def included_leaf(scope: Any, route: Any) -> Any:
    """Return the route of FastAPI that has the whole path: from 0.137 on, an included router's own have a part of it.

    What the router left in the scope may be from a mount that the request passed on its way to `route`.
    """
    left = scope["fastapi"].get("effective_route_context")
    if left is None:
        return route
    placed = _placed(left)
    if (
        getattr(left, "original_route", None) is route
        or placed is route
        or hasattr(route, "effective_candidates")
    ):
        return placed
    return route


def frontend_files(scope: Any, path: str) -> str | None:
    """Return the template of files that FastAPI serves by `frontend()`, relative to where it is mounted; None for others.

    They have no route in the scope, but what is left of the path below them; what is before it has no parameters.
    """
    rest = scope["fastapi"].get("frontend_path")
    if rest is None:
        return None
    below = path.removeprefix(scope.get("root_path", ""))
    return below[: len(below) - len(rest)].rstrip("/") + "/{path}"


def _placed(context: Any) -> Any:
    """Return what an included route has become where it is included: it has the whole path, and can match."""
    return getattr(context, "starlette_route", None) or context


def _walk(routes: Iterable[Any], scope: dict[str, Any], prefix: str, leaf: bool) -> _Found | None:
    partial: _Found | None = None
    for route in routes:
        found = _look(route, scope, prefix, leaf)
        if found is not None and found.full:
            return found
        partial = partial or found
    return partial


def _look(route: Any, scope: dict[str, Any], prefix: str, leaf: bool) -> _Found | None:
    """Return what one route has to say to the request; None if it does not match."""
    candidates = getattr(route, "effective_candidates", None)
    if candidates is not None:  # a router that FastAPI includes: its routes have the prefix already
        return _walk((_placed(candidate) for candidate in candidates()), scope, prefix, leaf)
    if not hasattr(route, "matches"):  # of another framework
        return None
    match, child_scope = route.matches(scope)
    if match.value == 0:  # Match.NONE
        return None
    own = getattr(route, "path", "") if not hasattr(route, "host") else ""
    if hasattr(route, "endpoint"):
        return _Found(prefix + own if leaf else prefix, match.value == 2)  # Match.FULL
    inner = routes_of(getattr(route, "app", None))
    if inner:
        found = _walk(inner, {**scope, **child_scope}, prefix + own, leaf)
        if found is not None:
            return found._replace(full=True)  # a mount that matches is where the request goes
        return _Found("" if leaf else prefix + own, True)
    # static files and other apps without routes: one template
    return _Found(f"{prefix}{own}/{{path}}" if leaf else prefix + own, True)
