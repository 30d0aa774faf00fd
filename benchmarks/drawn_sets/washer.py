"""Steel washers clamped by three pins in a fixture that is the same in all pictures; grey pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    Floats,
    Lamp,
    Mask,
    Random,
    between,
    blur,
    curved,
    ends_around,
    fractal,
    grid,
    grown,
    lamp_near,
    noise,
    paint,
    shade,
    shifted,
    smoothstep,
    stroke,
    uniform,
)

KINDS = ("burr", "scratch", "oval", "stain")
TRAINING = 20

SIDE = 400
SHAPE = (SIDE, SIDE)
MIDDLE = 200
OUTER, INNER = 132, 68  # radii, pixels
FIXTURE_SEED = 991
PINS = 3


@dataclass(frozen=True)
class Washer:
    """Centre and radii in pixels; `long`: direction of an oval one's long axis; `spot`: direction of other defects,
    both in radians. At every pixel, [H, W]: `distance` from the centre, in an oval one stretched so that its edges lie
    at the radii, and direction seen from there."""

    x: float
    y: float
    outer: float
    inner: float
    long: float
    spot: float
    distance: Floats
    direction: Floats

    def at_spot(self, radius: float) -> tuple[float, float]:
        return self.x + radius * np.cos(self.spot), self.y + radius * np.sin(self.spot)


@dataclass(frozen=True)
class Burr:
    """A burr: its cover [H, W], where it counts as a defect, and where it rises over the edge, [H, W]."""

    cover: Floats
    marked: Floats
    rises: Mask


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, grey [H, W], and where it is defective, [H, W]."""
    lamp = lamp_near(random)
    image = _lit_fixture(random, lamp)
    washer, cover = _washer(random, between(0.032, 0.10, severity) if kind == "oval" else 0.0)
    marked = _off_round(washer, cover) if kind == "oval" else np.zeros(SHAPE, np.float32)
    burr = None
    if kind == "burr":
        burr = _burr(random, washer, severity)
        cover, marked = np.maximum(cover, burr.cover), burr.marked
    cover = cover.astype(np.float32)
    steel = _lit_steel(random, washer, cover, lamp, between(2, 9, severity) if kind == "oval" else 0.0)
    if burr is not None:
        ragged = 28 + 22 * noise(random, SHAPE, 4)
        steel = steel + (burr.cover * burr.rises * ragged).astype(np.float32)
    if kind == "scratch":
        marked = _scratched(random, washer, steel, cover, severity)
    if kind == "stain":
        steel, marked = _stained(random, washer, steel, cover, severity)
    shadow = np.maximum(blur(shifted(cover, 5, 6), 5) * 0.6, blur(shifted(cover, 2, 3), 2) * 0.4)
    image = image * (1 - shadow)
    return _clamped(image * (1 - cover) + steel * cover, marked)


@cache
def _fixture() -> tuple[Floats, Floats]:
    """The fixture: grey levels and height, [H, W]. A round recess with a boss in its middle, a screw in each corner."""
    random = np.random.default_rng(FIXTURE_SEED)
    x, y = grid(SHAPE)
    level = 62 + 4 * fractal(random, SHAPE, 120, 2) + 3.2 * noise(random, SHAPE, (1.8, 70))
    out = np.hypot(x - MIDDLE, y - MIDDLE)
    height = -8 * (1 - smoothstep(153, 159, out)) + 6 * (1 - smoothstep(52, 57, out))
    for screw_x, screw_y in ((38, 38), (362, 38), (38, 362), (362, 362)):
        right, down = x - screw_x, y - screw_y
        away = np.hypot(right, down)
        height = height - 4 * (1 - smoothstep(19, 22, away)) + 3 * (1 - smoothstep(15, 17, away))
        turn = uniform(random, 0, 6)
        slot = (np.abs(right * np.sin(turn) + down * np.cos(turn)) < 2.5) & (away < 14)
        level = level + 30 * (away < 16) - 50 * slot
    return level.astype(np.float32), height.astype(np.float32)


