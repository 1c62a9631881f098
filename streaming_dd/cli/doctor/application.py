"""The layers around an ASGI application, and what among them harms streams or doubles spans. No state."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any, Final

from ...config import Config
from ...errors import ConfigError
from ...requests.routes import routes_of
from ...tasks.hooks.wrapping import doubles
from .report import Finding

_INNER: Final = ("app", "application", "_app", "asgi_app", "inner")
_LIMIT: Final = 100
_OURS: Final = "streaming_dd.middleware.DatadogMiddleware"
_DDTRACE: Final = "ddtrace.contrib.internal.asgi.middleware.TraceMiddleware"
_STARLETTE: Final = "starlette.applications.Starlette"
_BASE: Final = "starlette.middleware.base.BaseHTTPMiddleware"
_GZIP: Final = "starlette.middleware.gzip.GZipMiddleware"


def layers(app: Any) -> list[type]:
    """Return the classes of an ASGI application's layers, outermost first; mounted applications are not entered."""
    found: list[type] = []
    for _ in range(_LIMIT):
        found.append(type(app))
        found += [
            item.cls
            for item in getattr(app, "__dict__", {}).get("user_middleware", ())
            if isinstance(item.cls, type)
        ]
        inner = next((getattr(app, name) for name in _INNER if callable(getattr(app, name, None))), None)
        if inner is None or inner is app:
            break
        app = inner
    return found


def routes(app: Any, config: Config) -> Iterator[Finding]:
    """Look whether requests will have route templates: an application without routes needs patterns."""
    kinds = layers(app)
    if config.route_patterns or routes_of(app) or any(_notes_its_routes(kind) for kind in kinds):
        return
    yield Finding(
        "application.routes",
        "warning",
        f"{kinds[-1].__name__} has no routes that can be read: its requests count as route:unmatched",
        "Set STREAMING_ROUTE_PATTERNS, such as /stream/:app/:model/:id,/items/:id; "
        "the log proposes some after ten requests.",
    )


def findings(app: Any) -> Iterator[Finding]:
    """Look at the layers of `app`."""
    kinds = layers(app)
    ours = next((number for number, kind in enumerate(kinds) if _is(kind, _OURS)), None)
    names = " > ".join(kind.__name__ for kind in kinds)
    outer = [kind.__name__ for kind in kinds[:ours] if not _lets_all_through(kind)]
    if ours is None:
        yield Finding(
            "application.middleware",
            "error",
            f"the application is not wrapped: no DatadogMiddleware among {names}",
            "Write app = streaming_dd.instrument(app), and serve that app.",
        )
    elif outer:
        fix = "Wrap the application last: app = streaming_dd.instrument(app)."
        problem = f"DatadogMiddleware is inside {outer[0]}: what {outer[0]} answers itself is not counted"
        yield Finding("application.middleware", "warning", problem, fix)
    else:
        yield Finding("application.middleware", "ok", f"layers: {names}")
    yield from harmful(kinds)
    yield from doubled(kinds)


def doubled(kinds: list[type]) -> Iterator[Finding]:
    """Look for what is instrumented twice; it counts once, but one of the two is there by mistake."""
    if sum(_is(kind, _OURS) for kind in kinds) > 1:
        yield Finding(
            "application.middleware_twice",
            "warning",
            "DatadogMiddleware is there twice; the outer one counts",
            "Use either streaming_dd.instrument(app) or add_middleware(DatadogMiddleware).",
        )
    for found in doubles():
        yield Finding(
            "application.task_twice",
            "warning",
            f"tasks are instrumented twice, and counted once: {found}",
            "Keep one of the two.",
        )


def harmful(kinds: list[type]) -> Iterator[Finding]:
    """Look for layers that harm streams or double spans."""
    if sum(_is(kind, _DDTRACE) for kind in kinds) > 1:
        yield Finding(
            "application.ddtrace_twice",
            "warning",
            "ddtrace's TraceMiddleware is there twice: every request has two spans",
            "Remove the one that was added by hand; ddtrace.auto and patch() add their own.",
        )
    for kind in kinds:
        if _is(kind, _BASE):
            yield Finding(
                "application.base_http_middleware",
                "warning",
                f"{kind.__name__} is a BaseHTTPMiddleware: streams run in another task behind a buffer, and a client "
                "that leaves is noticed late",
                f"Write {kind.__name__} as pure ASGI middleware, or keep it from the routes that stream.",
            )
        if _is(kind, _GZIP) and not _gzip_spares_streams():
            yield Finding(
                "application.gzip",
                "warning",
                "GZipMiddleware of this Starlette compresses event streams, which holds events back",
                "Use Starlette 0.46 or newer, which leaves text/event-stream alone.",
            )


def _is(kind: type, name: str) -> bool:
    """Tell whether a class is, or derives from, the class of that name; nothing is imported for it."""
    return any(f"{base.__module__}.{base.__qualname__}" == name for base in kind.__mro__)


def _lets_all_through(kind: type) -> bool:
    """Whether a layer answers nothing before those inside it: a Starlette's first middleware sees all it answers."""
    return kind.__module__.startswith("streaming_dd.") or _is(kind, _STARLETTE)


def _notes_its_routes(kind: type) -> bool:
    return any(base.__module__.startswith(("django.", "channels.")) for base in kind.__mro__)


def _gzip_spares_streams() -> bool:
    module = sys.modules.get("starlette.middleware.gzip")
    return "text/event-stream" in getattr(module, "DEFAULT_EXCLUDED_CONTENT_TYPES", ())


def load(target: str) -> Any:
    """Import an application as servers name it, `package.module:attribute`; raise ConfigError if there is none."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(
            "--app", f"{target!r} names no application.", "Write it as for uvicorn: package.module:app."
        )
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    package = module_name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise ConfigError("--app", f"there is no module {package}.", "Run it in the project's directory.")
    app: Any = importlib.import_module(module_name)
    for name in attribute.split("."):
        if not hasattr(app, name):
            raise ConfigError("--app", f"{module_name} has no {attribute}.")
        app = getattr(app, name)
    return app
