"""Where a synthetic defect is: soft masks, float32 [h, w] in 0..1, drawn inside a window of h x w pixels, 4 or more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Random = np.random.Generator
Shape = Callable[[Random, int, int], Array]
T = TypeVar("T")

SUBPIXEL = 4  # fractional bits of cv2's drawing coordinates


def log_uniform(random: Random, low: float, high: float) -> float:
    """A number between `low` and `high` whose logarithm is uniform."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def weighted_choice(table: Sequence[tuple[T, float]], random: Random) -> T:
    """One of the things, each as often as the weight beside it says."""
    weights = np.array([weight for _, weight in table], np.float64)
    return table[int(random.choice(len(table), p=weights / weights.sum()))][0]


def softened(mask: Array, random: Random) -> Array:
    """`mask` with a blurred edge, in six of ten cases."""
    if random.random() >= 0.6:
        return mask
    sigma = log_uniform(random, 0.5, max(0.6, min(mask.shape) / 8))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), np.float32)


def smooth_field(random: Random, height: int, width: int, cells: int) -> Array:
    """Normal noise of `cells` x `cells` values, interpolated to height x width."""
    grid = random.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def blob(random: Random, height: int, width: int) -> Array:
    """A closed curve whose radius wobbles: pores, stains, dents."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.ones(40)
    for wave in range(1, 6):
        radius += random.normal(0, 0.35 / wave) * np.cos(wave * angle + random.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.15, None) / max(radius.max(), 0.15)
    half = np.array([width, height]) / 2
    return _filled(half + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) * (half - 0.5), height, width)


def polygon(random: Random, height: int, width: int) -> Array:
    """The convex hull of three to six points: chips, flakes."""
    points = random.random((int(random.integers(3, 7)), 2)) * (width, height)
    return _filled(cv2.convexHull(points.astype(np.float32)).reshape(-1, 2), height, width)


def bar(random: Random, height: int, width: int) -> Array:
    """A turned rectangle of any proportion: tape, scars, wrong parts."""
    turn = random.uniform(0, np.pi)
    half = np.array([width, height]) / 2
    along = np.array([np.cos(turn), np.sin(turn)]) * half * 0.95
    across = np.array([-np.sin(turn), np.cos(turn)]) * half * random.uniform(0.1, 0.7)
    corners = [half + along + across, half + along - across, half - along - across, half - along + across]
    return _filled(np.stack(corners), height, width)


def whole(random: Random, height: int, width: int) -> Array:
    """The whole window."""
    return np.ones((height, width), np.float32)


def line(random: Random, height: int, width: int) -> Array:
    """A random walk, one to four pixels thick, sometimes forked: scratches and cracks."""
    span, steps = max(height, width), int(random.integers(4, 24))
    turns = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, random.uniform(0, 0.6), steps))
    walk = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * span / steps, 0)
    points = walk - walk.mean(0) + np.array([width, height]) / 2
    thickness = 1 + int(random.random() < 0.5) + 2 * int(random.random() < 0.25)
    mask = np.zeros((height, width), np.uint8)
    strokes = [points]
    if random.random() < 0.2:
        start, turn = points[random.integers(0, steps)], random.uniform(0, 2 * np.pi)
        strokes.append(np.stack([start, start + np.array([np.cos(turn), np.sin(turn)]) * span / 3]))
    cv2.polylines(mask, [_fixed_point(s) for s in strokes], False, 255, thickness, cv2.LINE_AA, SUBPIXEL)
    return np.asarray(mask / 255, np.float32)


def cloud(random: Random, height: int, width: int) -> Array:
    """Fractal noise above a threshold, inside an ellipse: corrosion, dirt, fraying."""
    cells, field = int(random.integers(3, 8)), np.zeros((height, width), np.float32)
    for octave in range(3):
        field += smooth_field(random, height, width, cells) / 2**octave
        cells = 2 * cells - 1
    level = np.quantile(field[::2, ::2], random.uniform(0.4, 0.85))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    return np.asarray(np.clip((field - level) * 4, 0, 1) * (x**2 + y**2 < 1), np.float32)


def dots(random: Random, height: int, width: int) -> Array:
    """A few small discs: pinholes, splashes."""
    mask, scale = np.zeros((height, width), np.uint8), 1 << SUBPIXEL
    for _ in range(int(random.integers(2, 12))):
        radius = log_uniform(random, 0.6, max(0.8, min(height, width) / 10))
        centre = (int(random.random() * width * scale), int(random.random() * height * scale))
        cv2.circle(mask, centre, int(scale * radius), 255, -1, cv2.LINE_AA, SUBPIXEL)
    return np.asarray(mask / 255, np.float32)


def cut(random: Random, height: int, width: int) -> Array:
    """One side of a rough line through the window: broken edges, unevenly worked halves."""
    turn, along = random.uniform(0, 2 * np.pi), np.linspace(-1.5, 1.5, 9)
    normal = np.array([np.cos(turn), np.sin(turn)])
    tangent = np.array([-normal[1], normal[0]])
    offset = random.uniform(-0.2, 0.6) + np.cumsum(random.normal(0, random.uniform(0, 0.15), 9))
    edge = along[:, None] * tangent + offset[:, None] * normal
    far = np.stack([1.5 * tangent + 3 * normal, -1.5 * tangent + 3 * normal])
    return _filled((np.concatenate([edge, far]) + 1) / 2 * np.array([width, height]), height, width)


def _filled(points: NDArray[np.floating], height: int, width: int) -> Array:
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [_fixed_point(points)], 255, cv2.LINE_AA, SUBPIXEL)
    return np.asarray(mask / 255, np.float32)


def _fixed_point(points: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.asarray(np.round(points * (1 << SUBPIXEL)), np.int32)
