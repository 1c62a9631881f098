"""From a request's scope to its route template: never a raw path.

Starlette, FastAPI and Litestar leave what they matched in the scope; hooks on Django (streaming_dd.django.hooks), Quart
and BlackSheep (streaming_dd.requests.frameworks) note the route on the request's exchange; an app without routes is
covered by configured patterns. State: the templates already found, bounded.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final

from ...output.failure import shown
from ...output.notices import say
from .proposal import Proposal
from .walk import Nowhere, frontend_files, included_leaf, routes_of, walk

UNMATCHED: Final = "unmatched"
_CACHE_LIMIT: Final = 2000
#: What a tag's value cannot have, see https://docs.datadoghq.com/getting_started/tagging/
_FORBIDDEN: Final = re.compile(r"[^\w\-:./]")
_REPEATED: Final = re.compile(r"__+")
_LONGEST: Final = 190
_COLON = re.compile(r"(?<=/):([A-Za-z_]\w*)")
_PLACEHOLDER = re.compile(r"\{([^{}:]+)(?::([a-z]+))?\}")
_CONVERTERS: Final = {"path": ".*", "int": "[0-9]+", "uuid": "[0-9a-fA-F-]{36}"}
#: Module of a framework -> the module of ours whose `install()` has the framework note its routes.
_HOOKS: Final = {
    "django.core.handlers.asgi": "streaming_dd.django.hooks",
    "channels.routing": "streaming_dd.django.consumers",
    "channels.layers": "streaming_dd.django.channel_layers",
    "litestar.app": "streaming_dd.requests.frameworks.litestar",
    "quart.app": "streaming_dd.requests.frameworks.quart",
    "blacksheep.server.application": "streaming_dd.requests.frameworks.blacksheep",
}


def install_hooks() -> None:
    """Have the frameworks that this process has loaded note the routes they find; what fails is said once."""
    for framework, home in _HOOKS.items():
        if framework not in sys.modules:
            continue
        try:
            import_module(home).install()
        except Exception as error:  # noqa: BLE001 - a framework too new or old must not cost the request
            say("routes", f"{home} cannot be installed ({shown(error)}); routes count as unmatched")


def compile_pattern(template: str) -> re.Pattern[str]:
    """Return the expression of a template such as `/stream/{app}/{id:int}`; `{rest:path}` matches slashes too.

    `/stream/:app/:id` is the same as `/stream/{app}/{id}`.
    """
    template = _COLON.sub(r"{\1}", template)
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


def in_colon_style(template: str) -> str:
    """Return a template as Datadog's intake leaves it: `/items/:id`, in lower case, no other characters than tags have.

    Braces become underscores in a tag, but stay on a span: the two would no longer be found by one search.
    """
    plain = _PLACEHOLDER.sub(lambda match: ":any" if match[1] == "*" else f":{match[1]}", template).lower()
    return _REPEATED.sub("_", _FORBIDDEN.sub("_", plain))[:_LONGEST].rstrip("_:") or "/"


def path_matcher(patterns: Iterable[str]) -> Callable[[str], object] | None:
    """Return a test whether a path is one of `patterns` (`*` matches any text), or None without patterns."""
    expressions = [fnmatch.translate(pattern) for pattern in patterns]
    return re.compile("|".join(expressions)).match if expressions else None


class Routes:
    """Find the route templates of one wrapped application."""

    def __init__(self, app: Any, patterns: Iterable[str] = (), style: str = "colon") -> None:
        self._app = app
        self._style = style
        self._spelled: dict[str, str] = {}
        self._patterns = [(compile_pattern(pattern), without_converters(pattern)) for pattern in patterns]
        self._templates: dict[tuple[int | str, str], str] = {}
        #: id of a route that has its whole path -> its template; the same as it is spelled.
        self._leaves: dict[int, str] = {}
        self._usual: dict[int, str] = {}
        self._kept: list[Any] = []
        self._nowhere = Nowhere(app)
        self._proposal = Proposal() if not self._patterns and not routes_of(app) else None
        #: What the application's router does not find has no name, and nobody is to be told of it.
        self._nameless = not self._patterns and self._proposal is None

    def template(self, scope: Any, path: str, root_path: str, noted: str | None = None) -> str:
        """Return the template of a request that the app has seen.

        `path` and `root_path` are what the scope had at first: routers change it. `noted` is a route that the
        application's framework told us itself, relative to where it is mounted. Never raises: a router that
        cannot be read gives `unmatched`, said once a minute.
        """
        if noted is None and "fastapi" not in scope and scope.get("root_path", "") == root_path:
            route = scope.get("route")
            if route is not None:
                spelled = self._usual.get(id(route))  # one look for what is routed by one router
                if spelled is not None:
                    return spelled
            elif self._nameless and self._nowhere.missed(scope):
                return UNMATCHED
        found = self._template(scope, path, root_path, noted)
        return self._spelled.get(found) or self._spell(found)

    def _spell(self, template: str) -> str:
        spelled = in_colon_style(template) if self._style == "colon" else template
        if len(self._spelled) >= _CACHE_LIMIT:
            self._spelled.clear()
        self._spelled[template] = spelled
        return spelled

    def _template(self, scope: Any, path: str, root_path: str, noted: str | None) -> str:
        try:
            if noted is not None:
                return self._noted(scope, path, root_path, noted)
            left = scope.get("path_template")  # Litestar's
            if left is not None:
                return self._noted(scope, path, root_path, str(left))
            route = scope.get("route")
            if "fastapi" in scope:
                files = frontend_files(scope, path)
                if files is not None:
                    return self._noted(scope, path, root_path, files)
                route = included_leaf(scope, route)
            return self._find(scope, route, path, root_path)
        except Exception as error:  # noqa: BLE001 - a custom route class must not cost the request
            say(
                "routes", f"the route of a request could not be read ({shown(error)}); it counts as unmatched"
            )
            return UNMATCHED

    def _find(self, scope: dict[str, Any], route: Any, path: str, root_path: str) -> str:
        if route is None:
            # An app without routes, one that has none for this path, a router whose marks were lost in a copy of
            # the scope, or a Starlette that does not leave the route in it.
            if not root_path and self._nowhere.has(path):
                return self._configured(path)
            template = self._walk(path, root_path, scope) or self._configured(path)
            if template is UNMATCHED and self._proposal is not None:
                self._proposal.add(path)
            return template
        now_under = scope.get("root_path", "")
        if now_under == root_path:
            found = getattr(route, "path", None)
            if found is not None and not hasattr(route, "routes") and not hasattr(route, "host"):
                return self._leaf(route, str(found))
        key = (id(route), now_under)
        known = self._templates.get(key)
        if known is not None:
            return known
        found = self._walk(path, root_path, scope)
        if not found:  # nothing that holds for all paths below this mount
            return self._configured(path)
        self._remember(key, found)
        return found

    def _leaf(self, route: Any, path: str) -> str:
        template = self._leaves.get(id(route))
        if template is None:
            template = without_converters(path)
            if len(self._leaves) < _CACHE_LIMIT:
                self._leaves[id(route)] = template
                self._usual[id(route)] = self._spell(template)
                self._kept.append(route)  # so that no other route gets its id
        return template

    def _noted(self, scope: dict[str, Any], path: str, root_path: str, noted: str) -> str:
        """Join what a framework noted to the mounts that lead to it; what it could not match has no route."""
        self._proposal = None
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
        found = walk(self._app, self._first_scope(path, root_path, scope), leaf=True)
        return without_converters(found) if found is not None else None

    def _mounts(self, scope: dict[str, Any], path: str, root_path: str) -> str:
        """The templates of the mounts that led to where the request was handled."""
        found = walk(self._app, self._first_scope(path, root_path, scope), leaf=False)
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
