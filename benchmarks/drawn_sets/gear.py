"""Steel gears from above: twenty teeth, five holes and a keyed bore, lying anywhere on a grey table; grey pictures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    Floats,
    Point,
    Random,
    between,
    blur,
    curved,
    fractal,
    grid,
    grown,
    jagged,
    lamp_near,
    noise,
    paint,
    polygon,
    shade,
    shifted,
    smoothstep,
    stroke,
    uniform,
    wide_blur,
)

KINDS = ("missing_tooth", "crack", "rust", "dent")
TRAINING = 70

SIDE = 800
SHAPE = (SIDE, SIDE)
TEETH = 20
TIP, ROOT = 226, 186  # radii of the teeth, pixels
HOLES = 5
# One side of a tooth: half its width, in half pitches, at heights from 0, its root, to 1, its tip.
FLANK = ((0.62, 0), (0.52, 0.25), (0.44, 0.6), (0.33, 0.96), (0.28, 1))


@dataclass(frozen=True)
class Gear:
    """Centre in pixels and turn in radians; `full`: cover with all its teeth; at every pixel, [H, W]: distance from
    the centre and direction seen from there, `cover`, and `depth`, the distance from the nearest edge."""

    x: float
    y: float
    turn: float
    full: Floats
    distance: Floats
    direction: Floats
    cover: Floats
    depth: Floats

    def at(self, angle: float, radius: float) -> Point:
        return self.x + radius * np.cos(angle), self.y + radius * np.sin(angle)


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, grey [H, W], and where it is defective, [H, W]."""
    lamp = lamp_near(random)
    x, y, turn = uniform(random, 245, 555), uniform(random, 245, 555), uniform(random, 0, 6.283)
    table = _table(random)
    gear, body = _shaped(random, (x, y, turn), between(0.2, 1.0, severity) if kind == "missing_tooth" else 0)
    marked = grown(gear.full - body > 0.5, 2)
    distance = gear.distance
    height = 1.1 * np.minimum(gear.depth, 5) - 9 * smoothstep(78, 84, distance) + 9 * smoothstep(166, 172, distance)
    height = height + 0.5 * fractal(random, SHAPE, 70, 2)
    turned = _turning_marks(random, distance)
    dent = None
    if kind == "dent":
        dent = _dent(random, gear, severity)
        ring = between(1.2, 2.5, severity) * np.exp(-(((dent - 1.15) / 0.25) ** 2))
        height = height - between(4.5, 11, severity) * np.exp(-(dent**2) * 1.6) + ring
        marked = ((dent < 1.3) & (gear.cover > 0.5)).astype(np.float32)
    diffuse, gloss = shade(blur(height.astype(np.float32), 0.8), lamp, 18)
    direction = (gear.direction + turn) - (uniform(random, -0.12, 0.12) + 0.75)
    sheen = np.abs(np.cos(direction)) ** 6 + 0.45 * np.abs(np.cos(direction - 1.4)) ** 10
    steel = 46 + 112 * diffuse + 46 * gloss + (34 + 4 * uniform(random, -1, 1)) * sheen * (1 + 0.10 * turned)
    steel = steel + 2.6 * turned + 5 * fractal(random, SHAPE, 80, 3) - 9 * ((distance > 84) & (distance < 166))
    steel = steel - 12 * np.exp(-(((distance - 83) / 4) ** 2)) - 10 * np.exp(-(((distance - 167) / 4) ** 2))
    steel = _handled(random, gear, steel).astype(np.float32)
    if dent is not None:
        steel = steel * (1 - 0.18 * np.exp(-(dent**2) * 2))
    if kind == "crack":
        marked = _cracked(random, gear, steel, severity)
    if kind == "rust":
        marked = _rusted(random, gear, steel, severity)
    cover = gear.cover
    shadow = np.maximum(wide_blur(shifted(cover, 9, 11), 9) * 0.55, blur(shifted(cover, 4, 5), 3) * 0.45)
    scene = table * (1 - shadow)
    return (scene * (1 - cover) + steel * cover).astype(np.float32), marked


