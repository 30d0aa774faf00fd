"""Recorded pictures as a camera: a clip (anything FFmpeg reads, GIF too) or a folder of images."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.base import CameraLost, EndOfStream, Frame
from edge.camera.pacing import Pacer
from edge.camera.settings import CameraSettings, refuse_unused
from edge.errors import InputError
from edge.images import list_images, read_image

_FOLDER_FPS = 10.0


class ClipCamera:
    """Every picture of a clip in order, or live at the clip's own rate with `settings.realtime`."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        refuse_unused("a clip", settings, frozenset({"loop"}))
        self._path = Path(url).expanduser()
        self._loop = settings.loop
        self._capture = self._opened()
        self._fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0
        self._frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._pacer = Pacer(self._fps if settings.realtime else None)
        self._sequence = 0
        self._in_this_pass = 0

    @property
    def description(self) -> str:
        """One line: path, size, rate, length."""
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"clip {self._path}, {width}x{height}, {self._fps:.1f} fps, {self._frames} pictures"

    def read(self, timeout_s: float) -> Frame:
        """The next picture; EndOfStream after the last, InputError if the clip breaks off before its stated length."""
        if not self._pacer.wait(timeout_s):
            raise CameraLost(f"no picture from {self._path}", f"none was due within {timeout_s} s", "allow more time")
        image = self._next_image()
        frame = Frame(image, self._sequence, time.monotonic())
        self._sequence += 1
        self._in_this_pass += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _next_image(self) -> NDArray[np.uint8]:
        done, image = self._capture.read()
        if not done:
            self._end_of_pass()
            done, image = self._capture.read()
        if not done:
            raise _ended(self._path)
        return np.asarray(image, np.uint8)

    def _end_of_pass(self) -> None:
        if self._in_this_pass < int(0.9 * self._frames):
            raise InputError(
                f"clip {self._path} breaks off",
                f"{self._in_this_pass} of {self._frames} pictures could be decoded",
                "record or copy it again",
            )
        if not self._loop:
            raise _ended(self._path)
        self._capture.release()
        self._capture = self._opened()
        self._in_this_pass = 0

    def _opened(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError(
                f"cannot play {self._path}",
                "it is damaged or not a clip",
                "name a clip, a folder of images or a camera",
            )
        return capture


class FolderCamera:
    """The images of a folder in the order of their names; sizes may differ. With `realtime` at `fps` (default 10)."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        refuse_unused("a folder of images", settings, frozenset({"loop", "fps"}))
        self._folder = Path(url).expanduser()
        self._paths = list_images(self._folder)
        self._loop = settings.loop
        self._fps = (settings.fps or _FOLDER_FPS) if settings.realtime else None
        self._pacer = Pacer(self._fps)
        self._sequence = 0

    @property
    def description(self) -> str:
        """One line: folder, number of images, rate."""
        rate = f", {self._fps:.1f} fps" if self._fps else ""
        return f"folder {self._folder}, {len(self._paths)} images{rate}"

    def read(self, timeout_s: float) -> Frame:
        """The next image; EndOfStream after the last, InputError naming the file if it cannot be decoded."""
        if self._sequence >= len(self._paths) and not self._loop:
            raise _ended(self._folder)
        if not self._pacer.wait(timeout_s):
            raise CameraLost(f"no picture from {self._folder}", f"none was due within {timeout_s} s", "allow more time")
        image = read_image(self._paths[self._sequence % len(self._paths)])
        frame = Frame(image, self._sequence, time.monotonic())
        self._sequence += 1
        return frame

    def close(self) -> None:
        """Nothing is held open."""


def _ended(path: Path) -> EndOfStream:
    return EndOfStream(f"{path} has ended", "there are no more pictures", "set loop to start again")
