"""How a call of a coordinator's method tells which task it is: its object, app, model and id. No state.

By default they are found as the coordinator in the wild has them (an object with `process()`, a key `app:model:id`); a
decorator may name the parameters instead. What cannot work is refused at decoration.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_args

from ...errors import InstrumentError
from .arguments import Argument, find_argument, parameters
from .functions import name_of, split_name
from .instances import describe_task, instance_in
from .wrapping import Mark

_PLAIN: Final = frozenset({"str", "int", "float", "bytes", "bool", "UUID", "uuid.UUID"})
_SCALARS: Final = _PLAIN | frozenset(
    {"date", "datetime.date", "Decimal", "datetime", "datetime.datetime", "decimal.Decimal"}
    | {"list", "dict", "tuple", "set", "frozenset"}
)
#: `str | None`, `Optional[str]`, `list[Row]`: what counts is written before the bracket, or within this one.
_OPTIONAL: Final = re.compile(r"(?:typing\.)?Optional\[(.*)\]$")
_INSTEAD: Final = (
    "say what the task is called and which parameter is its id, such as "
    "@timers.runs_task(name='reports.export', id='job_id') or (app='app_name', model='kind', id='job_id')"
)


@dataclass(frozen=True, slots=True)
class Naming:
    """Where in the arguments a task's object and names are; what is None is found as it is usual."""

    fixed: tuple[str, str] | None = None
    instance: Argument | None = None
    app: Argument | None = None
    model: Argument | None = None
    task_id: Argument | None = None

    def instance_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the task's object; None where there is none."""
        return self.instance(args, kwargs) if self.instance is not None else instance_in(args, kwargs)

    def names_of(
        self, made: Mark, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, str, object]:
        """Return app, model and id of a call's task."""
        key = kwargs.get("task_key", args[-1] if args else "")
        described = describe_task(instance, key)
        app, model = self.fixed or (described[:2] if described is not None else name_of(made.base))
        if self.app is not None:
            app = str(self.app(args, kwargs))
        if self.model is not None:
            model = str(self.model(args, kwargs))
        if self.task_id is not None:
            return app, model, self.task_id(args, kwargs)
        return app, model, described[2] if described is not None else ""


#: For a coordinator that is instrumented as it is.
AS_IT_IS: Final = Naming()


def naming_of(
    function: Callable[..., Any],
    how: str,
    name: str | None = None,
    instance: str | None = None,
    app: str | None = None,
    model: str | None = None,
    task_id: str | None = None,
    needs_names: bool = True,
) -> Naming:
    """Return how a decorated function names its tasks. Raises InstrumentError for what cannot work."""
    if name is not None and (app is not None or model is not None):
        raise InstrumentError(f"{how}: either name='app.model' or the parameters app= and model=, not both")

    def find(path: str | None, option: str) -> Argument | None:
        return find_argument(function, path, how, option) if path is not None else None

    named = Naming(
        split_name(name, how) if name is not None else None,
        find(instance, "instance"),
        find(app, "app"),
        find(model, "model"),
        find(task_id, "id"),
    )
    if named == AS_IT_IS and needs_names:
        _refuse_nameless(function, how)
    return named


def _refuse_nameless(function: Callable[..., Any], how: str) -> None:
    """Refuse a function whose arguments say nothing of the task that it is."""
    found = parameters(function)
    if found and found[0].name in ("self", "cls"):
        found = found[1:]
    called = getattr(function, "__qualname__", function)
    if not found:
        raise InstrumentError(
            f"{how}: {called} has no parameter that could tell which task it is; {_INSTEAD}"
        )
    first, *others = found
    kind = _kind(first)
    if first.kind is inspect.Parameter.VAR_POSITIONAL or kind not in _SCALARS:
        return
    if _is_plain(first) or not any(map(_may_tell, others)):
        raise InstrumentError(f"{how}: the first argument of {called} is a {kind}, no task; {_INSTEAD}")


def _is_plain(parameter: inspect.Parameter) -> bool:
    """Whether a parameter is written as one plain value: callers give it, and the task is not looked for behind it."""
    written = parameter.annotation
    return (written if isinstance(written, str) else getattr(written, "__name__", "")) in _PLAIN


def _may_tell(parameter: inspect.Parameter) -> bool:
    """Whether a parameter behind the first may be given a task, or its key, by name."""
    return parameter.name in ("task_instance", "task_key") or _kind(parameter) not in _SCALARS


def _kind(parameter: inspect.Parameter) -> str:
    """Return the name of a parameter's type, as its annotation or else its default says; "" where neither does."""
    written = parameter.annotation
    if written is parameter.empty:
        default = parameter.default
        return type(default).__name__ if default is not parameter.empty and default is not None else ""
    text = written.__name__ if isinstance(written, type) and not get_args(written) else str(written)
    text = _OPTIONAL.sub(r"\1", text.strip("'\""))
    kinds = {part.strip().partition("[")[0] for part in text.split("|")} - {"None"}
    return kinds.pop() if len(kinds) == 1 else ""
