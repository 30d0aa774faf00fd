"""Woven cloth filling the picture: plain weave of uneven grey threads, warp upright and weft level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_sets.drawing import (
    Floats,
    Mask,
    Random,
    between,
    blur,
    closed,
    curved,
    fractal,
    grid,
    grown,
    lamp_near,
    noise,
    paint,
    shade,
    smoothstep,
    stroke,
    uniform,
)

KINDS = ("broken_thread", "hole", "stain", "misweave")
TRAINING = 100

SIDE = 512
SHAPE = (SIDE, SIDE)
PITCH = 15.0  # pixels from thread to thread
THREADS = 60  # each way, at most
COARSE = SIDE // 4  # steps in which a thread's thickness varies along it
WARP, WEFT = 0, 1  # the directions of thread: upright, level
NOWHERE = -3  # height where a thread is not


@dataclass(frozen=True)
class Threads:
    """The threads of one direction at every pixel, all [H, W].

    `place`: pixels across the threads; `index`: which thread; `across`: from its middle, 1 at its nominal edge;
    `width`: of the nominal one; `swell`: how its thickness varies along it; `tone`: grey levels off the mean.
    """

    place: Floats
    index: NDArray[np.int32]
    across: Floats
    width: Floats
    swell: Floats
    tone: Floats

    @property
    def phase(self) -> Floats:
        """From the middle of a thread, in pitches."""
        return np.asarray(self.place / PITCH - self.index - 0.5)


Pair = tuple[Threads, Threads]  # warp, weft


@dataclass(frozen=True)
class Stretch:
    """`length` pixels, around x and y, of the thread `index` of one direction."""

    x: float
    y: float
    length: float
    direction: int
    index: int

    def along(self) -> tuple[Floats, float]:
        """Pixels along the thread, [H, W], and those at the middle of the stretch."""
        x, y = grid(SHAPE)
        return (x, self.x) if self.direction == WEFT else (y, self.y)


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, grey [H, W], and where it is defective, [H, W]."""
    places = _places(random)
    at = uniform(random, 90, 422), uniform(random, 90, 422)
    if kind == "hole":
        return _with_hole(random, places, at, severity)
    threads = _threads(random, places)
    if kind == "misweave":
        return _misweave(random, threads, at, severity)
    if kind == "broken_thread":
        return _broken(random, threads, at, severity)
    image, fibres = _lit(random, threads, _heights(threads))
    if kind == "stain":
        return image, _stained(random, image, fibres, at, severity)
    return image, np.zeros(SHAPE, np.float32)


