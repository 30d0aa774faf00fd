"""Hard synthetic anomalies: good images with defects drawn, mixed and warped into them, and masks of what changed.

The idea is the two-stage attention paper's (hard augmentation, CutMix-like regions); shapes, contents and blending are
richer than its rectangles. A change counts as a defect where it can be seen against the surface around it. Graded, it
counts as far as it can be seen: faint changes are drawn too, and are normal. (Labels that grow with the change: NSA,
Schlueter et al., 2022.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.locate import border_colour
from train.augment import contents, shapes
from train.augment.contents import Content, Site
from train.augment.pieces import piece_at
from train.augment.shapes import Shape, log_uniform, softened, weighted_choice

Array = NDArray[np.float32]
Random = np.random.Generator

SHAPES: tuple[tuple[Shape, float], ...] = (
    (shapes.blob, 0.24),
    (shapes.polygon, 0.08),
    (shapes.bar, 0.10),
    (shapes.line, 0.20),
    (shapes.cloud, 0.16),
    (shapes.dots, 0.08),
    (shapes.cut, 0.10),
    (shapes.whole, 0.04),
)
CONTENTS: tuple[tuple[Content, float], ...] = (
    (contents.flat, 1),
    (contents.texture, 2),
    (contents.light, 2),
    (contents.elsewhere, 2),
    (contents.stranger, 2),
    (contents.focus, 1),
    (contents.bent, 1),
    (contents.worn, 1),
    (contents.missing, 1),
    (contents.twin, 1),
)
PIECES = 0.2  # of the defects in colour pictures are pieces of the part that are missing, broken or wrong
PIECE: tuple[tuple[Content, float], ...] = (
    (contents.missing, 4),
    (contents.light, 3),
    (contents.texture, 1),
    (contents.stranger, 1),
    (contents.elsewhere, 1),
    (contents.bent, 1),
)
THIN: tuple[tuple[Content, float], ...] = (
    (contents.flat, 3),
    (contents.texture, 1),
    (contents.light, 1),
    (contents.elsewhere, 1),
)
FAITHFUL = {contents.elsewhere, contents.stranger, contents.twin, contents.bent, contents.worn, contents.focus}
KINDS = 2 * len(CONTENTS)
GRID = 32  # cells a side in which the place of a defect is drawn
TRIES = 12
THIN_LOSS = 1.8  # the blur that measures a change takes away about half of a thin line
FAINT_SHARE = 0.3  # of the changes
FAINT, PLAIN = 0.3, 0.9  # of the visible difference: below the first a change is normal, from the second on a defect


Marked = tuple[Site, Array, bool, Sequence[tuple[Content, float]]]  # where, a soft mask, whether thin, what fits


@dataclass(frozen=True)
class Defective:
    """`image` float32 [H, W, C] in 0..255; `mask` float32 [H, W] in 0..1, how plainly a pixel was changed; `kind` uint8
    [H, W], 0 = none, else 1 + which content made the change (KINDS in all: thin and broad marks count apart)."""

    image: Array
    mask: Array
    kind: NDArray[np.uint8]


def with_defects(image: Array, others: Sequence[NDArray[np.uint8]], random: Random, graded: bool = True) -> Defective:
    """`image` (float32 [H, W, C], 0..255, sides of 32 or more) with one to three defects.

    `others` are normal images of the same shape to take material from. Places are drawn where the part is rather than
    its background. Unless `graded`, all are plain, and the mask is 0 or 1; else it is empty if all are faint.
    """
    places = _interest(image)
    empty = np.zeros(image.shape[:2], np.float32)
    found = Defective(image, empty, empty.astype(np.uint8))
    wanted, made = 1 + int(random.random() < 0.3) + int(random.random() < 0.1), 0
    for _ in range(TRIES):
        changed = _one_defect(found, others, (places, graded), random)
        if changed is not None:
            found, made = changed, made + 1
        if made == wanted:
            break
    return found


def seen_change(normal: Array, changed: Array) -> Array:
    """How plainly `changed` differs from `normal` (both float32 [H, W, C], 0..255), float32 [H, W] in 0..1, as
    Defective's mask: against the picture's contrast and the roughness around."""
    change = np.abs(changed - normal).max(2)
    difference = np.maximum(cv2.blur(change, (3, 3)), 1.5 * cv2.blur(change, (11, 11)))  # a rough area is one flaw
    fine = ((normal - cv2.blur(normal, (7, 7)).reshape(normal.shape)) ** 2).mean(2)
    unit = np.maximum(0.4 * max(float(normal.std()), 12.0), 1.5 * np.sqrt(np.maximum(cv2.blur(fine, (31, 31)), 0)))
    return np.asarray(np.clip((difference / unit - FAINT) / (PLAIN - FAINT), 0, 1), np.float32)


def _one_defect(
    start: Defective, others: Sequence[NDArray[np.uint8]], where: tuple[NDArray[np.float64], bool], random: Random
) -> Defective | None:
    places, graded = where
    colour = start.image.shape[2] > 1  # regions of one grey are mostly light and shade
    piece = _piece(start.image, others, places, random) if colour and random.random() < PIECES else None
    site, mask, thin, fitting = piece or _drawn(start.image, others, places, random)
    content = weighted_choice(fitting, random)
    opacity = 1.0 if random.random() < 0.5 else float(random.uniform(0.35, 1))
    change = (content(site, random) - site.patch) * (opacity * mask[:, :, None])
    unit, faint = _visible_difference(site, thin), graded and bool(random.random() < FAINT_SHARE)
    wanted = unit * log_uniform(random, *((0.5 * FAINT, 2 * FAINT) if faint else (PLAIN, 2.5)))
    visible = _scaled(change, mask, wanted, faint, content in FAITHFUL)
    if visible is None:
        return None
    index = [c for c, _ in CONTENTS].index(content) + 1 + (len(CONTENTS) if thin else 0)
    return _painted(start, site, visible, (unit, None if graded else wanted, thin, index))


def _drawn(image: Array, others: Sequence[NDArray[np.uint8]], places: NDArray[np.float64], random: Random) -> Marked:
    shape = weighted_choice(SHAPES, random)
    site = _site(image, others, places, shape, random)
    mask = shape(random, site.height, site.width)
    if shape in (shapes.line, shapes.dots) or min(site.height, site.width) < 8:
        return site, mask, True, THIN
    return site, softened(mask, random), False, CONTENTS


def _piece(
    image: Array, others: Sequence[NDArray[np.uint8]], places: NDArray[np.float64], random: Random
) -> Marked | None:
    contrast = _contrast(image)
    found = piece_at(image, _place(places, image.shape[:2], random), contrast, random)
    if found is None:
        return None
    (rows, columns), mask = found
    site = Site(image, others, rows.start, columns.start, mask.shape[0], mask.shape[1], contrast)
    return site, mask, False, PIECE


def _painted(start: Defective, site: Site, change: Array, how: tuple[float, float | None, bool, int]) -> Defective:
    unit, wanted, thin, index = how
    side = 3 if thin else 5
    changed = np.clip(site.patch + change, 0, 255)  # white on white is nothing: what clipping leaves is what is seen
    difference = np.abs(changed - site.patch).max(2)
    strength = cv2.blur(difference, (side, side)) / np.float32(unit)
    if thin:
        strength = strength * np.float32(THIN_LOSS)
    if wanted is None:
        truth = np.clip((strength - FAINT) / (PLAIN - FAINT), 0, 1)
    else:
        level = max(0.2 * float(np.quantile(strength, 0.98)), 0.35 * wanted / unit)
        truth = (strength > level).astype(np.float32)
    rows = slice(site.top, site.top + site.height)
    columns = slice(site.left, site.left + site.width)
    image, mask, kind = start.image.copy(), start.mask.copy(), start.kind.copy()
    image[rows, columns] = changed
    mask[rows, columns] = np.maximum(mask[rows, columns], truth)
    kind[rows, columns][truth > 0.5] = index
    return Defective(image, mask, kind)


def _visible_difference(site: Site, thin: bool) -> float:
    """Grey levels by which a defect must differ here: more on a rough surface, more if it is thin."""
    patch = site.patch
    rough = float((patch - cv2.blur(patch, (7, 7)).reshape(patch.shape)).std())
    large = site.height * site.width > site.image.shape[0] * site.image.shape[1] / 16
    return max((0.3 if large else 0.5) * site.contrast, 1.5 * rough) * (1.6 if thin else 1.0)


def _scaled(change: Array, mask: Array, wanted: float, faint: bool, faithful: bool) -> Array | None:
    """`change`, amplified to `wanted` grey levels inside `mask` if weaker, weakened to it if `faint`; None if it is
    nothing, or a weak change of faithful content."""
    inside = mask > 0.3
    if not inside.any():
        return None
    peak = float(np.quantile(np.abs(change).max(2)[inside], 0.8))
    if peak < 1e-3 or (faithful and not faint and peak < 0.4 * wanted):
        return None
    return change * np.float32(wanted / peak) if faint or peak < wanted else change


def _site(
    image: Array, others: Sequence[NDArray[np.uint8]], places: NDArray[np.float64], shape: Shape, random: Random
) -> Site:
    height, width = image.shape[:2]
    y, x = _place(places, (height, width), random)
    size = log_uniform(random, 0.06, 0.8) if shape is shapes.line else log_uniform(random, 0.02, 0.6)
    if shape in (shapes.cloud, shapes.cut, shapes.dots):
        size = max(size, 0.08)
    stretch = log_uniform(random, 0.4, 2.5) ** 0.5
    rows = int(np.clip(size * height * stretch, 4, height))
    columns = int(np.clip(size * width / stretch, 4, width))
    top, left = int(np.clip(y - rows / 2, 0, height - rows)), int(np.clip(x - columns / 2, 0, width - columns))
    return Site(image, others, top, left, rows, columns, _contrast(image))


def _contrast(image: Array) -> float:
    return max(float(image.std()), 12.0)


def _interest(image: Array) -> NDArray[np.float64]:
    """How likely a defect is in each cell: away from the border's colour, and where there is detail; sums to 1."""
    small = cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_AREA).reshape(GRID, GRID, -1)
    smooth = cv2.blur(small, (3, 3)).reshape(small.shape)
    detail = cv2.blur(np.abs(small - smooth).max(2), (3, 3))
    interest = np.abs(small - border_colour(small, 1).astype(np.float32)).max(2) + 2 * detail
    interest = np.minimum(interest, np.quantile(interest, 0.9)).astype(np.float64)
    interest = interest / (interest.mean() + 1e-3) + 0.05
    return np.asarray(interest / interest.sum(), np.float64)


def interesting_place(image: Array, random: Random) -> tuple[float, float]:
    """(y, x) in pixels, where a defect is likely in `image`, float32 [H, W, C]."""
    return _place(_interest(image), image.shape[:2], random)


def _place(places: NDArray[np.float64], size: tuple[int, ...], random: Random) -> tuple[float, float]:
    cell = int(random.choice(GRID * GRID, p=places.ravel()))
    return (cell // GRID + random.random()) / GRID * size[0], (cell % GRID + random.random()) / GRID * size[1]
