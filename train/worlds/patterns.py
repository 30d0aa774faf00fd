"""Patterns that surfaces are made of. Each function draws one pattern's kind; what it returns draws pieces of it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment.shapes import log_uniform, smooth_field, weighted_choice

Array = NDArray[np.float32]
Random = np.random.Generator
Pattern = Callable[[Random], Array]  # a new piece, float32 [S, S], mean 0 and deviation about 1


def drawn_pattern(random: Random, size: int) -> Pattern:
    """Any pattern, `size` pixels a side."""
    make = weighted_choice(tuple(zip(KINDS, SHARES, strict=True)), random)
    return _shaped(make(random, size), random)


def _shaped(pattern: Pattern, random: Random) -> Pattern:
    """The same pattern as ridges, islands or pits, or as it is."""
    form, level = int(random.choice(4, p=[0.55, 0.15, 0.15, 0.15])), float(random.uniform(-0.5, 1.2))
    if form == 0:
        return pattern
    if form == 1:
        return lambda r: _standard(np.abs(pattern(r)))
    if form == 2:
        return lambda r: _standard(np.tanh(4 * (pattern(r) - np.float32(level))))
    return lambda r: _standard(np.exp(np.clip(pattern(r), -3, 3)))


def noise(random: Random, size: int) -> Pattern:
    """Noise with one spectrum: where its power lies, how fast it falls, and along which direction it is stretched."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    turn, stretch = random.uniform(0, np.pi), log_uniform(random, 1, 25) if random.random() < 0.5 else 1.0
    u, v = fx * np.cos(turn) + fy * np.sin(turn), -fx * np.sin(turn) + fy * np.cos(turn)
    radius = np.sqrt((u * stretch) ** 2 + v**2) + 1e-6
    peak, slope = log_uniform(random, 4 / size, 0.3), random.uniform(1, 3)
    power = np.where(radius < peak, (radius / peak) ** 2, (radius / peak) ** -slope)
    power[0, 0] = 0

    def draw(r: Random) -> Array:
        white = np.fft.rfft2(r.standard_normal((size, size), dtype=np.float32))
        return _standard(np.fft.irfft2(white * power, (size, size)))

    return draw


def lattice(random: Random, size: int) -> Pattern:
    """Waves in one to three directions, added or multiplied, slightly warped: stripes, weaves, grids, knurls."""
    count, turn = 1 + int(random.integers(3)), random.uniform(0, np.pi)
    period = log_uniform(random, 4, size / 4)
    waves = [(turn + k * np.pi / count, period * log_uniform(random, 0.7, 1.5) ** k) for k in range(count)]
    sharp, product = log_uniform(random, 0.3, 5), random.random() < 0.4
    warp, wander, turned = random.uniform(0, 0.25) * period, random.random() < 0.8, random.choice([0, 0.02, 0.1])
    y, x = np.mgrid[:size, :size].astype(np.float32)

    def draw(r: Random) -> Array:
        u = x + np.float32(warp) * smooth_field(r, size, size, 6)
        v = y + np.float32(warp) * smooth_field(r, size, size, 6)
        tilt, total = r.normal(0, turned), np.float32(1 if product else 0)
        for angle, length in waves:
            phase = r.uniform(0, 2 * np.pi) if wander else 0.0
            along = u * np.float32(np.cos(angle + tilt)) + v * np.float32(np.sin(angle + tilt))
            wave = np.tanh(sharp * np.sin(along * np.float32(2 * np.pi / length) + np.float32(phase)))
            total = total * wave if product else total + wave
        return _standard(np.asarray(total))

    return draw


def cells(random: Random, size: int) -> Pattern:
    """Cells around scattered points: by distance (pebbles, leather), or each of its own level (grains, mosaics)."""
    side = log_uniform(random, 6, size / 4)
    order, levels, soft = random.uniform(0.1, 0.5), random.random() < 0.5, random.uniform(0, 1.5)

    def draw(r: Random) -> Array:
        rows = int(size / side) + 2
        grid = np.stack(np.meshgrid(np.arange(rows), np.arange(rows)), -1).reshape(-1, 2).astype(np.float32)
        points = (grid + r.normal(0, order, grid.shape) + r.random(2) - 0.5) * side
        free = np.full((size, size), 255, np.uint8)
        at = np.clip(np.rint(points), 0, size - 1).astype(int)
        free[at[:, 1], at[:, 0]] = 0
        distance, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        field = r.standard_normal(int(labels.max()) + 1).astype(np.float32)[labels] if levels else distance
        return _standard(cv2.GaussianBlur(field, (0, 0), soft) if soft > 0.3 else field)

    return draw


def strokes(random: Random, size: int) -> Pattern:
    """Many short strokes or dots of about one size and direction: fibres, machining marks, speckles."""
    count, length = int(log_uniform(random, 20, 600)), log_uniform(random, 1, size / 2)
    turn, spread = random.uniform(0, np.pi), random.choice([0.05, 0.3, 2.0])
    thickness, both = 1 + int(random.random() < 0.3), random.random() < 0.5

    def draw(r: Random) -> Array:
        mask = np.full((size, size), 128, np.uint8)
        middle, angle = r.uniform(0, size, (count, 2)), r.normal(turn, spread, count)
        half = np.stack([np.cos(angle), np.sin(angle)], 1) * (length / 2 * np.exp(r.normal(0, 0.4, count)))[:, None]
        ends = np.rint(np.stack([middle - half, middle + half], 1) * 16).astype(np.int32)
        shades = np.where(r.random(count) < (0.5 if both else 1), r.uniform(140, 255, count), r.uniform(0, 110, count))
        for (a, b), shade in zip(ends, shades, strict=True):
            cv2.line(mask, a.tolist(), b.tolist(), float(shade), thickness, cv2.LINE_AA, 4)
        return _standard(mask.astype(np.float32))

    return draw


KINDS = (noise, lattice, cells, strokes)
SHARES = (0.45, 0.25, 0.15, 0.15)


def _standard(field: NDArray[np.floating]) -> Array:
    return np.asarray((field - field.mean()) / (field.std() + 1e-3), np.float32)