def _places(random: Random) -> tuple[Floats, Floats]:
    """Pixels across the warp and across the weft, [H, W] each: turned by up to two degrees and slightly warped."""
    x, y = grid(SHAPE)
    angle = np.deg2rad(uniform(random, -2, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    warp = x * cos + y * sin + 40 + uniform(random, 0, PITCH)
    weft = -x * sin + y * cos + 60 + uniform(random, 0, PITCH)
    warp = warp + 2.2 * noise(random, SHAPE, 140) + 0.8 * noise(random, SHAPE, 40)
    weft = weft + 2.2 * noise(random, SHAPE, 140) + 0.8 * noise(random, SHAPE, 40)
    return warp, weft


def _threads(random: Random, places: tuple[Floats, Floats]) -> Pair:
    """Both directions of thread: no two threads lie, swell or look quite alike."""
    offset = random.normal(0, 0.75, (2, THREADS))
    width = random.normal(1, 0.055, (2, THREADS))
    tone = random.normal(0, 5.5, (2, THREADS))
    swell = [noise(random, (THREADS, COARSE), (1.0, 22)) for _ in range(2)]
    made = []
    for way, (place, along) in enumerate((places, places[::-1])):
        index = np.clip((place / PITCH).astype(np.int32), 0, THREADS - 1)
        across = (place / PITCH - index - 0.5) * 2 - (offset[way] / PITCH * 2)[index]
        step = np.clip((along / 4).astype(int), 0, COARSE - 1)
        made.append(Threads(place, index, across, width[way][index], swell[way][index, step], tone[way][index]))
    return made[WARP], made[WEFT]


def _heights(threads: Pair, swapped: Mask | None = None) -> list[Floats]:
    """Height [H, W] of warp and weft, in thread radii; where `swapped`, under and over change places."""
    parity = (threads[WARP].index + threads[WEFT].index) & 1
    if swapped is not None:
        parity = np.where(swapped, parity ^ 1, parity)
    heights = []
    for own, other, over in ((*threads, 1 - 2 * parity), (*threads[::-1], 2 * parity - 1)):
        profile = 1 - (own.across / (own.width * (1.03 + 0.07 * own.swell))) ** 2
        crimp = np.cos(np.pi * other.phase)
        height = np.sqrt(np.maximum(profile, 0)) * 0.85 + over * crimp * 0.8
        heights.append(np.where(profile > 0, height, NOWHERE))
    return heights


def _lit(random: Random, threads: Pair, heights: list[Floats], brighter: Floats | float = 0) -> tuple[Floats, Floats]:
    """The cloth under its lamp, grey [H, W], `brighter` by so many grey levels, and its fibres, noise [H, W]."""
    warp, weft = threads
    warp_on_top = heights[WARP] > heights[WEFT]
    height = np.maximum(heights[WARP], heights[WEFT]).astype(np.float32)
    fibres_up = noise(random, SHAPE, (16, 2.2))
    fibres = np.where(warp_on_top, fibres_up, noise(random, SHAPE, (2.2, 16)))
    twist_up, twist_across = warp.across * 3.0 + weft.place * 0.55, weft.across * 3.0 + warp.place * 0.55
    twist = np.where(warp_on_top, np.sin(twist_up), np.sin(twist_across))
    tone = np.where(warp_on_top, warp.tone + 4 * warp.swell - 9, weft.tone + 4 * weft.swell + 7) + brighter
    gap = height < -2.5
    relief = blur(np.where(gap, -1.6, height) * 3.2, 0.8)
    diffuse, gloss = shade(relief + 0.25 * fibres, lamp_near(random, 0.05), 12)
    image = 62 + 118 * diffuse + 22 * gloss + tone + 4 * fibres + 4.5 * twist + 13 * np.clip(height, -2, 2)
    image += 4 * fractal(random, SHAPE, 200, 2)
    return np.where(gap, 42 + 4 * fibres, image).astype(np.float32), fibres


def _stretch(random: Random, threads: Pair, at: tuple[float, float], length: float) -> Stretch:
    direction = WEFT if random.random() < 0.5 else WARP
    return Stretch(*at, length, direction, int(threads[direction].index[int(at[1]), int(at[0])]))


def _misweave(random: Random, threads: Pair, at: tuple[float, float], severity: float) -> tuple[Floats, Floats]:
    """A doubled thread: over a stretch, or right across, one runs as its neighbour does, and the two lie close."""
    length = between(70, 420, severity) if severity <= 0.85 else 900
    stretch = _stretch(random, threads, at, length)
    along, middle = stretch.along()
    own = threads[stretch.direction]
    within = (along > middle - length / 2) & (along < middle - length / 2 + length)
    one, neighbour = within & (own.index == stretch.index), within & (own.index == stretch.index + 1)
    across = np.where(one, own.across - 0.38, np.where(neighbour, own.across + 0.38, own.across))
    moved = replace(own, across=across)
    threads = (threads[WARP], moved) if stretch.direction == WEFT else (moved, threads[WEFT])
    heights, both = _heights(threads, one), one | neighbour
    heights[stretch.direction] = np.where(both, heights[stretch.direction] + 0.45, heights[stretch.direction])
    top = np.where(heights[WARP] > heights[WEFT], WARP, WEFT)
    brighter = between(12, 20, severity) + (0 if stretch.direction == WEFT else 13)
    image, _ = _lit(random, threads, heights, np.where(both & (top == stretch.direction), brighter, 0))
    return image, closed(both, 3)


def _broken(random: Random, threads: Pair, at: tuple[float, float], severity: float) -> tuple[Floats, Floats]:
    """A thread that is missing over 30 to 150 pixels, with frayed ends."""
    stretch = _stretch(random, threads, at, between(30, 150, severity))
    along, middle = stretch.along()
    half, ragged = stretch.length / 2, 3 * noise(random, SHAPE, 4)
    gone = threads[stretch.direction].index == stretch.index
    gone &= (along > middle - half + ragged) & (along < middle + half + ragged)
    heights = _heights(threads)
    heights[stretch.direction] = np.where(gone, NOWHERE, heights[stretch.direction])
    image, _ = _lit(random, threads, heights)
    marked = closed(grown(gone, 2), 3)
    for side in (-1, 1):
        for _ in range(int(random.integers(3, 6))):
            fibre = _fibre(random, stretch, side, 1 if severity < 0.3 else 1.4)
            paint(image, uniform(random, 150, 190), fibre * 0.8)
            marked = np.maximum(marked, grown(fibre > 0.4, 1))
    return image, marked


def _fibre(random: Random, stretch: Stretch, side: int, scale: float) -> Floats:
    """Cover [H, W] of one fibre that reaches from an end of the stretch, the first (-1) or the last (1), into it."""
    length = uniform(random, 8, 20) * scale
    x, y = stretch.x, stretch.y
    if stretch.direction == WEFT:
        x += side * stretch.length / 2
        tip_x = x - side * length * uniform(random, 0.5, 1) + random.normal() * 4
        tip_y = y + random.normal() * 5
    else:
        y += side * stretch.length / 2
        tip_x = x + random.normal() * 5
        tip_y = y - side * length * uniform(random, 0.5, 1) + random.normal() * 4
    line = curved(random, (x, y), (tip_x, tip_y), 0.4)
    return stroke(SHAPE, line, uniform(random, 1.6, 3), (1, 0.3))


def _with_hole(
    random: Random, places: tuple[Floats, Floats], at: tuple[float, float], severity: float
) -> tuple[Floats, Floats]:
    """A torn hole of 13 to 38 pixels radius: threads are pushed aside around it, loose ones hang into it."""
    x, y = (line - middle for line, middle in zip(grid(SHAPE), at, strict=True))
    radius, aspect = between(13, 38, severity), uniform(random, 0.8, 1.3)
    away = np.hypot(x * aspect, y)
    push = np.exp(-((away / (radius * 1.7)) ** 2)) * radius * 0.22
    places = places[WARP] - push * x / (away + 6), places[WEFT] - push * y / (away + 6)
    distance = away / radius + 0.16 * fractal(random, SHAPE, 11, 2)  # 1 at the edge
    threads = _threads(random, places)
    image, _ = _lit(random, threads, _heights(threads))
    image *= 1 - 0.35 * (1 - smoothstep(0.9, 1.35, distance))
    paint(image, 26 + 4 * noise(random, SHAPE, 20), 1 - smoothstep(0.9, 1.02, distance))
    for _ in range(int(between(8, 22, severity))):
        angle = uniform(random, 0, 6.3)
        start = at[0] + np.cos(angle) * radius / aspect * 1.05, at[1] + np.sin(angle) * radius * 1.05
        length = radius * uniform(random, 0.25, 0.75)
        towards = angle + np.pi + random.normal() * 0.5
        end = start[0] + length * np.cos(towards), start[1] + length * np.sin(towards)
        fibre = stroke(SHAPE, curved(random, start, end, 0.35), uniform(random, 1.5, 3), (1, 0.3))
        paint(image, uniform(random, 95, 165), fibre * 0.85)
    return image, grown(distance < 1.02, 2)


def _stained(random: Random, image: Floats, fibres: Floats, at: tuple[float, float], severity: float) -> Floats:
    """Stain `image` with a spot of 24 to 70 pixels radius, mostly darker than the cloth and darkest at its rim."""
    x, y = grid(SHAPE)
    radius, aspect = between(24, 70, severity), uniform(random, 0.6, 1.6)
    out = np.hypot((x - at[0]) * aspect, y - at[1]) / radius + 0.2 * fractal(random, SHAPE, 32, 3)
    spot, rim = 1 - smoothstep(0.75, 1.1, out), np.exp(-(((out - 0.88) / 0.1) ** 2))
    if random.random() < 0.2 and severity > 0.3:
        image += spot * 34
    else:
        image *= 1 - between(0.17, 0.42, severity) * spot * (0.9 + 0.12 * fibres) - 0.08 * rim
    return (spot > 0.4).astype(np.float32)
