"""Easy lessons are taken on windows: half of each side, cut out around the defect, for a quarter of the work.

What a window loses is the surroundings, and those are learnt afterwards, on whole pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.augment.normal import WHOLE, Part
from train.models.attention_net import MULTIPLE, STRIDE

LEAST = 128  # pixels: in a smaller window the deepest cells would see little but its border
SPREAD = 0.2  # of the window's side: how far from its middle the defect lies (deviation)


def window_size(height: int, width: int) -> tuple[int, int] | None:
    """Of the windows in pictures of `height` x `width`: half of each side that is long enough; None if neither is."""
    halves = [side // 2 // MULTIPLE * MULTIPLE for side in (height, width)]
    rows, columns = (half if half >= LEAST else side for half, side in zip(halves, (height, width), strict=True))
    return None if (rows, columns) == (height, width) else (rows, columns)


def window_on(mask: NDArray[np.float32], random: np.random.Generator) -> Part:
    """A window near a marked pixel of `mask` [H, W], anywhere if none is marked; the whole of a small picture."""
    height, width = mask.shape
    size = window_size(height, width)
    if size is None:
        return WHOLE
    marked = np.flatnonzero(mask > 0.5)
    chosen = int(marked[random.integers(len(marked))] if len(marked) else random.integers(mask.size))
    middle = divmod(chosen, mask.shape[1]) + random.normal(0, SPREAD, 2) * size
    rows, columns = (_span(float(at), length, side) for at, length, side in zip(middle, size, mask.shape, strict=True))
    return rows, columns


def _span(middle: float, length: int, side: int) -> slice:
    start = int(np.clip(middle - length / 2, 0, side - length)) // STRIDE * STRIDE
    return slice(start, start + length)
