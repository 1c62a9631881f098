"""All that an agent holds as one file, and back: an SQLite file as `--persist` writes and reads it. No state.

What is imported may come from anywhere: it is opened read-only, must have the very tables that an export has and nothing
that runs (views, triggers), and is read whole before anything is replaced; then once more, some rows at a time, which come
in by the doors of spans and lines.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import msgspec

from .holdings import Holdings
from .intake.logs import Log
from .intake.spans import Span, SpanLink
from .monitors.kept_states import SCHEMA as STATES
from .monitors.kept_states import StateFile
from .store import persistence, records
from .store.series import Store

MEDIA_TYPE = "application/vnd.sqlite3"
MAX_FILE = 512 * 1024 * 1024
"""Bytes of a file that is taken."""
MAX_SECONDS = 60.0
"""How long a file may take to be read."""
BATCH = 1_000
"""Rows that are taken before the loop gets its turn."""
SERIES = 100
"""Series whose rows are made before the loop gets its turn; one has up to a thousand rows."""

_Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
_Number = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")]


class _Span(msgspec.Struct, array_like=True):
    trace_id: _Hex
    span_id: _Number
    parent_id: _Number
    name: str
    resource: str
    service: str
    type: str
    start_ns: int
    duration_ns: int
    error: int
    attributes: dict[str, Any]
    links: list[_Link]
    events: list[dict[str, Any]]


class _Link(msgspec.Struct):
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class _Log(msgspec.Struct, array_like=True):
    timestamp: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    status: str
    message: str
    service: str
    source: str
    host: str
    tags: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


async def write(held: Holdings, path: Path) -> None:
    """Write everything that is held into a new file."""
    held.records.flush()
    with closing(sqlite3.connect(path, check_same_thread=False)) as copy:
        copy.execute("PRAGMA synchronous = OFF")
        # In steps and in a thread: between two steps the loop may use the connection.
        await asyncio.to_thread(held.records.connection.backup, copy, pages=500, sleep=0)
        copy.executescript(persistence.SCHEMA)
        await _write_metrics(held.store, copy)
        StateFile(held.store, copy).write(held.monitors)
        copy.commit()
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it


async def _write_metrics(store: Store, copy: sqlite3.Connection) -> None:
    """Write all series, some at a time: their rows are made on the loop, which changes them."""
    for table in ("series", "points", "sketches", "units"):
        copy.execute(f"DELETE FROM {table}")
    series = list(store.all())
    for at in range(0, len(series), SERIES):
        await asyncio.to_thread(_insert, copy, persistence.rows(series[at : at + SERIES], at + 1))
    await asyncio.to_thread(_insert, copy, {"units": list(store.units.items())})


def _insert(copy: sqlite3.Connection, tables: dict[str, list[tuple[Any, ...]]]) -> None:
    for table, rows in tables.items():
        if rows:
            copy.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
    copy.commit()


async def read(held: Holdings, path: Path) -> None:
    """Replace everything that is held by what a file holds; `ValueError` for one that is no export: nothing changes then."""
    store = await asyncio.to_thread(_read, held, path)
    held.forget()
    held.store.become(store)
    with closing(_open(path)) as db:
        db.set_progress_handler(None, 0)  # it was read within its time
        limits = held.records.counts()
        spans, logs = _spans(db, limits["spans"]["max_rows"]), _logs(db, limits["logs"]["max_rows"])
        while some := await asyncio.to_thread(list, islice(spans, BATCH)):
            held.records.add_spans(some)
            for span in some:
                held.tasks.add_span(span)
        while lines := await asyncio.to_thread(list, islice(logs, BATCH)):
            held.records.add_logs(lines)
            for log in lines:
                held.tasks.add_log(log)
        if held.monitors is not None:
            StateFile(held.store, db, made=True).attach(held.monitors)


def _read(held: Holdings, path: Path) -> Store:
    """Read a file to its end, and return its metrics; what is no export is found before anything changes."""
    store = Store(clock=held.clock, max_series=held.store.max_series, max_bins=held.store.max_bins)
    limits = held.records.counts()
    try:
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"it is larger than {MAX_FILE} bytes")
        with closing(_open(path)) as db:
            _check(db)
            persistence.fill(store, db)
            states = StateFile(store, db, made=True)
            states.load()
            states.check()
            for _ in chain(_spans(db, limits["spans"]["max_rows"]), _logs(db, limits["logs"]["max_rows"])):
                pass
            return store
    except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"this is no file that the local agent exported: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    deadline = time.monotonic() + MAX_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    return db


def _check(db: sqlite3.Connection) -> None:
    """Demand the tables of an export, and nothing that would run when they are read."""
    with closing(sqlite3.connect(":memory:")) as own:
        for schema in (records.SCHEMA, persistence.SCHEMA, STATES):
            own.executescript(schema)
        expected = _tables(own)
    if _tables(db) != expected:
        raise ValueError("it has other tables, or is of another version")
    others = db.execute(
        "SELECT type, name FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
    ).fetchone()
    if others:
        raise ValueError(f"it has a {others[0]}")


def _tables(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall())


def _spans(db: sqlite3.Connection, most: int) -> Iterator[Span]:
    columns = ", ".join(_Span.__struct_fields__)
    for row in db.execute(
        f"SELECT * FROM (SELECT {columns}, id FROM spans ORDER BY id DESC LIMIT ?) ORDER BY id", [most]
    ):
        *plain, attributes, links, events, _ = row
        wire = msgspec.convert([*plain, *map(_json, (attributes, links or "[]", events or "[]"))], _Span)
        yield Span(
            wire.trace_id, wire.span_id, wire.parent_id, wire.name, wire.resource, wire.service, wire.type,
            wire.start_ns, wire.duration_ns, wire.error,
            {key: value for key, value in wire.attributes.items() if isinstance(value, str)},
            {key: value for key, value in wire.attributes.items() if isinstance(value, int | float)},
            [SpanLink(link.trace_id, link.span_id, link.attributes) for link in wire.links],
            wire.events,
        )  # fmt: skip


def _logs(db: sqlite3.Connection, most: int) -> Iterator[Log]:
    columns = ", ".join(_Log.__struct_fields__)
    for row in db.execute(
        f"SELECT * FROM (SELECT {columns}, id FROM logs ORDER BY id DESC LIMIT ?) ORDER BY id", [most]
    ):
        *plain, attributes, _ = row
        wire = msgspec.convert([*plain, _json(attributes)], _Log)
        yield Log(
            wire.timestamp, wire.status, wire.message, wire.service, wire.source, wire.host, wire.trace_id, wire.span_id,
            tuple(tag for tag in wire.tags.split(",") if tag), wire.attributes,
        )  # fmt: skip


def _json(text: Any) -> Any:
    return msgspec.json.decode(text)
