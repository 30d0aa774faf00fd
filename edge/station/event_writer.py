"""The thread that writes events, so that no disk ever stands in the pipeline's or the station's way.

What cannot be written (disk full) waits in order and is tried again every half second; meanwhile `trouble` says why,
and the station shows FAULT. Pictures are given up in such a case, events are not.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeError, InputError
from edge.station.channel import Pictures
from edge.station.events import EventRecord, EventStore
from edge.station.judge import FaultKind

MAX_WAITING = 10_000
MAX_WAITING_PICTURES = 32
RETRY_S = 0.5
CHECK_S = 0.4
LAST_CHANCE_S = 5.0
MAX_CLOCK_JUMP_S = 3600.0
GONE_NOTE = "pictures left out: the disk is full or too slow"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much room pictures may take, how long they stay, and how much of the disk must stay free."""

    max_bytes: float
    max_age_s: float
    min_free_bytes: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why events cannot be kept safely now."""

    kind: FaultKind
    reason: str


@dataclass(frozen=True, slots=True)
class _Job:
    write: Callable[[], None]
    done: str  # told in `take_done` after it was written; "" for nobody
    pictures: Pictures | None = None


def free_bytes(folder: Path) -> float:
    """Bytes that this user may still write on the folder's file system."""
    state = os.statvfs(folder)
    return float(state.f_bavail * state.f_frsize)


class EventWriter:
    """Owns the store. All methods return at once and may be called from any thread."""

    def __init__(self, store: EventStore, budget: Budget, free: Callable[[Path], float] = free_bytes) -> None:
        self._store, self._budget, self._free = store, budget, free
        self._news = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._done: list[str] = []
        self._stopping = False
        self._trouble: Trouble | None = None
        self.refused = 0
        self._clock_offset_s = time.time() - time.monotonic()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> Trouble | None:
        """Why events cannot be kept safely now, None when all is well."""
        if not self._thread.is_alive():
            return Trouble(FaultKind.STORE_FAILED, "the thread that writes events has ended")
        return self._trouble

    @property
    def waiting(self) -> int:
        """Jobs not written yet."""
        return len(self._jobs)

    def add(self, record: EventRecord) -> None:
        """Write a new event; `take_done` tells its id when it is durable."""
        self._put(_Job(lambda: self._store.add(record), record.id))

    def change(self, event: str, values: Mapping[str, object], change: str, who: str = "station") -> None:
        """Change columns of an event."""
        self._put(_Job(lambda: self._store.change(event, values, change, who), ""))

    def acknowledge(self, up_to: int, at: float, who: str) -> None:
        """Note the acknowledgement of all alarms up to this number."""
        self._put(_Job(lambda: self._store.acknowledge(up_to, at, who), ""))

    def mark(self, event: str, mark: str, who: str) -> None:
        """Mark an event; one that cannot be marked is logged and left alone."""
        self._put(_Job(lambda: self._mark(event, mark, who), ""))

    def save_pictures(self, pictures: Pictures) -> None:
        """Write pictures of an event; `take_done` tells `pictures ID` when they are there or given up."""
        with self._news:
            crowded = sum(job.pictures is not None for job in self._jobs) >= MAX_WAITING_PICTURES
        kept = Pictures(pictures.event, pictures.sequence, b"", b"", GONE_NOTE) if crowded else pictures
        self._put(self._picture_job(kept))

    def take_done(self) -> list[str]:
        """What was written since the last call."""
        with self._news:
            done, self._done = self._done, []
        return done

    def close(self) -> int:
        """Write what waits (five seconds at most) and close the store; returns how many jobs were lost."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join(LAST_CHANCE_S + 5.0)
        lost = len(self._jobs) + self.refused
        self._store.close()
        return lost

    def _put(self, job: _Job) -> None:
        with self._news:
            if len(self._jobs) >= MAX_WAITING:
                self.refused += 1
                return
            self._jobs.append(job)
            self._news.notify()

    def _picture_job(self, pictures: Pictures) -> _Job:
        return _Job(lambda: self._save(pictures), f"pictures {pictures.event}", pictures)

    def _mark(self, event: str, mark: str, who: str) -> None:
        try:
            self._store.mark(event, mark, who)
        except InputError as error:
            logging.getLogger(__name__).warning("%s", error)

    def _save(self, pictures: Pictures) -> None:
        self._store.save_pictures(pictures)
        # A clock that was just set makes everything before it look old: then only room counts, until the next start.
        jumped = abs(time.time() - time.monotonic() - self._clock_offset_s) > MAX_CLOCK_JUMP_S
        max_age_s = float("inf") if jumped else self._budget.max_age_s
        self._store.trim(self._budget.max_bytes, max_age_s, time.time())

    def _run(self) -> None:
        checked_s, give_up_s = 0.0, float("inf")
        while True:
            with self._news:
                self._news.wait_for(lambda: self._stopping or bool(self._jobs), CHECK_S)
                stopping, job = self._stopping, self._jobs[0] if self._jobs else None
            now_s = time.monotonic()
            if stopping:
                give_up_s = min(give_up_s, now_s + LAST_CHANCE_S)
            if now_s - checked_s >= CHECK_S:
                checked_s = now_s
                self._check_room()
            if (job is None and stopping) or now_s > give_up_s:
                return
            if job is not None and not self._done_with(job):
                time.sleep(RETRY_S)

    def _done_with(self, job: _Job) -> bool:
        """Write one job; False if it must be tried again. Pictures are tried once, then only their note."""
        try:
            job.write()
        except (sqlite3.Error, OSError, EdgeError) as error:
            full = isinstance(error, sqlite3.OperationalError) and "full" in str(error)
            kind = FaultKind.DISK_FULL if full or isinstance(error, OSError) else FaultKind.STORE_FAILED
            self._trouble = Trouble(kind, f"events cannot be written: {error}")
            if job.pictures is not None and job.pictures.frame:
                note_only = Pictures(job.pictures.event, job.pictures.sequence, b"", b"", GONE_NOTE)
                self._replace_first(self._picture_job(note_only))
            return False
        self._finish_first(job)
        return True

    def _replace_first(self, job: _Job) -> None:
        with self._news:
            self._jobs[0] = job

    def _finish_first(self, job: _Job) -> None:
        with self._news:
            self._jobs.popleft()
            if job.done:
                self._done.append(job.done)
        if self._trouble is not None:
            self._check_room(written=True)

    def _check_room(self, *, written: bool = False) -> None:
        """Trouble begins below the limit and ends a tenth above it, so that it does not flicker."""
        try:
            free = self._free(self._store.folder)
        except OSError as error:
            self._trouble = Trouble(FaultKind.STORE_FAILED, f"the folder of events is gone: {error}")
            return
        limit = self._budget.min_free_bytes * (1.1 if self._trouble else 1.0)
        if free < limit:
            reason = (
                f"{free / 1e6:.0f} MB free where events are kept, {self._budget.min_free_bytes / 1e6:.0f} MB needed"
            )
            self._trouble = Trouble(FaultKind.DISK_FULL, reason)
        elif written or not self._jobs:
            self._trouble = None
