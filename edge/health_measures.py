"""What camera health measures of a picture: levels, sharpness, where edges are, and whether it repeats the last one."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SEEN_WHITE = 250  # grey level from which a pixel counts as saturated
_LEVEL_PIXELS = 1 << 14  # the levels of a picture of any size are taken from about so many
_MARK_BYTES = 1 << 15
_EDGE_SIDE = 64  # edges are compared at this size: fine enough for a shift of 2 %
_MARGIN = 14  # pixels of it by which a shift is searched, 22 %


@dataclass(frozen=True, slots=True)
class Levels:
    """Of one picture's grey levels, 0..255: mean and standard deviation."""

    brightness: float
    contrast: float


class Repeats:
    """Numbers the pictures of one camera, not preprocessed ones: a bit-identical picture has its predecessor's number.

    A checksum of a few rows tells nearly all pictures apart, as sensor noise changes every row; where it does not, the
    whole pictures are compared.
    """

    def __init__(self) -> None:
        self._image: NDArray[np.uint8] | None = None
        self._mark = self._number = -1

    def number_of(self, image: NDArray[np.uint8]) -> int:
        """The number of `image`, from 0. It is kept until the next call and must not change meanwhile."""
        mark = zlib.crc32(np.ascontiguousarray(image[:: max(1, image.nbytes // _MARK_BYTES)]).data)
        if self._image is None or mark != self._mark or not np.array_equal(image, self._image):
            self._number += 1
        self._image, self._mark = image, mark
        return self._number


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W] of uint8 [H, W], [H, W, 1] or [H, W, 3] BGR."""
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    return image.reshape(image.shape[:2])


def some_rows(height: int, width: int) -> NDArray[np.intp]:
    """Rows that tell a picture's levels: one of every n, 64 at least, at uneven distances, as a part may be striped."""
    step = max(1, min(height * width // _LEVEL_PIXELS, height // 64))
    starts = np.arange(0, height - height % step, step)
    return np.asarray(starts + np.random.default_rng(0).integers(0, step, len(starts)), np.intp)


def levels_of(grey: NDArray[np.uint8]) -> Levels:
    """See Levels."""
    mean, deviation = cv2.meanStdDev(grey)
    return Levels(float(mean[0, 0]), float(deviation[0, 0]))


def white_of(grey: NDArray[np.uint8]) -> float:
    """Fraction of saturated pixels."""
    return np.count_nonzero(grey >= SEEN_WHITE) / grey.size


def sharpness_of(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian."""
    return float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1][0, 0]) ** 2


def edges_of(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gradient magnitude of the picture at a fixed small size: where things are, whatever the brightness."""
    small = cv2.resize(grey.astype(np.float32), (_EDGE_SIDE, _EDGE_SIDE), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def agreement(reference: NDArray[np.float32], edges: NDArray[np.float32]) -> tuple[float, float, float]:
    """Correlation of the edges in place, at the best shift, and that shift as a fraction of the side."""
    inner = slice(_MARGIN, _EDGE_SIDE - _MARGIN)
    zero, best, shift = 0.0, -1.0, 0.0
    for whole, part in ((edges, reference[inner, inner]), (reference, edges[inner, inner])):
        match = cv2.matchTemplate(whole, np.ascontiguousarray(part), cv2.TM_CCOEFF_NORMED)
        _, peak, _, (x, y) = cv2.minMaxLoc(match)
        zero = float(match[_MARGIN, _MARGIN])
        if peak > best:
            best, shift = float(peak), float(np.hypot(x - _MARGIN, y - _MARGIN)) / _EDGE_SIDE
    return zero, best, shift


def correlation(reference: NDArray[np.float32], edges: NDArray[np.float32]) -> float:
    """Correlation of the whole pictures' edges, border and all."""
    return float(cv2.matchTemplate(edges, reference, cv2.TM_CCOEFF_NORMED)[0, 0])
