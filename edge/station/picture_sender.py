"""The thread that encodes pictures and sends them to the station, so that the pipeline's loop never does."""

from __future__ import annotations

import queue
import socket
import threading
import time
from dataclasses import dataclass

from edge.station.channel import Pictures, send_pictures
from edge.station.evidence import Sight, live, lossless, overlay

QUEUE_LENGTH = 8
LIVE_PERIOD_S = 0.15


@dataclass(frozen=True, slots=True)
class _Job:
    event: str
    sequence: int
    sight: Sight | None


class PictureSender:
    """`keep` and `show` return at once. A full queue leaves pictures out; the event itself is never touched by that."""

    def __init__(self, link: socket.socket) -> None:
        self._stream = link.makefile("wb")
        self._link = link
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_LENGTH)
        self._shown_s = 0.0
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def keep(self, event: str, sequence: int, sight: Sight | None) -> None:
        """Send the pictures of `sight` for `event`; None sends only the note that the frame is gone."""
        self._put(_Job(event, sequence, sight))

    def show(self, sight: Sight) -> None:
        """Send a live picture, at most every 0.15 s and only while nothing else waits."""
        now_s = time.monotonic()
        if now_s - self._shown_s >= LIVE_PERIOD_S and self._jobs.empty():
            self._shown_s = now_s
            self._put(_Job("", sight.sequence, sight))

    def check(self) -> None:
        """Raise EOFError when the thread has ended: without it no evidence leaves the pipeline."""
        if not self._thread.is_alive():
            raise EOFError("the station takes no more pictures")

    def close(self) -> None:
        """Send what waits, then stop; gives up after two seconds."""
        self._put(None)
        self._thread.join(2.0)
        self._link.close()

    def _put(self, job: _Job | None) -> None:
        try:
            self._jobs.put(job, timeout=0.0 if job else 2.0)
        except queue.Full:
            return  # the station notes that the pictures of this event did not come

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                send_pictures(self._stream, self._pictures(job))
            except OSError:
                return

    def _pictures(self, job: _Job) -> Pictures:
        if job.sight is None:
            return Pictures(job.event, job.sequence, b"", b"", "the frame was no longer held")
        if job.event:
            return Pictures(job.event, job.sequence, lossless(job.sight.image), overlay(job.sight))
        return Pictures("", job.sequence, *live(job.sight))
