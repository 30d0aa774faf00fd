"""Whether the parts in normal pictures lie loose on a plain background, and then how they are found.

Decided from normal pictures alone, and proven on them: parts are only located if pictures agree far better with their
mean when each part was laid straight than before. A surface that fills the picture, or a part in a fixture, stays as
it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.face import Face
from edge.images import read_image
from edge.locate import Found, Locate, find_part
from edge.preprocess import Preprocessing, preprocess, region_of
from train.facing import alike, face_shown

OVERVIEW = 160  # pixels of the longer side: enough to find a part to half a pixel
SAMPLE = 80  # pictures that are looked at
STRAY = 0.03  # of them may show no part, several, or one that is cut by the border
CRUMB = 0.05  # of a part: what lies beside a good one is no larger, else the part itself may be in pieces
UNEQUAL = 1.6  # times the smallest usual area is the largest
ELONGATED = 1.25  # deviation along a part's axis over that across; rounder parts have no axis to turn by
LEAST, MOST = 0.8, 1.25  # times the smallest and largest normal area: beyond, a part is broken or not alone
SHARE = 0.66  # of the pixels of a whole picture; the part is still larger, and the steps saved teach more
MARGINS = 0.03, 0.05  # left on each side of a part: of its longer side, and of the side itself
ENLARGED = 2.0  # model pixels per picture pixel at most: more shows nothing new
BETTER = 0.15  # correlation with the mean picture that locating must gain
COMPARED = 64  # pixels a side of the pictures that are compared
ELONGATION = 8  # at most, of the view: thinner parts get more background


def located(
    spec: Preprocessing, paths: Sequence[Path], multiple: int, by_face: bool = False
) -> tuple[Preprocessing | None, str]:
    """`spec` with parts located and a view of SHARE of the pixels, sides divisible by `multiple`; None if that does
    not help. And why, for people. Round parts are turned if `by_face`. Raises InputError if a picture cannot be read.
    """
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, SAMPLE).astype(int))]
    pictures = [region_of(read_image(path), spec) for path in chosen]
    sides = Counter(picture.shape[:2] for picture in pictures).most_common(1)[0][0]
    overview = _overview(sides)
    small = spec.model_copy(update={"height": overview[0], "width": overview[1], "region": None})
    views = [preprocess(picture, small) for picture in pictures]
    found = [find_part(view) for view in views]
    good = [(view, part) for view, part in zip(views, found, strict=True) if part is not None and _is_whole(part)]
    parts = [part for _, part in good]
    if len(found) - len(parts) > STRAY * len(found) or len(parts) < 2:
        return None, f"{len(found) - len(parts)} of {len(found)} show no single part that stands free of the border"
    area = np.quantile([part.area for part in parts], (0.02, 0.98))
    if area[1] > UNEQUAL * area[0]:
        return None, f"what stands out is of unequal size, {area[0]:.0f} to {area[1]:.0f} pixels"
    if by_face and float(np.median([part.elongation for part in parts])) < ELONGATED:
        shown = face_shown([view for view, _ in good], parts)
        told = f"what round parts show agrees by {shown.before:.2f} as they lie and by {shown.after:.2f} turned alike"
        found_so = _fitted(spec, shown.parts, shown.face, (overview, sides), multiple) if shown.helps else None
        return found_so, told
    best = _fitted(spec, parts, None, (overview, sides), multiple)
    before = agreement(views)
    after = agreement([preprocess(picture, best.model_copy(update={"region": None})) for picture in pictures])
    told = f"pictures agree by {before:.2f} as they are and by {after:.2f} with parts laid straight"
    return (best if after >= before + BETTER else None), told


def _is_whole(part: Found) -> bool:
    return part.beside < CRUMB and part.area > 0 and not part.is_cut


def agreement(pictures: Sequence[NDArray[np.uint8]]) -> float:
    """Mean correlation of pictures [H, W, C] of one shape with the mean of the others; colour by itself is none."""
    small = [cv2.resize(picture, (COMPARED, COMPARED), interpolation=cv2.INTER_AREA) for picture in pictures]
    cells = np.stack([picture.reshape(COMPARED * COMPARED, -1).astype(np.float64) for picture in small])
    rows = (cells - cells.mean(1, keepdims=True)).reshape(len(cells), -1)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return alike(rows)


def _fitted(
    spec: Preprocessing,
    parts: Sequence[Found],
    face: Face | None,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    multiple: int,
) -> Preprocessing:
    overview, sides = sizes
    turned = face is not None or bool(np.median([part.elongation for part in parts]) >= ELONGATED)
    low, high = _extent(parts, turned)
    middle, length = (low + high) / 2, high - low
    length = np.maximum(length, length.max() / ELONGATION)
    length = length + 2 * (MARGINS[0] * length.max() + MARGINS[1] * length)
    height, width = _view(length, round(SHARE * spec.height * spec.width), multiple)
    most = ENLARGED * max(sides) / max(overview)
    scale = float(min(width / length[0], height / length[1], most))
    area = [part.area for part in parts]
    locate = Locate(
        overview=overview,
        area=(LEAST * min(area), MOST * max(area)),
        centre=(float(middle[0]), float(middle[1])),
        scale=scale,
        turned=turned,
        face=face,
    )
    return spec.model_copy(update={"height": height, "width": width, "locate": locate})


def _view(length: NDArray[np.float64], pixels: int, multiple: int) -> tuple[int, int]:
    """Height and width of the view in which parts of `length` (along, across) are largest, of about so many pixels."""
    sides = range(multiple, pixels // multiple + 1, multiple)
    possible = [(height, width) for height in sides for width in sides if height * width <= 1.05 * pixels]
    return max(possible, key=lambda s: (min(s[1] / length[0], s[0] / length[1]), -s[0] * s[1]))


def _extent(parts: Sequence[Found], turned: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where parts begin and end along and across their axis, from their centroid: nearly all of them."""
    ends = []
    for part in parts:
        rows, columns = np.nonzero(part.mask)
        angle = part.angle if turned else 0.0
        x, y = columns - part.x, rows - part.y
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        ends.append([along.min(), across.min(), along.max(), across.max()])
    low, high = np.quantile(ends, 0.02, axis=0)[:2], np.quantile(ends, 0.98, axis=0)[2:]
    return low, high


def _overview(sides: tuple[int, int]) -> tuple[int, int]:
    scale = OVERVIEW / max(sides)
    return max(16, round(sides[0] * scale)), max(16, round(sides[1] * scale))
