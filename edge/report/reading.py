"""The event store as a reader sees it: opened read-only, while a station may be writing to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.station.events import COLUMNS, SCHEMA, EventRecord


class EventReader:
    """Reads the store in `folder`. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Open it. Raises InputError if it is not there, is damaged, or was made by another version."""
        self.folder = folder
        path = folder / "events.db"
        if not path.is_file():
            raise InputError(
                f"no event store in {folder}", f"{path} is not there", "name the folder edge-run writes to"
            )
        try:
            address = f"{path.resolve().as_uri()}?mode=ro"
            self._db = sqlite3.connect(address, uri=True, timeout=2.0, check_same_thread=False, isolation_level=None)
            version = int(self._value("PRAGMA user_version"))
        except sqlite3.Error as error:
            raise InputError(f"cannot read event store {path}", str(error), "check its rights, or copy it") from error
        if version != SCHEMA:
            self._db.close()
            raise InputError(
                f"event store {path} has schema {version}", f"this version reads {SCHEMA}", "update edge-anomaly"
            )

    @property
    def version(self) -> int:
        """Grows whenever anybody has written to the store."""
        return int(self._value("PRAGMA data_version"))

    def newest(self, limit: int) -> list[EventRecord]:
        """The newest events, newest first."""
        return self._find("1", (), "DESC", limit)

    def between(self, first_s: float, last_s: float) -> list[EventRecord]:
        """Events that held at any moment of [first_s, last_s] (Unix time), oldest first."""
        where = "began_at <= ? AND (ended_at IS NULL OR ended_at >= ? OR began_at >= ?)"
        return self._find(where, (last_s, first_s, first_s), "ASC", -1)

    def get(self, event: str) -> EventRecord | None:
        """One event by id."""
        found = self._find("id = ?", (event,), "DESC", 1)
        return found[0] if found else None

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _find(self, where: str, values: tuple[object, ...], order: str, limit: int) -> list[EventRecord]:
        query = (
            f"SELECT {', '.join(COLUMNS)} FROM events WHERE {where} ORDER BY began_at {order}, number {order} LIMIT ?"
        )
        return [_record(row) for row in self._db.execute(query, (*values, limit)).fetchall()]

    def _value(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]


def _record(row: tuple[Any, ...]) -> EventRecord:
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    return EventRecord(**{**values, "announced": bool(values["announced"])})
