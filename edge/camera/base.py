"""What a camera is. Implementations live beside this file and are opened by `edge.camera.open.open_camera`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, MissingError


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. `image`: uint8 [H, W] or [H, W, 3] BGR. `captured_at_s`: time.monotonic() when it arrived here.

    `sequence` counts the pictures of this camera from 0 and never repeats, so that a repeated picture is seen.
    """

    image: NDArray[np.uint8]
    sequence: int
    captured_at_s: float


class CameraLost(MissingError):
    """The camera was open and stopped delivering; opening it again may work."""


class EndOfStream(EdgeError):
    """A clip or folder has no more pictures."""


class Camera(Protocol):
    """A source of pictures. Used by one thread."""

    @property
    def description(self) -> str:
        """One line: what was opened, picture size, rate, controls as read back."""
        ...

    def read(self, timeout_s: float) -> Frame:
        """The next picture. Raises CameraLost when none comes in time or the device is gone, EndOfStream at the end."""
        ...

    def close(self) -> None:
        """Release the device; a second call does nothing."""
        ...
