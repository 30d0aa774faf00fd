"""What every back end checks alike: the frame before the run, the numbers after it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.engine.base import Scores
from edge.errors import EngineFault, InputError


def checked_frame(frame: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """`frame` if it is uint8 of exactly `shape` [H, W, C], else InputError."""
    if frame.dtype != np.uint8 or frame.shape != tuple(shape):
        raise InputError(
            "the engine cannot take this frame",
            f"expected uint8 {list(shape)}, found {frame.dtype} {list(frame.shape)}",
            "pass it through edge.preprocess.preprocess first",
        )
    return frame


def checked_scores(
    score: NDArray[np.float32], masked_error: NDArray[np.float32], heatmap: NDArray[np.float32]
) -> Scores:
    """Scores of batch element 0, heat map copied out of the engine's buffer; EngineFault if any is not finite."""
    values = (float(score[0]), float(masked_error[0]), float(heatmap[0].sum()))
    if not all(map(math.isfinite, values)):
        raise EngineFault(
            "the engine returned a number that is not finite",
            "score {}, masked_error {}, heatmap sum {}".format(*values),
            "open the engine again; if it stays, use another precision",
        )
    return Scores(values[0], values[1], heatmap[0].copy())
