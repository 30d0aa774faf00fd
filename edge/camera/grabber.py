"""A thread that owns the camera, keeps what the station needs of it and opens it again for ever when it is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.camera.address import redacted
from edge.camera.base import Camera, CameraLost, EndOfStream, Frame
from edge.camera.bell import Bell
from edge.camera.open import is_live, is_recorded, open_camera
from edge.camera.settings import CameraSettings
from edge.errors import EdgeError

Opener = Callable[[str, CameraSettings], Camera]

_BACKOFF_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)


@dataclass(frozen=True, slots=True)
class GrabberStatus:
    """`fault` says why there is no picture (None while they come); `dropped` pictures were replaced before use."""

    description: str
    connected: bool
    frames: int
    dropped: int
    lost: int
    fault: str | None
    last_frame_at_s: float | None


class Grabber:
    """Pictures of one camera for one consumer.

    A live source hands out only the newest picture and never one older than `max_age_s`; a recorded one hands out each
    picture once, in order. Sequence numbers go on across reopenings. A camera's pictures must have the size and format
    of its first one, else it counts as lost; a folder's sizes may differ.
    """

    def __init__(
        self,
        url: str,
        settings: CameraSettings,
        *,
        opener: Opener = open_camera,
        clock: Callable[[], float] = time.monotonic,
        must_open: bool = True,
    ) -> None:
        """Open the camera and start. With `must_open` a camera that is missing now is an error, as open_camera says."""
        self._url, self._settings, self._opener, self._clock = url, settings, opener, clock
        self._live, self._sizes_differ = is_live(url, settings), is_recorded(url)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._slot: Frame | None = None
        self._consumed = -1
        self._end: Exception | None = None
        self._told_lost = 0
        self._last_loss = CameraLost(redacted(url), "it was not lost yet", "wait")
        self._attempts = 0  # openings since the last good picture
        self._shape: tuple[int, ...] | None = None
        self._status = GrabberStatus(redacted(url), False, 0, 0, 0, "the camera has not been opened yet", None)
        camera = self._opened() if must_open else None
        self._news = Bell()  # for the consumer; `_changed` is what the camera's thread waits for
        self._thread = threading.Thread(target=self._run, args=(camera,), name="camera", daemon=True)
        self._thread.start()

    @property
    def status(self) -> GrabberStatus:
        """Counters and state now."""
        with self._changed:
            return self._status

    def newest(self, after_sequence: int, timeout_s: float) -> Frame:
        """The newest picture (recorded source: the next) with a sequence above `after_sequence`; -1 for the first.

        Waits at most `timeout_s`. Raises CameraLost with the reason if none came, and at once, one time, whenever the
        camera was lost since the last call, even if it is back by now. Raises EndOfStream at the end of a clip or
        folder, and InputError for a damaged recording. Asking for pictures after n says that n is done with.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._consumed = max(self._consumed, after_sequence)
            self._changed.notify_all()
        while True:
            with self._changed:
                self._tell_loss()
                frame = self._usable(after_sequence)
                if frame is not None:
                    return frame
                if self._end is not None:
                    raise self._end
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    raise self._none_came(timeout_s)
            self._news.wait(remaining_s)

    def close(self) -> None:
        """Stop the thread and release the camera. Raises CameraLost if the camera does not let go in time."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(self._settings.open_timeout_s + self._settings.read_timeout_s + 5.0)
        if self._thread.is_alive():
            raise CameraLost(f"{redacted(self._url)} is stuck", "the driver does not return", "restart the program")
        self._news.close()

    def _usable(self, after_sequence: int) -> Frame | None:
        frame = self._slot
        if frame is None or frame.sequence <= after_sequence:
            return None
        too_old = self._live and self._clock() - frame.captured_at_s > self._settings.max_age_s
        return None if too_old else frame

    def _tell_loss(self) -> None:
        if self._told_lost < self._status.lost:
            self._told_lost = self._status.lost
            raise self._last_loss

    def _none_came(self, timeout_s: float) -> CameraLost:
        return self._loss(self._status.fault or f"no new picture for {timeout_s:g} s")

    def _loss(self, why: str) -> CameraLost:
        return CameraLost(f"no picture from {redacted(self._url)}", why, "check the camera; it is tried again for ever")

    def _run(self, camera: Camera | None) -> None:
        try:
            while not self._stop.is_set():
                camera = camera or self._reopened()
                if camera is not None:
                    self._drain(camera)
                    camera = None
        except Exception as error:  # told to the consumer: EndOfStream, a damaged recording, or a fault of ours
            self._finish(error)
        finally:
            if camera is not None:
                camera.close()

    def _drain(self, camera: Camera) -> None:
        """Take pictures until the camera is lost or the grabber closes."""
        try:
            while not self._stop.is_set():
                self._put(camera.read(self._settings.read_timeout_s))
        except EndOfStream:
            raise
        except Exception as error:
            if not self._live and not isinstance(error, CameraLost):
                raise
            self._note_fault(error)
        finally:
            with contextlib.suppress(Exception):
                camera.close()

    def _put(self, frame: Frame) -> None:
        self._check_shape(frame)
        self._attempts = 0
        with self._changed:
            if not self._live:
                self._changed.wait_for(lambda: self._slot_is_free() or self._stop.is_set())
            was = self._status
            replaced = self._slot is not None and not self._slot_is_free()
            self._slot = Frame(frame.image, was.frames, frame.captured_at_s)
            self._news.ring()  # waking takes longer than the rest here
            self._status = GrabberStatus(
                description=was.description,
                connected=True,
                frames=was.frames + 1,
                dropped=was.dropped + replaced,
                lost=was.lost,
                fault=None,
                last_frame_at_s=frame.captured_at_s,
            )

    def _slot_is_free(self) -> bool:
        return self._slot is None or self._slot.sequence <= self._consumed

    def _check_shape(self, frame: Frame) -> None:
        if self._sizes_differ:
            return
        self._shape = self._shape or frame.image.shape
        if frame.image.shape != self._shape:
            raise CameraLost(
                f"{redacted(self._url)} changed its picture",
                f"was {_shape_text(self._shape)}, is {_shape_text(frame.image.shape)}",
                "set the camera's size and format, or restart the station",
            )

    def _reopened(self) -> Camera | None:
        """Try until the camera opens; None if the grabber closes meanwhile."""
        while not self._stop.wait(_BACKOFF_S[min(self._attempts, len(_BACKOFF_S) - 1)]):
            self._attempts += 1
            try:
                return self._opened()
            except Exception as error:
                self._note_fault(error, lost=0)
        return None

    def _opened(self) -> Camera:
        camera = self._opener(self._url, self._settings)
        with self._changed:
            self._status = replace(self._status, description=camera.description)
        return camera

    def _note_fault(self, error: Exception, lost: int = 1) -> None:
        text = str(error) if isinstance(error, EdgeError) else redacted(f"{type(error).__name__}: {error}")
        with self._changed:
            self._slot = None if self._live else self._slot
            self._last_loss = self._loss(text)
            self._status = replace(self._status, connected=False, fault=text, lost=self._status.lost + lost)
        self._news.ring()

    def _finish(self, error: Exception) -> None:
        with self._changed:
            self._end = error
            self._status = replace(self._status, connected=False, fault=str(error))
        self._news.ring()


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} {'colour' if len(shape) == 3 else 'grey'}"
