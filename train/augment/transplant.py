"""Known defects on other parts: what somebody marked in a picture, cut out and set into good pictures.

Ten known anomalies are ten places and ten backgrounds, which a network learns by heart. Set anywhere on any good part,
turned and scaled, what is left to learn is the defect. (CutMix's regions, as the two-stage attention paper uses them,
with real defects for contents.)
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment.hard import Defective, interesting_place
from train.augment.shapes import log_uniform

Array = NDArray[np.float32]
Random = np.random.Generator

ROOM = 0.25  # of a defect's sides, taken along around it: by it levels are matched
LARGEST = 0.6  # of the picture's sides: what is larger is no defect in a part but another part
FADE = 0.6, 2.0  # pixels, deviation of the soft edge


def transplanted(image: Array, known: NDArray[np.uint8], marks: NDArray[np.bool_], random: Random) -> Defective | None:
    """`image` (float32 [H, W, C], 0..255) with one marked piece of `known` (uint8, same shape; `marks` bool [H, W]).

    None if nothing is marked, or only what is too large.
    """
    piece = _piece(marks, random)
    if piece is None:
        return None
    rows, columns, shape = piece
    content, alpha = _varied(known[rows, columns].astype(np.float32), shape[rows, columns], image.shape[:2], random)
    height, width = alpha.shape
    y, x = interesting_place(image, random)
    top, left = (
        int(np.clip(at - side / 2, 0, whole - side))
        for at, side, whole in zip((y, x), (height, width), image.shape[:2], strict=True)
    )
    site = image[top : top + height, left : left + width]
    around = alpha <= max(0.05, float(alpha.min()))  # a small piece's soft edge may reach every pixel
    content = content + (site[around].mean(0) - content[around].mean(0))
    changed, mask = image.copy(), np.zeros(image.shape[:2], np.float32)
    changed[top : top + height, left : left + width] += alpha[:, :, None] * (np.clip(content, 0, 255) - site)
    mask[top : top + height, left : left + width] = alpha > 0.5
    return Defective(changed, mask, np.zeros(mask.shape, np.uint8))


def _piece(marks: NDArray[np.bool_], random: Random) -> tuple[slice, slice, Array] | None:
    """Rows and columns around one connected piece, and the piece alone, float32 [H, W]."""
    count, labels, figures, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8))
    limits = LARGEST * marks.shape[1], LARGEST * marks.shape[0]
    usable = [i for i in range(1, count) if figures[i][2] <= limits[0] and figures[i][3] <= limits[1]]
    if not usable:
        return None
    chosen = usable[int(random.integers(len(usable)))]
    left, top, width, height = (int(v) for v in figures[chosen][:4])
    down, across = 2 + int(ROOM * height), 2 + int(ROOM * width)
    rows = slice(max(0, top - down), min(marks.shape[0], top + height + down))
    columns = slice(max(0, left - across), min(marks.shape[1], left + width + across))
    return rows, columns, (labels == chosen).astype(np.float32)


def _varied(content: Array, shape: Array, limits: tuple[int, int], random: Random) -> tuple[Array, Array]:
    """Mirrored, turned by quarters and scaled; (content [h, w, C], soft shape [h, w])."""
    layers = np.concatenate([content, shape[:, :, None]], 2)
    layers = np.rot90(layers[:, ::-1] if random.random() < 0.5 else layers, int(random.integers(4)))
    scale = log_uniform(random, 0.7, 1.4)
    height, width = (int(np.clip(scale * side, 3, most)) for side, most in zip(layers.shape[:2], limits, strict=True))
    resized = cv2.resize(np.ascontiguousarray(layers), (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = cv2.GaussianBlur(np.ascontiguousarray(resized[:, :, -1]), (0, 0), log_uniform(random, *FADE))
    return np.asarray(resized[:, :, :-1], np.float32), np.asarray(np.clip(1.5 * alpha, 0, 1), np.float32)
