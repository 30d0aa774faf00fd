"""Frames with a crude defect, so that the ranges hold what an anomaly looks like.

Normal frames alone set ranges that clip just the activations by which a defect is told: its score then stops growing,
and the weak ones fall below the threshold. The defects need not resemble real ones, only move as far from normal.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
KINDS = 6
DEFECTS = 1  # version of what follows; part of a calibration's fingerprint
LEAST_CONTRAST = 4.0  # grey levels


def with_defect(frame: Frame, other: Frame, number: int) -> Frame:
    """`frame` [H, W, C] with one patch changed; `number` chooses kind, place and size, the same one the same.

    Kinds in turn: darker, brighter, inverted, noisy, a piece of `other` (same shape), a scratch. How far they go is
    measured by the frame's own contrast: what is far from normal on a dull part would be nothing on a vivid one.
    """
    random = np.random.default_rng(number)
    rows, columns = _span(frame.shape[0], random), _span(frame.shape[1], random)
    part = frame[rows, columns].astype(np.float32)
    step = float(random.uniform(1.5, 4.0)) * max(float(frame.std()), LEAST_CONTRAST)
    patch = (
        lambda: part - step,
        lambda: part + step,
        lambda: 2 * part.mean() - part,
        lambda: part + random.normal(0, step / 2, part.shape),
        lambda: other[::-1, ::-1][rows, columns],
        lambda: _scratched(part, -step if number // KINDS % 2 else step),
    )[number % KINDS]()
    changed = np.array(frame)
    changed[rows, columns] = np.clip(patch, 0, 255).astype(np.uint8)
    return changed


def _span(length: int, random: np.random.Generator) -> slice:
    """A piece of a side, from a sixteenth to a third of it."""
    size = max(2, int(length * random.uniform(1 / 16, 1 / 3)))
    start = int(random.integers(0, max(1, length - size)))
    return slice(start, start + size)


def _scratched(part: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.line(mask, (0, 0), (part.shape[1] - 1, part.shape[0] - 1), 1, max(1, part.shape[0] // 12))
    return np.asarray(part + np.float32(step) * mask[:, :, None], np.float32)
