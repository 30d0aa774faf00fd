"""USB and other V4L2 cameras through OpenCV, by number, path or stable name."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.address import cameras_here
from edge.camera.base import CameraLost, Frame
from edge.camera.controls import KernelControls, apply_controls, check_controls, open_controls
from edge.camera.settings import CameraSettings, refuse_unused
from edge.errors import InputError, MissingError

_UNDERSTOOD = frozenset({"width", "height", "fps", "pixel_format", "exposure_ms", "gain", "white_balance_k"})


class V4l2Camera:
    """A V4L2 device. Opening it reads the first picture: a device that lists itself and delivers none is not open."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        refuse_unused("a V4L2 camera", settings, _UNDERSTOOD)
        self._path = f"/dev/video{int(url)}" if url.isdecimal() else url
        self._settings = settings
        self._set_controls()
        self._capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        self._sequence = 0
        try:
            self._set_format()
            self._first: Frame | None = self._checked_first(settings.open_timeout_s)
            self._controls = self._read_back()
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """One line: path, size, format, rate, controls as read back."""
        asked = self._settings.fps
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        rate = f"{fps:.1f} fps" + (f" (asked {asked:g})" if asked and abs(asked - fps) > 0.5 else "")
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
        return f"{self._path}, {self._size[1]}x{self._size[0]} {code}, {rate}, {self._controls}"

    def read(self, timeout_s: float) -> Frame:
        """The next picture, [H, W, 3] BGR. Raises CameraLost when none comes in time or the device is gone."""
        first, self._first = self._first, None
        return first if first is not None else self._frame(timeout_s)

    def close(self) -> None:
        """Release the device."""
        self._first = None
        self._capture.release()

    def _frame(self, timeout_s: float) -> Frame:
        image = self._image(timeout_s)
        frame = Frame(image, self._sequence, time.monotonic())
        self._sequence += 1
        return frame

    def _image(self, timeout_s: float) -> NDArray[np.uint8]:
        if not self._capture.isOpened():
            raise CameraLost(f"camera {self._path} is closed", "the device was released", "open it again")
        try:
            ready, _ = cv2.VideoCapture.waitAny([self._capture], max(1, round(timeout_s * 1e9)))
            done, image = self._capture.retrieve() if ready else (False, None)
        except cv2.error as error:
            raise CameraLost(f"camera {self._path} failed", str(error.err or error), "check its cable") from error
        if not ready:
            raise CameraLost(
                f"no picture from camera {self._path}", f"none came within {timeout_s} s", "check its cable"
            )
        if not done or image is None:
            raise CameraLost(f"camera {self._path} is gone", "the device gives no picture any more", "check its cable")
        return np.asarray(image, np.uint8)

    def _set_format(self) -> None:
        if not self._capture.isOpened():
            raise MissingError(f"camera {self._path} does not open", "it is in use or no camera", _who_uses(self._path))
        asked = self._settings
        if asked.pixel_format:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.pixel_format))
        for number, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, asked.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, asked.height),
            (cv2.CAP_PROP_FPS, asked.fps),
        ):
            if value is not None:
                self._capture.set(number, value)

    def _checked_first(self, timeout_s: float) -> Frame:
        try:
            first = self._frame(timeout_s)
        except CameraLost as error:
            raise MissingError(f"camera {self._path} gives no picture", error.why, _who_uses(self._path)) from error
        self._size = height, width = first.image.shape[:2]
        asked = self._settings
        if (asked.width or width, asked.height or height) != (width, height):
            raise InputError(
                f"camera {self._path} has another size",
                f"asked {asked.width}x{asked.height}, found {width}x{height}",
                f"see: v4l2-ctl -d {self._path} --list-formats-ext",
            )
        return first

    def _set_controls(self) -> None:
        try:
            descriptor = open_controls(self._path)
        except OSError as error:
            raise _not_there(self._path, error) from error
        try:
            apply_controls(KernelControls(descriptor), self._settings, self._path)
        finally:
            os.close(descriptor)

    def _read_back(self) -> str:
        """Read after the first picture: some devices change their controls when they start to stream."""
        try:
            descriptor = open_controls(self._path)
        except OSError as error:
            raise _not_there(self._path, error) from error
        try:
            return check_controls(KernelControls(descriptor), self._settings, self._path)
        finally:
            os.close(descriptor)


def _not_there(path: str, error: OSError) -> MissingError:
    if isinstance(error, PermissionError):
        return MissingError(f"camera {path} may not be opened", "no permission", "sudo usermod -aG video $USER")
    return MissingError(f"no camera {path}", error.strerror or str(error), cameras_here())


def _who_uses(path: str) -> str:
    return f"see who uses it: fuser -v {path}"
