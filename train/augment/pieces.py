"""Pieces of a part that a picture shows by their colour: a pill, a letter, a component, a tooth.

Real parts lack such pieces, or carry a wrong one; a shape that is drawn without looking at the picture never is one.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment.normal import Part
from train.augment.shapes import cut, log_uniform

Array = NDArray[np.float32]
Random = np.random.Generator

TOLERANCE = 0.4, 2.0  # of the picture's contrast: how much a piece's colours differ
LEAST, MOST = 12, 0.15  # pixels; share of the picture
RIM = 4  # pixels around the piece that belong to its window
BROKEN = 0.4  # of the pieces are only a part of one


def piece_at(image: Array, place: tuple[float, float], contrast: float, random: Random) -> tuple[Part, Array] | None:
    """The piece at (y, x) of `image`, float32 [H, W, C] in 0..255: its window, and a soft mask 0..1 inside it.

    None where nothing stands out: what is of about one colour there is a speck or reaches too far.
    """
    height, width = image.shape[:2]
    blurred = np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), 1.0).reshape(image.shape))
    mask, seed = np.zeros((height + 2, width + 2), np.uint8), (int(place[1]), int(place[0]))
    tolerance = (contrast * log_uniform(random, *TOLERANCE),) * 3
    how = 4 | (255 << 8) | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
    area, _, _, (left, top, columns, rows) = cv2.floodFill(blurred, mask, seed, 0, tolerance, tolerance, how)
    if not LEAST <= area <= MOST * height * width:
        return None
    edge = 1 + int(random.integers(2))  # blurred edges belong to it
    region = cv2.dilate(mask[1:-1, 1:-1], np.ones((3, 3), np.uint8), iterations=edge)
    region = cv2.morphologyEx(region, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    window = (
        slice(max(0, top - RIM), min(height, top + rows + RIM)),
        slice(max(0, left - RIM), min(width, left + columns + RIM)),
    )
    soft = cv2.GaussianBlur(region[window].astype(np.float32) / 255, (0, 0), 0.7)
    if random.random() < BROKEN:
        soft = soft * cut(random, *soft.shape)
    return window, np.asarray(soft, np.float32)
