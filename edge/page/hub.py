"""Between the station's listener thread and the viewers: the newest of everything, made once, shared by all."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator

from edge.errors import EdgeError
from edge.page.trend import COLUMNS, Trend
from edge.page.view import events_text, status_text, trend_text
from edge.report.reading import EventReader
from edge.station.commands import Command, WantPictures
from edge.station.sinks import SinkContext
from edge.station.status import LivePicture, StationStatus

EVENTS_SHOWN = 20
STORE_PERIOD_S = 0.5
PICTURE_FRESH_S = 2.0
WATCH_S = 3.0
SILENCE_S = 5.0  # after so long without news a viewer gets an empty line, which finds out whether it is still there
MAX_VIEWERS = 16


class Hub:
    """`publish` is called in the listener's thread, everything else in the server's loop."""

    def __init__(self, context: SinkContext) -> None:
        self.context = context
        self.status: StationStatus = context.latest()
        self.viewers = 0
        self._status_text = status_text(self.status, None)
        self._events_text = events_text([])
        self._trend = Trend()
        self._columns: list[tuple[int, float, float]] = []
        self._picture: LivePicture | None = None
        self._picture_s = float("-inf")
        self._store: EventReader | None = None
        self._store_version = -1
        self._store_s = self._trend_s = self._asked_s = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on viewers are woken in `loop`."""
        self._loop = loop

    def publish(self, status: StationStatus) -> None:
        """Take the newest status and whatever has changed in the event store."""
        now_s = time.monotonic()
        if status.picture is not self._picture:
            self._picture, self._picture_s = status.picture, now_s
        self._trend.take(status.at_s, status.trend)
        if now_s - self._trend_s >= 1.0:
            self._trend_s, self._columns = now_s, self._trend.last(COLUMNS, status.at_s)
        if now_s - self._store_s >= STORE_PERIOD_S:
            self._store_s = now_s
            self._read_store()
        self.status, self._status_text = status, status_text(status, self.picture_age_s())
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def picture_age_s(self) -> float | None:
        """How old the live picture is; None if there never was one."""
        return None if self._picture is None else time.monotonic() - self._picture_s

    def picture(self) -> LivePicture | None:
        """The live picture if it is fresh. Asking keeps the pipeline sending for three seconds."""
        now_s = time.monotonic()
        if now_s - self._asked_s >= WATCH_S / 3 and self.ask(WantPictures(now_s + WATCH_S)):
            self._asked_s = now_s
        return self._picture if now_s - self._picture_s <= PICTURE_FRESH_S else None

    def ask(self, command: Command) -> bool:
        """Pass a command on to the station; False if it is flooded."""
        return self.context.commands.put(command)

    async def status_lines(self) -> AsyncIterator[bytes]:
        """Server-sent events: `status`, `trend` and `events`, each when it is new; a slow viewer misses some."""
        yield b"retry: 1000\n\n" + _sent("trend", trend_text(self.status.at_s, self._columns))
        status = events = ""
        trend_s = self._trend_s
        while True:
            parts = []
            if status != self._status_text:
                status = self._status_text
                parts.append(_sent("status", status))
            if events != self._events_text:
                events = self._events_text
                parts.append(_sent("events", events))
            if trend_s != self._trend_s:
                trend_s = self._trend_s
                parts.append(_sent("trend", trend_text(self.status.at_s, self._columns[-3:])))
            yield b"".join(parts) or b":\n\n"
            await self._news()

    async def frames(self, boundary: bytes) -> AsyncIterator[bytes]:
        """Parts of a multipart/x-mixed-replace answer: the camera's picture, again and again."""
        shown = -1
        while True:
            picture = self.picture()
            if picture is not None and picture.sequence != shown:
                shown = picture.sequence
                length = str(len(picture.frame_jpeg)).encode()
                head = b"--" + boundary + b"\r\nContent-Type: image/jpeg\r\nContent-Length: " + length + b"\r\n\r\n"
                yield head + picture.frame_jpeg + b"\r\n"
            await self._news()

    def close(self) -> None:
        """Let go of the event store."""
        if self._store is not None:
            self._store.close()

    async def _news(self) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), SILENCE_S)
        except asyncio.TimeoutError:
            return

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _read_store(self) -> None:
        """Read the newest events again if anybody has written: the station, or edge-events beside it."""
        try:
            if self._store is None:
                self._store = EventReader(self.context.events_folder)
            version = self._store.version
            if version != self._store_version:
                self._events_text = events_text(self._store.newest(EVENTS_SHOWN))
                self._store_version = version
        except (sqlite3.Error, EdgeError):
            return  # the store is busy or broken; the station itself says FAULT when it cannot write


def _sent(event: str, text: str) -> bytes:
    return f"event: {event}\ndata: {text}\n\n".encode()
