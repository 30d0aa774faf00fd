"""Messages that wait for somebody outside, on disk, so that neither an outage nor a restart loses one. Bounded."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError

MAX_UNWRITTEN = 10_000
_CREATE = """
CREATE TABLE IF NOT EXISTS messages (number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message. `id` is unique over all outboxes and survives restarts: receivers drop repetitions by it."""

    number: int
    id: str
    body: str


class Outbox:
    """First in, first out, in `path` (SQLite, WAL, synced on every put). May be used from several threads.

    Beyond `max_waiting` the oldest messages go and are counted in `lost`. What the disk refuses waits in memory and
    is written as soon as it can be.
    """

    def __init__(self, path: Path, max_waiting: int = 100_000) -> None:
        """Open or create it. Raises InputError if the file is damaged or cannot be written."""
        self._path, self._max = path, max_waiting
        self._lock = threading.Lock()
        self._unwritten: deque[str] = deque(maxlen=MAX_UNWRITTEN)
        self.trouble = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            if hasattr(self, "_db"):
                self._db.close()
            raise InputError(f"cannot use outbox {path}", str(error), "move it away, or free space") from error

    @property
    def count(self) -> int:
        """Messages that wait."""
        return self._count + len(self._unwritten)

    def put(self, body: str) -> None:
        """Take one message; on return it is on disk, or in memory if the disk refuses (see `trouble`)."""
        with self._lock:
            self.lost += len(self._unwritten) == MAX_UNWRITTEN
            self._unwritten.append(body)
            self._write()

    def after(self, number: int, limit: int) -> list[Waiting]:
        """Up to `limit` messages with a number above `number`, in order."""
        with self._lock:
            self._write()
            query = "SELECT number, body FROM messages WHERE number > ? ORDER BY number LIMIT ?"
            rows = self._db.execute(query, (number, limit)).fetchall()
        return [Waiting(int(n), f"{self.tag}-{n}", str(body)) for n, body in rows]

    def done(self, numbers: Iterable[int]) -> None:
        """Forget messages that were delivered."""
        with self._lock:
            self._db.execute("BEGIN")
            removed = self._db.executemany("DELETE FROM messages WHERE number = ?", [(n,) for n in numbers]).rowcount
            self._db.execute("COMMIT")
            self._count -= max(0, removed)

    def close(self) -> None:
        """Write what can be written; what waits stays for the next time."""
        with self._lock:
            self._write()
            self._db.close()

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_CREATE)
        self._db.execute("INSERT OR IGNORE INTO facts VALUES ('tag', ?)", (uuid.uuid4().hex[:12],))
        self.tag = str(self._fact("tag"))
        self.lost = int(self._fact("lost") or 0)
        self._count = int(self._db.execute("SELECT COUNT(*) FROM messages").fetchone()[0])

    def _fact(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _write(self) -> None:
        """Move what is in memory to the disk, all of it or nothing."""
        if not self._unwritten:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                removed = self._insert()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self.trouble = f"outbox {self._path} cannot be written: {error}"
            return
        self.trouble = ""
        self._count += len(self._unwritten) - removed
        self.lost += removed
        self._unwritten.clear()

    def _insert(self) -> int:
        """Insert all; returns how many of the oldest had to go."""
        self._db.executemany("INSERT INTO messages (body) VALUES (?)", [(body,) for body in self._unwritten])
        excess = max(0, self._count + len(self._unwritten) - self._max)
        if excess:
            oldest = "SELECT number FROM messages ORDER BY number LIMIT ?"
            self._db.execute(f"DELETE FROM messages WHERE number IN ({oldest})", (excess,))
            self._db.execute("INSERT OR REPLACE INTO facts VALUES ('lost', ?)", (str(self.lost + excess),))
        return excess