def _table(random: Random) -> Floats:
    """The table, [H, W]: grey and grainy, with a few faint lines."""
    table = 104 + 4 * fractal(random, SHAPE, 260, 3) + 3.5 * noise(random, SHAPE, 3) + 2.5 * noise(random, SHAPE, 8)
    for _ in range(int(random.integers(2, 7))):
        start = uniform(random, 0, SIDE), uniform(random, 0, SIDE)
        end = start[0] + random.normal() * 120, start[1] + random.normal() * 120
        line = stroke(SHAPE, curved(random, start, end, 0.1), uniform(random, 1.2, 2.2), (0.2, 0.2))
        table += line * uniform(random, -12, 12)
    return np.asarray(table)


def _shaped(random: Random, pose: tuple[float, float, float], lost: float) -> tuple[Gear, Floats]:
    """The gear at x, y and turn with the share `lost` of one tooth broken off; and its cover before it is bored."""
    broken, fracture = int(random.integers(TEETH)), np.random.default_rng(random.integers(1 << 31))
    corners: list[tuple[float, float]] = []
    stumped: list[tuple[float, float]] = []
    half_pitch = np.pi / TEETH
    flank = [(ROOT + (TIP - ROOT) * height, half * half_pitch) for half, height in FLANK]
    for tooth in range(TEETH):
        middle = 2 * np.pi * tooth / TEETH
        whole = [(radius, middle - half) for radius, half in flank]
        whole += [(radius, middle + half) for radius, half in flank[::-1]]
        corners += whole
        stumped += _stump(fracture, middle, lost) if lost and tooth == broken else whole
    full, body = (_outline(pose, points) for points in (corners, stumped))
    x, y = grid(SHAPE)
    right, down = x - pose[0], y - pose[1]
    distance, direction = np.hypot(right, down), np.arctan2(down, right) - pose[2]
    cover = (body * (1 - _void(distance, direction))).astype(np.float32)
    depth = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    return Gear(*pose, full, distance, direction, cover, depth), body


def _stump(random: Random, middle: float, lost: float) -> list[tuple[float, float]]:
    """Corners, radius and angle, of a tooth snapped off along a rough line."""
    left, half_pitch = 1 - lost, np.pi / TEETH
    half = float(np.interp(left, [height for _, height in FLANK], [half for half, _ in FLANK]))
    flank = [corner for corner in FLANK[:3] if corner[1] < left - 0.05] or [FLANK[0]]
    corners = [(ROOT + (TIP - ROOT) * height, middle - width * half_pitch) for width, height in flank]
    for place in np.linspace(-half, half, 9):
        corners.append((ROOT + (TIP - ROOT) * left + random.normal() * 1.8, middle + place * half_pitch))
    return corners + [(ROOT + (TIP - ROOT) * height, middle + width * half_pitch) for width, height in flank[::-1]]


def _outline(pose: tuple[float, float, float], corners: list[tuple[float, float]]) -> Floats:
    """Cover [H, W] of the polygon of corners given by radius and angle."""
    radius, angle = np.array(corners).T
    x, y = pose[0] + radius * np.cos(angle + pose[2]), pose[1] + radius * np.sin(angle + pose[2])
    return polygon(SHAPE, np.stack([x, y], 1))


def _void(distance: Floats, direction: Floats) -> Floats:
    """Cover [H, W] of the bore, its keyway and the holes."""
    x, y = distance * np.cos(direction), distance * np.sin(direction)
    keyway = np.clip(12 - np.abs(y), 0, 1) * np.clip(57 - x, 0, 1) * (x > 0)
    void = np.maximum(np.clip(42.5 - distance, 0, 1), keyway)
    for hole in range(HOLES):
        angle = 2 * np.pi * (hole + 0.5) / HOLES
        away = np.hypot(x - 126 * np.cos(angle), y - 126 * np.sin(angle))
        void = np.maximum(void, np.clip(23 - away, 0, 1))
    return np.asarray(void)


