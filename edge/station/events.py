"""The event store: SQLite (WAL) for what happened, a folder beside it for the pictures. One writer, many readers.

EVENTS/events.db                    table events (one row per alarm or fault), table journal (every change of it)
EVENTS/pictures/A17-frame.png       the camera's picture, lossless
EVENTS/pictures/A17-overlay.jpg     the same with its heat map
EVENTS/normal/                      frames that somebody marked as false alarms: they join the normal set
EVENTS/config.json                  the configuration that the station resolved at its last start
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from edge.errors import InputError
from edge.files import write_atomic
from edge.station.channel import Pictures
from edge.station.evidence import Kept, too_many

SCHEMA = 1
MARKS = ("false-alarm", "true-alarm", "none")
ALARM, FAULT = "alarm", "fault"


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One row. `id` is A17 for the seventeenth alarm of this station, F5 for its fifth fault; times are Unix seconds.

    `announced` is false for an alarm that shelving or the flood limit masked. `note` says why pictures are absent.
    """

    id: str
    kind: str
    number: int
    began_at: float
    ended_at: float | None = None
    source: str = ""
    reason: str = ""
    score: float | None = None
    masked_error: float | None = None
    threshold: float | None = None
    frame: int | None = None
    latency_ms: float | None = None
    bundle: str = ""
    bundle_identity: str = ""
    variant: str = ""
    model_hash: str = ""
    config_version: str = ""
    announced: bool = True
    realarms: int = 0
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    mark: str = "none"
    frame_picture: str = ""
    overlay_picture: str = ""
    picture_bytes: int = 0
    note: str = ""


COLUMNS = tuple(field.name for field in fields(EventRecord))
_CREATE = f"""
CREATE TABLE IF NOT EXISTS events ({", ".join(COLUMNS)}, PRIMARY KEY (id));
CREATE INDEX IF NOT EXISTS events_by_time ON events (began_at);
CREATE TABLE IF NOT EXISTS journal (at REAL, event TEXT, change TEXT, who TEXT);
PRAGMA user_version = {SCHEMA};
"""


