"""`--persist FILE`: the metric store in the same SQLite file as spans and logs. State: one `SeriesFile` per agent.

Saved once a minute and at the stop, as the arrays that the store holds: an hour of a series is one row of 2.9 KB.
A kill loses at most the last minute of metrics.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from .points import COARSE, FINE_HOURS, HOUR, INTERVAL, KEEP_HOURS, Recorded
from .series import Store
from .sketch import FrozenSketch

EVERY = 60.0
LATE = 120
"""Seconds by which a distribution's bucket may still change after it was saved."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, metric TEXT, tags TEXT, kind TEXT, UNIQUE (metric, tags, kind));
CREATE TABLE IF NOT EXISTS points (
    series INTEGER, hour INTEGER, interval INTEGER, data BLOB, PRIMARY KEY (series, hour, interval)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sketches (
    series INTEGER, bucket INTEGER, count INTEGER, sum REAL, min REAL, max REAL, keys BLOB, counts BLOB,
    PRIMARY KEY (series, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS units (metric TEXT PRIMARY KEY, unit TEXT);
"""


class SeriesFile:
    """Loads a store from a database, and saves it there."""

    def __init__(self, store: Store, connection: sqlite3.Connection) -> None:
        self._store = store
        self._db = connection
        self._ids: dict[Recorded, int] = {}
        self._saved = 0.0
        self.problem = ""
        self.on_save: list[Callable[[], None]] = []
        """What else is written in the same transaction."""
        self._db.executescript(SCHEMA)

    def clear(self) -> None:
        """Drop everything from the file."""
        for table in ("points", "sketches", "series", "units"):
            self._db.execute(f"DELETE FROM {table}")
        self._db.commit()
        self._ids.clear()
        self._saved = 0.0

    def load(self) -> None:
        """Fill the store with what the file holds of the last 24 hours."""
        self._forget()
        self._ids = {recorded: id_ for id_, recorded in fill(self._store, self._db).items()}

    def save_if_due(self) -> None:
        """Save if the last time was a minute ago."""
        if abs(self._store.clock() - self._saved) >= EVERY:
            self.save()

    def save(self) -> None:
        """Write what has changed since the last time; what cannot be written is told in `problem`."""
        try:
            self._save()
        except sqlite3.Error as error:  # a full disk, a drive that went away
            self.problem = f"metrics could not be saved: {error}"

    def _save(self) -> None:
        now = self._store.clock()
        since = (int(self._saved) - LATE) // COARSE * COARSE
        with self._db:
            changed = [one for one in self._store.all() if one.last_time >= since or one not in self._ids]
            for recorded in changed:
                id_ = self._id(recorded)
                self._db.executemany(
                    "INSERT OR REPLACE INTO points VALUES (?,?,?,?)", _points(recorded, id_, since)
                )
                # Not only replaced: six buckets may have become one since.
                self._db.execute("DELETE FROM sketches WHERE series = ? AND bucket >= ?", [id_, since])
                self._db.executemany(
                    "INSERT INTO sketches VALUES (?,?,?,?,?,?,?,?)", _sketches(recorded, id_, since)
                )
            self._db.executemany("INSERT OR REPLACE INTO units VALUES (?,?)", self._store.units.items())
            self._forget()
            for write in self.on_save:
                write()
        self._saved = now

    def _id(self, recorded: Recorded) -> int:
        id_ = self._ids.get(recorded)
        if id_ is None:
            key = (recorded.metric, "\n".join(sorted(recorded.tags)), recorded.kind)
            self._db.execute("INSERT OR IGNORE INTO series (metric, tags, kind) VALUES (?,?,?)", key)
            query = "SELECT id FROM series WHERE metric = ? AND tags = ? AND kind = ?"
            id_ = self._ids[recorded] = int(self._db.execute(query, key).fetchone()[0])
        return id_

    def _forget(self) -> None:
        """Drop from the file what the store would not keep."""
        hour = int(self._store.clock()) // HOUR
        self._db.execute("DELETE FROM points WHERE hour < ?", [hour - KEEP_HOURS])
        self._db.execute(
            "DELETE FROM points WHERE interval = ? AND hour < ? AND (series, hour) IN "
            "(SELECT series, hour FROM points WHERE interval = ?)",
            [INTERVAL, hour - FINE_HOURS, COARSE],
        )
        self._db.execute("DELETE FROM sketches WHERE bucket < ?", [(hour - KEEP_HOURS) * HOUR])
        self._db.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM points)")
        kept = {id_ for (id_,) in self._db.execute("SELECT id FROM series")}
        self._ids = {recorded: id_ for recorded, id_ in self._ids.items() if id_ in kept}


def fill(store: Store, db: sqlite3.Connection) -> dict[int, Recorded]:
    """Put the series of a database into a store; return them by id. Raises ValueError for what is no series."""
    by_id: dict[int, Recorded] = {}
    for id_, metric, tags, kind in db.execute("SELECT id, metric, tags, kind FROM series"):
        if kind not in ("count", "gauge", "distribution"):
            raise ValueError(f"there is no kind {str(kind)[:20]!r} of series")
        recorded = store.series(str(metric), frozenset(str(tags).split("\n")) - {""}, kind)
        if recorded is not None:
            by_id[id_] = recorded
    for id_, hour, interval, data in db.execute("SELECT * FROM points"):
        if recorded := by_id.get(id_):
            kept = recorded.fine if interval == INTERVAL else recorded.coarse
            kept[int(hour)] = _doubles(data, HOUR // (INTERVAL if interval == INTERVAL else COARSE))
    for id_, bucket, *row in db.execute("SELECT * FROM sketches"):
        if (recorded := by_id.get(id_)) and store.bins < store.max_bins:
            frozen = recorded.sketches[int(bucket)] = _sketch(row)
            store.bins += len(frozen.keys)
    for recorded in by_id.values():
        recorded.restore_last()
        if recorded.coarse:
            store.coarse_before = max(store.coarse_before, (max(recorded.coarse) + 1) * HOUR)
    store.units.update(
        (str(metric), str(unit)) for metric, unit in db.execute("SELECT metric, unit FROM units")
    )
    return by_id


def rows(series: Iterable[Recorded], first: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return all of some series as rows, by table; their ids begin with `first`."""
    found: dict[str, list[tuple[Any, ...]]] = {"series": [], "points": [], "sketches": []}
    for id_, recorded in enumerate(series, first):
        found["series"].append((id_, recorded.metric, "\n".join(sorted(recorded.tags)), recorded.kind))
        found["points"] += _points(recorded, id_, 0)
        found["sketches"] += _sketches(recorded, id_, 0)
    return found


def _points(recorded: Recorded, id_: int, since: int) -> list[tuple[Any, ...]]:
    """Return the rows of the hours that can have changed: a timestamped sample may be an hour late."""
    first = since // HOUR - 1
    rows: list[tuple[Any, ...]] = [
        (id_, hour, INTERVAL, points.tobytes()) for hour, points in recorded.fine.items() if hour >= first
    ]
    oldest = first - FINE_HOURS - 1  # hours that were put together since
    rows += [
        (id_, hour, COARSE, points.tobytes()) for hour, points in recorded.coarse.items() if hour >= oldest
    ]
    return rows


def _sketches(recorded: Recorded, id_: int, since: int) -> list[tuple[Any, ...]]:
    return [
        (id_, bucket, one.count, one.sum, one.min, one.max, one.keys.tobytes(), one.counts.tobytes())
        for bucket, one in recorded.sketches.items()
        if bucket >= since
    ]


def _sketch(row: list[Any]) -> FrozenSketch:
    count, sum_, min_, max_, keys, counts = row
    frozen = FrozenSketch(array("i"), array("Q"), int(count), float(sum_), float(min_), float(max_))
    frozen.keys.frombytes(keys)
    frozen.counts.frombytes(counts)
    if len(frozen.keys) != len(frozen.counts):
        raise ValueError("a distribution has other counts than bins")
    return frozen


def _doubles(data: bytes, length: int) -> array[float]:
    values = array("d")
    values.frombytes(data)
    if len(values) != length:
        raise ValueError(f"an hour of a series has {len(values)} points instead of {length}")
    return values