def _turning_marks(random: Random, distance: Floats) -> Floats:
    """Rings that the lathe left, [H, W]: fine ones on coarser ones, of about unit variance."""
    fine = random.standard_normal(700).astype(np.float32)
    coarse = 1.2 * np.convolve(fine, np.ones(7) / 7, "same")
    profile = fine + coarse + 2 * np.convolve(random.standard_normal(700), np.ones(25) / 25, "same")
    ring = distance * 1.5 + 1.2 * noise(random, SHAPE, 200)
    return np.interp(ring.ravel(), np.arange(700), profile).reshape(SHAPE).astype(np.float32)


def _handled(random: Random, gear: Gear, steel: Floats) -> Floats:
    """Up to three light marks, as handling leaves them; they are no defect."""
    for _ in range(int(random.integers(0, 4))):
        x, y = gear.at(uniform(random, 0, 6.3), uniform(random, 60, 190))
        end = x + random.normal() * 22, y + random.normal() * 22
        steel = steel + stroke(SHAPE, curved(random, (x, y), end, 0.1), 1.5, (0.2, 0.2)) * 9
    return steel


def _spot(random: Random, gear: Gear, outermost: float, depth: float) -> Point:
    """A place on the gear, up to `outermost` from its centre and `depth` from any edge, if one is soon found."""
    for _ in range(300):
        x, y = gear.at(uniform(random, 0, 6.3), uniform(random, 60, outermost))
        if gear.depth[int(y), int(x)] > depth:
            break
    return x, y


def _dent(random: Random, gear: Gear, severity: float) -> Floats:
    """Distance [H, W] from the middle of a dent of 9 to 24 pixels radius, 1 at its edge."""
    x, y = grid(SHAPE)
    radius = between(9, 24, severity)
    middle_x, middle_y = _spot(random, gear, 200, min(radius, 14))
    out = np.hypot((x - middle_x) * uniform(random, 0.75, 1.3), y - middle_y) / radius
    return np.asarray(out + 0.07 * noise(random, SHAPE, 14))


def _cracked(random: Random, gear: Gear, steel: Floats, severity: float) -> Floats:
    """Crack the steel from a tooth's root inwards, from the bore or from a hole outwards."""
    origin = int(random.integers(3))
    if origin == 0:
        angle = gear.turn + 2 * np.pi * (int(random.integers(TEETH)) + 0.5) / TEETH
        start, end = 187.0, 187 - between(34, 120, severity)
    elif origin == 1:
        angle = gear.turn + np.pi + uniform(random, -1.8, 1.8)
        start, end = 43.0, 43 + between(36, 120, severity)
    else:
        angle = gear.turn + 2 * np.pi * (int(random.integers(HOLES)) + 0.5) / HOLES
        start, end = 149.0, 149 + between(30, 60, severity)
    line = jagged(random, gear.at(angle, start), gear.at(angle + uniform(random, -0.15, 0.15), end), 0.09)
    gap = stroke(SHAPE, line, between(2.8, 5.5, severity), (1, 0.15)) * (gear.cover > 0.5)
    paint(steel, np.clip(steel * 1.1 + 22, 0, 250), shifted(gap, 2, 2) * 0.6)
    paint(steel, 24.0, gap * between(0.75, 0.95, severity))
    return grown(gap > 0.3, 2)


def _rusted(random: Random, gear: Gear, steel: Floats, severity: float) -> Floats:
    """Rust the steel, dark and rough, over 20 to 66 pixels radius."""
    x, y = grid(SHAPE)
    middle_x, middle_y = _spot(random, gear, 205, 8)
    radius = between(20, 66, severity)
    out = np.hypot(x - middle_x, (y - middle_y) * uniform(random, 0.7, 1.4)) / radius
    out = out + 0.28 * fractal(random, SHAPE, 26, 4, 0.65)
    spot, rough = 1 - smoothstep(0.7, 1.05, out), fractal(random, SHAPE, 9, 3, 0.7)
    colour = np.clip(78 + 17 * rough - 14 * (1 - out), 20, 150).astype(np.float32)
    paint(steel, colour, spot * np.clip(between(0.55, 0.9, severity) + 0.12 * rough, 0, 1))
    return ((spot > 0.4) & (gear.cover > 0.5)).astype(np.float32)
