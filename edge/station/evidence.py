"""Pictures of events: encoding in the pipeline, and the budget that they must keep to in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.locate import Affine, enlarged, laid_back

LIVE_WIDTH = 960
HEAT_WIDTH = 320  # heat maps are smooth: people see no difference, and the pipeline does not pay for it
CLOCK_WAS_SET_S = 1_577_836_800.0  # 2020-01-01


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen and how it scored: raw picture uint8 [H, W(, 3)], heat map float32 [h, w] or None if not scored.

    `place`: where the heat map's cells lie in the picture, see edge.locate; None if it covers all of it.
    """

    sequence: int
    image: NDArray[np.uint8]
    heatmap: NDArray[np.float32] | None
    heat: float  # 1 at the threshold, 0 three spreads of normal scores below it
    place: Affine | None = None


def lossless(image: NDArray[np.uint8]) -> bytes:
    """`image` as PNG, quickly compressed: it may join the normal set one day, so nothing of it is lost."""
    return _encoded(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def overlay(sight: Sight) -> bytes:
    """The picture with its heat map over what was looked at, as JPEG."""
    picture = _colour(sight.image)
    if sight.heatmap is None:
        return _encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    heat = _heat(sight, 1.0, picture.shape)
    alpha = (0.6 * heat)[:, :, None]
    painted = (picture * (1 - alpha) + _painted(heat) * alpha).astype(np.uint8)
    return _encoded(".jpg", painted, [cv2.IMWRITE_JPEG_QUALITY, 90])


def live(sight: Sight) -> tuple[bytes, bytes]:
    """(frame, heat map) as JPEG of one shape, at most LIVE_WIDTH and HEAT_WIDTH wide, for people who watch."""
    picture = _colour(sight.image)
    scale = min(1.0, LIVE_WIDTH / picture.shape[1])
    small = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    coarse = min(1.0, HEAT_WIDTH / small.shape[1])
    size = (max(1, round(coarse * small.shape[0])), max(1, round(coarse * small.shape[1])), 3)
    heat = np.zeros(size, np.uint8)
    if sight.heatmap is not None:
        heat = _painted(_heat(sight, scale * coarse, size))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 75]
    return _encoded(".jpg", small, quality), _encoded(".jpg", heat, quality)


@dataclass(frozen=True, slots=True)
class Kept:
    """Pictures of one event in the store. `rank` 0 goes first (faults), 1 acknowledged alarms, 2 the others."""

    event: str
    rank: int
    wall_s: float
    size_bytes: int


def too_many(kept: Sequence[Kept], max_bytes: float, max_age_s: float, now_wall_s: float) -> list[str]:
    """Events whose pictures must go: those past their age, then by rank and age until the rest fits `max_bytes`.

    A time before 2020 comes from a board whose clock was not set yet: its age is unknown, so only room counts.
    """
    old = [k for k in kept if k.wall_s > CLOCK_WAS_SET_S and now_wall_s - k.wall_s > max_age_s]
    rest = sorted((k for k in kept if k not in old), key=lambda k: (k.rank, k.wall_s))
    excess = sum(k.size_bytes for k in rest) - max_bytes
    gone = [k.event for k in old]
    for k in rest:
        if excess <= 0:
            break
        gone.append(k.event)
        excess -= k.size_bytes
    return gone


def _colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = image.ndim == 2 or image.shape[2] == 1
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8) if grey else image.copy()


def _heat(sight: Sight, scale: float, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Heat in [0, 1] in a picture of `size`, `scale` times the camera's: relative within the frame, and pale while the
    score is far from the threshold."""
    assert sight.heatmap is not None
    low, high = float(sight.heatmap.min()), float(sight.heatmap.max())
    relative = (sight.heatmap - low) / max(high - low, 1e-12) * min(max(sight.heat, 0.0), 1.0)
    if sight.place is None:
        flat = cv2.resize(relative.astype(np.float32), size[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(flat, np.float32)
    return laid_back(relative, enlarged(sight.place, scale, scale), (size[0], size[1]))


def _painted(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels = np.clip(heat * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), np.uint8)


def _encoded(suffix: str, image: NDArray[np.uint8], how: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, image, how)
    if not done:
        raise InputError(
            "cannot encode picture", f"shape {image.shape}, dtype {image.dtype}", "this is a fault of ours"
        )
    return bytes(data.tobytes())