class EventStore:
    """The store in `folder`. Used by one thread; other processes may read, mark and export at the same time."""

    def __init__(self, folder: Path, *, must_exist: bool = False) -> None:
        """Open or create it. Raises InputError if it is not there, is damaged, or was made by another version."""
        self.folder = folder
        path = folder / "events.db"
        if must_exist and not path.is_file():
            raise InputError(
                f"no event store in {folder}", f"{path} is not there", "name the folder edge-run writes to"
            )
        try:
            for part in ("pictures", "normal"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=5.0, check_same_thread=False, isolation_level=None)
            self._check_version(path)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 256"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_CREATE)
        except (sqlite3.DatabaseError, OSError) as error:
            if hasattr(self, "_db"):
                self._db.close()
            raise InputError(f"cannot use event store {path}", str(error), "move it away, or free space") from error

    def add(self, record: EventRecord) -> None:
        """Write a new event, durable on return. An event that is there already stays as it is."""
        marks = ", ".join("?" for _ in COLUMNS)
        with self._transaction():
            self._db.execute(f"INSERT OR IGNORE INTO events VALUES ({marks})", tuple(asdict(record).values()))
            self._note(record.id, "began", "station")

    def change(self, event: str, values: Mapping[str, object], change: str, who: str = "station") -> None:
        """Set columns of one event and note the change in the journal, both or neither."""
        assert values.keys() <= set(COLUMNS)
        setting = ", ".join(f"{column} = ?" for column in values)
        with self._transaction():
            if values:
                self._db.execute(f"UPDATE events SET {setting} WHERE id = ?", (*values.values(), event))
            self._note(event, change, who)

    def acknowledge(self, up_to: int, at: float, who: str) -> None:
        """Note that all alarms up to number `up_to` were acknowledged."""
        with self._transaction():
            self._db.execute(
                "UPDATE events SET acknowledged_at = ?, acknowledged_by = ? "
                "WHERE kind = ? AND number <= ? AND acknowledged_at IS NULL",
                (at, who, ALARM, up_to),
            )
            self._note(f"A{up_to}", "acknowledged", who)

    def mark(self, event: str, mark: str, who: str) -> Path | None:
        """Mark an event; the frame of a false alarm is copied into the normal set, whose path is returned.

        Raises InputError for an unknown event or mark, or when the frame's picture is gone.
        """
        if mark not in MARKS:
            raise InputError(f"no mark {mark}", f"there are {', '.join(MARKS)}", "use one of them")
        record = self.get(event)
        copy = self.normal_copy(record.id)
        if mark == "false-alarm":
            if not record.frame_picture:
                raise InputError(
                    f"event {record.id} has no picture", record.note or "none was kept", "mark another event"
                )
            write_atomic(copy, (self.folder / record.frame_picture).read_bytes())
        else:
            copy.unlink(missing_ok=True)
        self.change(record.id, {"mark": mark}, f"marked {mark}", who)
        return copy if mark == "false-alarm" else None

    def normal_copy(self, event: str) -> Path:
        """Where the frame of an event that was marked as a false alarm is kept."""
        return self.folder / "normal" / f"{self.folder.resolve().name}-{event}.png"

    def save_pictures(self, pictures: Pictures) -> None:
        """Write the pictures of an event, then say so in its row."""
        values: dict[str, object] = {"note": pictures.note, "picture_bytes": 0}
        for column, suffix, data in (
            ("frame_picture", "frame.png", pictures.frame),
            ("overlay_picture", "overlay.jpg", pictures.overlay),
        ):
            if data:
                name = f"pictures/{pictures.event}-{suffix}"
                write_atomic(self.folder / name, data)
                values[column] = name
        values["picture_bytes"] = len(pictures.frame) + len(pictures.overlay)
        self.change(pictures.event, values, "pictures")

    def trim(self, max_bytes: float, max_age_s: float, now: float) -> list[str]:
        """Delete pictures beyond the budget, alarms last; the rows stay. Returns the events that lost theirs."""
        rows = self._db.execute(
            "SELECT id, kind, acknowledged_at, began_at, picture_bytes FROM events WHERE picture_bytes > 0"
        )
        kept = [Kept(r[0], _rank(r[1], r[2]), r[3], r[4]) for r in rows]
        gone = too_many(kept, max_bytes, max_age_s, now)
        for event in gone:
            self._remove_pictures(event)
        return gone

    def get(self, event: str) -> EventRecord:
        """One event by id; a bare number means an alarm. Raises InputError if there is none."""
        wanted = f"A{event}" if event.isdecimal() else event.upper()
        found = self.find(where="id = ?", values=(wanted,), limit=1)
        if not found:
            raise InputError(f"no event {event}", f"{self.folder} does not hold it", "see edge-events list")
        return found[0]

    def find(self, where: str = "1", values: tuple[object, ...] = (), limit: int = 1000) -> list[EventRecord]:
        """Events, newest first. `where` is SQL of ours, `values` its parameters."""
        query = f"SELECT {', '.join(COLUMNS)} FROM events WHERE {where} ORDER BY began_at DESC, number DESC LIMIT ?"
        return [_record(row) for row in self._db.execute(query, (*values, limit))]

    def journal(self, event: str) -> list[tuple[float, str, str]]:
        """(Unix time, change, who) of everything that happened to one event, oldest first."""
        rows = self._db.execute("SELECT at, change, who FROM journal WHERE event = ? ORDER BY rowid", (event,))
        return [(float(at), str(change), str(who)) for at, change, who in rows]

    def last_number(self, kind: str) -> int:
        """The highest number of this kind so far; numbers are never used twice."""
        return int(
            self._db.execute("SELECT COALESCE(MAX(number), 0) FROM events WHERE kind = ?", (kind,)).fetchone()[0]
        )

    def has_unacknowledged(self) -> bool:
        """Whether the newest alarm still waits for its acknowledgement."""
        newest = self.find("kind = ?", (ALARM,), limit=1)
        return bool(newest) and newest[0].acknowledged_at is None

    def close(self) -> None:
        """Fold the write-ahead log into the database and close it."""
        self._db.close()

    def limit_pages(self, pages: int) -> int:
        """Let the database grow to `pages` pages at most (SQLite then says "disk is full"); returns its pages now."""
        self._db.execute(f"PRAGMA max_page_count = {int(pages)}")
        return int(self._db.execute("PRAGMA page_count").fetchone()[0])

    def _check_version(self, path: Path) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version not in (0, SCHEMA):
            raise InputError(
                f"event store {path} has schema {version}", f"this version reads {SCHEMA}", "update edge-anomaly"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _note(self, event: str, change: str, who: str) -> None:
        self._db.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", (time.time(), event, change, who))

    def _remove_pictures(self, event: str) -> None:
        record = self.get(event)
        for name in (record.frame_picture, record.overlay_picture):
            if name:
                (self.folder / name).unlink(missing_ok=True)
        empty = {
            "frame_picture": "",
            "overlay_picture": "",
            "picture_bytes": 0,
            "note": "pictures removed to save room",
        }
        self.change(event, empty, "pictures removed")


def _record(row: tuple[object, ...]) -> EventRecord:
    values = dict(zip(COLUMNS, row, strict=True))
    values["announced"] = bool(values["announced"])
    return EventRecord(**values)  # type: ignore[arg-type]


def _rank(kind: str, acknowledged_at: float | None) -> int:
    if kind == FAULT:
        return 0
    return 2 if acknowledged_at is None else 1