def _lit_fixture(random: Random, lamp: Lamp) -> Floats:
    level, height = _fixture()
    x, y = grid(SHAPE)
    diffuse, gloss = shade(height, lamp, 20)
    image = level * (0.35 + 0.8 * diffuse) + 40 * gloss + 2 * noise(random, SHAPE, 3) + 3 * noise(random, SHAPE, 90)
    return np.asarray(image * (1 - 0.25 * (1 - smoothstep(150, 157, np.hypot(x - MIDDLE, y - MIDDLE)))))


def _washer(random: Random, oval: float) -> tuple[Washer, Floats]:
    """A washer, longer one way and shorter the other by the share `oval`, and its cover [H, W]."""
    x, y = MIDDLE + uniform(random, -3, 3), MIDDLE + uniform(random, -3, 3)
    outer, inner = OUTER * uniform(random, 0.996, 1.004), INNER * uniform(random, 0.994, 1.006)
    long = uniform(random, 0, np.pi)
    right, down = (line - middle for line, middle in zip(grid(SHAPE), (x, y), strict=True))
    distance, direction = np.hypot(right, down), np.arctan2(down, right)
    if oval:
        cos, sin = np.cos(long), np.sin(long)
        distance = np.hypot((right * cos + down * sin) / (1 + oval), (-right * sin + down * cos) / (1 - oval))
    wobble = np.zeros_like(direction)
    for k, amount in enumerate(random.normal(0, 0.25, 4)):
        wobble = wobble + amount * np.cos((k + 2) * direction + k)
    cover = np.clip(outer + wobble - distance, 0, 1) * np.clip(distance - inner - 0.6 * wobble, 0, 1)
    return Washer(x, y, outer, inner, long, uniform(random, 0, 6.283), distance, direction), cover


def _off_round(washer: Washer, cover: Floats) -> Floats:
    """Where an oval washer and a round one differ, [H, W]."""
    x, y = grid(SHAPE)
    true = np.hypot(x - washer.x, y - washer.y)
    round_ = np.clip(washer.outer - true, 0, 1) * np.clip(true - washer.inner, 0, 1)
    differs = (np.abs(cover - round_) > 0.5).astype(np.float32)
    return grown(np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))), 3)


def _burr(random: Random, washer: Washer, severity: float) -> Burr:
    """A ragged burr on one edge, 5 to 15 pixels high."""
    inside = random.random() < 0.45
    beyond = -(washer.distance - washer.inner) if inside else washer.distance - washer.outer
    width, height = between(0.055, 0.16, severity) * (1.6 if inside else 1), between(5.5, 15, severity)
    aside = (washer.direction - washer.spot + np.pi) % (2 * np.pi) - np.pi
    rough = np.abs(np.convolve(random.standard_normal(90), [0.3, 0.5, 0.3], "same")) + 0.55
    rough = np.interp(aside, np.linspace(-0.5, 0.5, 90), rough)
    rise = height * np.exp(-((aside / width) ** 4)) * np.clip(rough, 0.3, 1.5)
    cover = (np.clip(rise - beyond, 0, 1) * np.clip(beyond + 3, 0, 1)).astype(np.float32)
    return Burr(cover, grown(cover * (rise > 1.2) > 0.4, 2), beyond > -2)


