"""The real frames that an export rests on: held-out normal ones, and the golden dozen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.images import read_image
from edge.preprocess import Preprocessing, prepared, preprocess

Frames = NDArray[np.uint8]

GOLDEN = 12
SEED = 12


def validation_frames(paths: tuple[Path, ...], spec: Preprocessing) -> Frames:
    """The held-out normal images as the device will see them, uint8 [n, H, W, C], in the run's order."""
    return np.stack([preprocess(read_image(path), spec) for path in paths])


def overviews(paths: tuple[Path, ...], spec: Preprocessing, normal: Frames) -> list[Frames]:
    """What the camera is judged by, uint8 [h, w, C] each: `normal`, or whole pictures where parts are located."""
    if spec.locate is None:
        return list(normal)
    return [prepared(read_image(path), spec).overview for path in paths]


def golden_frames(normal: Frames) -> Frames:
    """GOLDEN frames, uint8 [12, H, W, C]: half of them normal, half damaged, so that the whole range of scores is used.

    `normal`: [n >= 1, H, W, C]. The same input gives the same frames.
    """
    chosen = normal[np.linspace(0, len(normal) - 1, GOLDEN).round().astype(int)]
    damaged = [damage(frame, kind) for kind, frame in enumerate(chosen[1::2])]
    return np.stack([frame for pair in zip(chosen[0::2], damaged, strict=True) for frame in pair])


def damage(frame: Frames, kind: int) -> Frames:
    """`frame` [H, W, C] with a defect: dark patch, bright scratch, blur, noise, a displaced part, inverted colours."""
    random = np.random.default_rng(SEED + kind)
    height, width = frame.shape[:2]
    side_y, side_x = max(2, height // 4), max(2, width // 4)
    y, x = int(random.integers(0, height - side_y)), int(random.integers(0, width - side_x))
    rows, columns = slice(y, y + side_y), slice(x, x + side_x)
    part = frame[rows, columns]
    changed: Frames = np.array(frame)
    changed[rows, columns] = (
        lambda: part // 4,
        lambda: _scratched(part),
        lambda: np.asarray(cv2.blur(part, (9, 9)), np.uint8).reshape(part.shape),
        lambda: np.asarray(np.clip(part + random.normal(0, 40, part.shape), 0, 255), np.uint8),
        lambda: np.roll(frame, (side_y, side_x), (0, 1))[rows, columns],
        lambda: 255 - part,
    )[kind % 6]()
    return changed


def _scratched(part: Frames) -> Frames:
    mask = np.zeros(part.shape[:2], np.uint8)
    cv2.line(mask, (0, 0), (part.shape[1] - 1, part.shape[0] - 1), 1, max(1, part.shape[0] // 16))
    return np.asarray(np.where(mask[:, :, None] == 1, np.uint8(255), part), np.uint8)
