"""Flaws worked into a drawn surface before light falls on it: a crack is a groove, a dent is a dent, dirt is paint.

So a flaw shines, shades and drowns in the grain as a real one does, which no change of a finished picture can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment import shapes
from train.augment.shapes import Shape, log_uniform, softened, weighted_choice
from train.worlds.patterns import drawn_pattern

Array = NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True)
class Relief:
    """What light falls on: `height` [S, S] in pixels, `colour` [S, S, 3] in 0..1, `gloss` [S, S] in 0..1."""

    height: Array
    colour: Array
    gloss: Array

    def mixed(self, other: Relief, share: Array) -> Relief:
        """This one, and `other` where `share` [S, S] is 1."""
        return Relief(
            self.height * (1 - share) + other.height * share,
            self.colour * (1 - share[:, :, None]) + other.colour * share[:, :, None],
            self.gloss * (1 - share) + other.gloss * share,
        )


Forms = tuple[tuple[Shape, float], ...]
Flaw = Callable[[Relief, Relief, Array, Random], Relief]  # surface, what lies under it, where [S, S] 0..1 -> flawed


def flawed(relief: Relief, ground: Relief, solid: Array, random: Random) -> Relief:
    """`relief` with one flaw, or two, around places of the part (`solid` [S, S], 0..1)."""
    for _ in range(1 + int(random.random() < 0.25)):
        flaw, forms, low, high = weighted_choice(FLAWS, random)
        relief = flaw(relief, ground, _where(weighted_choice(forms, random), (low, high), solid, random), random)
    return relief


def crack(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """A groove, mostly darker inside."""
    dark = np.float32(random.uniform(0, 0.8)) * where
    return Relief(
        relief.height - np.float32(log_uniform(random, 0.3, 5)) * where,
        relief.colour * (1 - dark[:, :, None]),
        relief.gloss * (1 - where),
    )


def scratch(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """A shallow groove that is bare: brighter, and shining."""
    bare = np.float32(random.uniform(0, 1)) * np.ones(3, np.float32)
    share = where * np.float32(random.uniform(0, 0.6))
    scratched = replace(relief, height=relief.height - np.float32(log_uniform(random, 0.1, 2)) * where)
    return scratched.mixed(replace(scratched, colour=bare + 0 * relief.colour, gloss=np.ones_like(relief.gloss)), share)


def pit(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """A hole or a bead with steep sides."""
    depth = log_uniform(random, 0.5, 8) * (1 if random.random() < 0.8 else -1)
    dark = np.float32(random.uniform(0, 0.7)) * where
    colour = relief.colour * (1 - dark[:, :, None])
    return replace(relief, height=relief.height - np.float32(depth) * where, colour=colour)


def dent(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """A hollow or a bump with soft sides."""
    sigma = max(1.0, float(np.sqrt(where.sum())) / 5)
    soft = np.asarray(cv2.GaussianBlur(where, (0, 0), sigma), np.float32)
    depth = sigma * log_uniform(random, 0.15, 1.5) * random.choice([-1, 1])
    return replace(relief, height=relief.height + np.float32(depth) * soft)


def rough(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """Another grain: unevenly worked, frayed, corroded."""
    grain = drawn_pattern(random, len(where))(random)
    tint = np.float32(random.uniform(0, 0.3)) * where * grain
    return Relief(
        relief.height + np.float32(log_uniform(random, 0.1, 2)) * where * grain,
        np.asarray(relief.colour * np.exp(tint)[:, :, None], np.float32),
        relief.gloss * (1 - where * np.float32(random.random())),
    )


def worn(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """The grain is gone."""
    sigma = log_uniform(random, 1.5, 10)
    height, colour = (cv2.GaussianBlur(plane, (0, 0), sigma) for plane in (relief.height, relief.colour))
    gloss = np.clip(relief.gloss + np.float32(random.uniform(-0.5, 0.5)), 0, 1)
    return relief.mixed(Relief(height, colour, gloss), where)


def stain(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """Darker, brighter, or of another colour."""
    change = random.normal(0, 0.6) + random.normal(0, 0.25, 3) * (random.random() < 0.5)
    tinted = relief.colour * np.exp(np.asarray(change, np.float32) * where[:, :, None])
    return replace(relief, colour=np.asarray(np.clip(tinted, 0, 1.2), np.float32))


def missing(relief: Relief, ground: Relief, where: Array, random: Random) -> Relief:
    """Broken away: what lies under it is seen."""
    return relief.mixed(ground, where)


LINES: Forms = ((shapes.line, 1),)
SPOTS: Forms = ((shapes.blob, 2), (shapes.dots, 1), (shapes.polygon, 1))
BROAD: Forms = ((shapes.blob, 2), (shapes.polygon, 1), (shapes.bar, 1))
AREAS: Forms = ((shapes.cloud, 2), (shapes.cut, 1), (shapes.blob, 1), (shapes.bar, 0.5))
FLAWS: tuple[tuple[tuple[Flaw, Forms, float, float], float], ...] = (  # least and largest size: shares of a side
    ((crack, LINES, 0.06, 0.9), 2.5),
    ((scratch, LINES, 0.06, 0.9), 1),
    ((pit, SPOTS, 0.02, 0.2), 2),
    ((dent, BROAD, 0.04, 0.5), 1.5),
    ((rough, AREAS, 0.1, 0.9), 2),
    ((worn, AREAS, 0.1, 0.8), 1),
    ((stain, AREAS, 0.05, 0.6), 1.5),
    ((missing, (*BROAD, (shapes.cut, 1)), 0.04, 0.5), 1),
)


def _where(shape: Shape, sizes: tuple[float, float], solid: Array, random: Random) -> Array:
    """A mask [S, S] of `shape` around a place on the part."""
    side = len(solid)
    stretch = log_uniform(random, 0.4, 2.5) ** 0.5
    size = log_uniform(random, *sizes) * side
    rows, columns = (int(np.clip(v, 4, side)) for v in (size * stretch, size / stretch))
    on_part = np.flatnonzero(solid > 0.5)
    y, x = divmod(int(on_part[random.integers(len(on_part))] if len(on_part) else random.integers(solid.size)), side)
    top, left = int(np.clip(y - rows / 2, 0, side - rows)), int(np.clip(x - columns / 2, 0, side - columns))
    mask = shape(random, rows, columns)
    if shape not in (shapes.line, shapes.dots):
        mask = softened(mask, random)
    where = np.zeros_like(solid)
    where[top : top + rows, left : left + columns] = mask
    return where