def _lit_steel(random: Random, washer: Washer, cover: Floats, lamp: Lamp, tilt: float) -> Floats:
    """The turned face, [H, W]: bevelled, with rings and two sheens, a little pitted. `tilt` bends it along."""
    x, y = grid(SHAPE)
    depth = cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    height = np.minimum(depth, 5) * 0.9 + 0.5 * fractal(random, SHAPE, 60, 2)
    if tilt:
        along = (x - washer.x) * np.cos(washer.long) + (y - washer.y) * np.sin(washer.long)
        height = height + tilt * (along / 130) ** 2 * 6
    fine = random.standard_normal(520).astype(np.float32)
    profile = fine + 1.3 * np.convolve(fine, np.ones(9) / 9, "same")
    ring = washer.distance * 2.4 + noise(random, SHAPE, 120)
    turned = np.interp(ring.ravel(), np.arange(520), profile).reshape(SHAPE).astype(np.float32)
    diffuse, gloss = shade(blur(height.astype(np.float32), 0.9), lamp, 18)
    direction = washer.direction - (0.75 + uniform(random, -0.25, 0.25))
    sheen = np.abs(np.cos(direction)) ** 5 + 0.35 * np.abs(np.cos(direction - 1.5)) ** 9
    steel = 58 + 112 * diffuse + 50 * gloss + 36 * sheen * (1 + 0.12 * turned) + 3 * turned
    steel = steel + 5 * fractal(random, SHAPE, 70, 2) - 7 * np.clip(noise(random, SHAPE, 4) - 1.7, 0, 2)
    return np.asarray(steel.astype(np.float32))


def _scratched(random: Random, washer: Washer, steel: Floats, cover: Floats, severity: float) -> Floats:
    """Scratch the steel over 30 to 100 pixels; a light scratch runs across, or it would be one ring among many."""
    middle = washer.at_spot(uniform(random, 82, 118))
    turn = uniform(random, 0, 6.3) if severity > 0.3 else washer.spot + uniform(random, -0.7, 0.7)
    line = curved(random, *ends_around(middle, between(30, 100, severity), turn), 0.12)
    groove = stroke(SHAPE, line, between(2.6, 4.6, severity), (0.2, 0.2)) * (cover > 0.5)
    dark = shifted(groove, 1.8, 1.8) * (cover > 0.5)
    paint(steel, steel * 0.5, dark * between(0.45, 0.8, severity))
    paint(steel, np.clip(steel + 75, 0, 250), groove * between(0.6, 0.95, severity))
    return grown(np.maximum(groove, 0.8 * dark) > 0.3, 2)


def _stained(random: Random, washer: Washer, steel: Floats, cover: Floats, severity: float) -> tuple[Floats, Floats]:
    """The steel with a dark stain of 15 to 40 pixels radius, and where that is."""
    x, y = grid(SHAPE)
    middle_x, middle_y = washer.at_spot(uniform(random, 76, 124))
    radius = between(15, 40, severity)
    out = np.hypot((x - middle_x) * uniform(random, 0.7, 1.4), y - middle_y) / radius
    out = out + 0.2 * fractal(random, SHAPE, 20, 3)
    spot, rim = 1 - smoothstep(0.72, 1.05, out), np.exp(-(((out - 0.85) / 0.1) ** 2))
    steel = steel * (1 - between(0.22, 0.55, severity) * spot - 0.10 * rim)
    return steel, ((spot > 0.4) & (cover > 0.5)).astype(np.float32)


def _clamped(image: Floats, marked: Floats) -> tuple[Floats, Floats]:
    """The scene with the fixture's pins in front of the washer's rim; what they hide is not marked."""
    x, y = grid(SHAPE)
    for pin in range(PINS):
        angle = np.pi / 2 + pin * 2 * np.pi / PINS
        right, down = x - (MIDDLE + 143 * np.cos(angle)), y - (MIDDLE + 143 * np.sin(angle))
        out = np.hypot(right, down)
        cover = np.clip(12 - out, 0, 1)
        shadow = 0.5 * np.clip(1 - np.hypot(right - 3, down - 4) / 20, 0, 1) * (1 - cover)
        dome = 88 + 60 * np.clip(-right * 0.05 - down * 0.05, -0.7, 1)
        dome = dome + 60 * np.exp(-((right + 4) ** 2 + (down + 4) ** 2) / 14) - 30 * (out > 9.5)
        image = image * (1 - shadow) * (1 - cover) + dome * cover
        marked = marked * (cover < 0.5)
    return image.astype(np.float32), marked
