"""Exposure, gain and white balance of a V4L2 device: set, read back, refused if they did not take.

Through the kernel's ioctls and not OpenCV's properties, whose meaning differs from one release to the next.
Numbers are from linux/v4l2-controls.h and linux/videodev2.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import Protocol

from edge.camera.settings import CameraSettings
from edge.errors import InputError

AUTO_EXPOSURE = 0x009A0901  # 1 = manual
EXPOSURE_100US = 0x009A0902
AUTO_GAIN = 0x00980912
GAIN = 0x00980913
AUTO_WHITE_BALANCE = 0x0098090C
WHITE_BALANCE_K = 0x0098091A

_MANUAL_EXPOSURE = 1
_G_CTRL, _S_CTRL, _QUERYCTRL = 0xC008561B, 0xC008561C, 0xC0445624
_QUERYCTRL_FORMAT = "=II32siiiiI2I"
_DISABLED = 1


@dataclass(frozen=True)
class ControlRange:
    """What a control may be set to."""

    minimum: int
    maximum: int
    step: int


class ControlDevice(Protocol):
    """The controls of one device. `get` and `set` raise OSError as the kernel does."""

    def range_of(self, control: int) -> ControlRange | None:
        """The control's range, None if the device has no such control."""
        ...

    def get(self, control: int) -> int:
        """The value now."""
        ...

    def set(self, control: int, value: int) -> None:
        """Ask for `value`."""
        ...


class KernelControls:
    """Controls of the open V4L2 device `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def range_of(self, control: int) -> ControlRange | None:
        """VIDIOC_QUERYCTRL."""
        request = struct.pack(_QUERYCTRL_FORMAT, control, 0, b"", 0, 0, 0, 0, 0, 0, 0)
        try:
            answer = fcntl.ioctl(self._descriptor, _QUERYCTRL, request)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return None
            raise
        _, _, _, minimum, maximum, step, _, flags, _, _ = struct.unpack(_QUERYCTRL_FORMAT, answer)
        return None if flags & _DISABLED else ControlRange(minimum, maximum, step)

    def get(self, control: int) -> int:
        """VIDIOC_G_CTRL."""
        answer = fcntl.ioctl(self._descriptor, _G_CTRL, struct.pack("=Ii", control, 0))
        return int(struct.unpack("=Ii", answer)[1])

    def set(self, control: int, value: int) -> None:
        """VIDIOC_S_CTRL."""
        fcntl.ioctl(self._descriptor, _S_CTRL, struct.pack("=Ii", control, value))


@dataclass(frozen=True)
class _Wish:
    """One setting: the automatic that must be off first, the control, its value and how people read it."""

    name: str
    automatic: int
    automatic_off: int
    control: int
    value: int
    unit: str
    scale: float = 1.0

    def shown(self, value: int) -> str:
        return f"{self.name} {value * self.scale:g}{self.unit}"


def apply_controls(device: ControlDevice, settings: CameraSettings, name: str) -> None:
    """Set what `settings` asks of the camera `name`. Raises InputError if the device has no such control or range."""
    for wish in _wishes(settings):
        span = device.range_of(wish.control)
        if span is None:
            raise _refused(name, wish.name, "the device has no such control")
        if not span.minimum <= wish.value <= span.maximum:
            allowed = f"{wish.shown(span.minimum)} to {wish.shown(span.maximum)}"
            raise _refused(name, wish.name, f"asked {wish.shown(wish.value)}, possible {allowed}")
        try:
            if device.range_of(wish.automatic) is not None:
                device.set(wish.automatic, wish.automatic_off)
            device.set(wish.control, wish.value)
        except OSError as error:
            raise _refused(name, wish.name, error.strerror or str(error)) from error


def check_controls(device: ControlDevice, settings: CameraSettings, name: str) -> str:
    """Read back what `apply_controls` set; the line for the description. Raises InputError if one did not take."""
    shown = []
    for wish in _wishes(settings):
        found, span = device.get(wish.control), device.range_of(wish.control)
        if abs(found - wish.value) > (span.step if span else 0) // 2:
            raise _refused(name, wish.name, f"asked {wish.shown(wish.value)}, reads {wish.shown(found)}")
        if device.range_of(wish.automatic) is not None and device.get(wish.automatic) != wish.automatic_off:
            raise _refused(name, wish.name, "its automatic stays on")
        shown.append(wish.shown(found))
    return f"{', '.join(shown)} (read back)" if shown else "controls as the device has them"


def open_controls(path: str) -> int:
    """A descriptor of the V4L2 device at `path` that is for its controls only. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _wishes(settings: CameraSettings) -> list[_Wish]:
    wishes = []
    if settings.exposure_ms is not None:
        value = round(settings.exposure_ms * 10)
        wishes.append(_Wish("exposure", AUTO_EXPOSURE, _MANUAL_EXPOSURE, EXPOSURE_100US, value, " ms", 0.1))
    if settings.gain is not None:
        wishes.append(_Wish("gain", AUTO_GAIN, 0, GAIN, round(settings.gain), ""))
    if settings.white_balance_k is not None:
        value = settings.white_balance_k
        wishes.append(_Wish("white balance", AUTO_WHITE_BALANCE, 0, WHITE_BALANCE_K, value, " K"))
    return wishes


def _refused(camera: str, control: str, why: str) -> InputError:
    return InputError(f"camera {camera} does not take {control}", why, f"see: v4l2-ctl -d {camera} --list-ctrls")
