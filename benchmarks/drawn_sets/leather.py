"""Brown leather filling the picture: pebbled grain with wrinkles and pores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    Floats,
    Lamp,
    Random,
    between,
    blob,
    blur,
    ends_around,
    fractal,
    grid,
    grown,
    hsv,
    jagged,
    lamp_near,
    noise,
    paint,
    shade,
    smoothstep,
    stroke,
    uniform,
)

KINDS = ("cut", "glue", "fold", "poke")
TRAINING = 60

SIDE = 640
SHAPE = (SIDE, SIDE)


@dataclass(frozen=True)
class Grain:
    """All [H, W]: `height` in pixels; `tone` of each pebble, of unit variance; `edge`: pixels from the next pebble;
    `wrinkles` and `pores`, 0..1."""

    height: Floats
    tone: Floats
    edge: Floats
    wrinkles: Floats
    pores: Floats


@dataclass(frozen=True)
class Spot:
    """Where the leather is defective: centre in pixels, direction in radians."""

    x: float
    y: float
    turn: float

    def offsets(self) -> tuple[Floats, Floats]:
        """Pixels right of the spot and below it, [H, W]."""
        x, y = grid(SHAPE)
        return x - self.x, y - self.y


@dataclass(frozen=True)
class Flaw:
    """The surface with a defect: its height and where it is defective, [H, W]; and what it does to the lit picture."""

    height: Floats
    marked: Floats
    tint: Callable[[Floats], None]


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, BGR [H, W, 3], and where it is defective, [H, W]."""
    lamp = lamp_near(random, 0.1)
    grain = _grain(random)
    spot = Spot(uniform(random, 110, 530), uniform(random, 110, 530), uniform(random, 0, np.pi))
    flaw = None
    if kind == "fold":
        flaw = _folded(random, grain.height, spot, severity)
    if kind == "glue":
        flaw = _glued(random, grain.height, spot, severity, lamp)
    if kind == "poke":
        flaw = _poked(random, grain.height, spot, severity)
    if kind == "cut":
        flaw = _cut(random, grain.height, spot, severity)
    diffuse, gloss = shade(grain.height if flaw is None else flaw.height, lamp, 16)
    dye = hsv(11 + uniform(random, -1, 1), 165 + uniform(random, -10, 10), 138 + uniform(random, -6, 6))
    tone = 1 + 0.045 * fractal(random, SHAPE, 160, 3) + 0.03 * grain.tone + 0.02 * noise(random, SHAPE, 3)
    tone = tone - 0.30 * np.exp(-grain.edge / 1.2) - 0.35 * grain.pores - 0.22 * grain.wrinkles
    image = dye * (tone * (0.30 + 0.95 * diffuse))[..., None]
    image = image + (26 * gloss)[..., None] * np.array([0.95, 0.98, 1.0], np.float32)
    image = image.astype(np.float32)
    if flaw is None:
        return image, np.zeros(SHAPE, np.float32)
    flaw.tint(image)
    return image, flaw.marked


def _grain(random: Random) -> Grain:
    dome, tone, edge = _pebbles(random)
    strength = 0.8 + 0.16 * noise(random, SHAPE, 130)
    height = dome * strength + 0.18 * noise(random, SHAPE, 3) + 0.5 * fractal(random, SHAPE, 30, 2)
    height = height + 2.2 * noise(random, SHAPE, 150)
    wrinkles = _wrinkles(random)
    height = height - 1.5 * wrinkles
    free, count = np.ones(SHAPE, np.uint8), int(uniform(random, 250, 420))
    free[random.integers(0, SIDE, count), random.integers(0, SIDE, count)] = 0
    pores = np.exp(-((cv2.distanceTransform(free, cv2.DIST_L2, 5) / 1.9) ** 2))
    return Grain(height - 1.3 * pores, tone, edge, wrinkles, pores)


def _pebbles(random: Random) -> tuple[Floats, Floats, Floats]:
    """Cells around points scattered 11 to 14 pixels apart: height of their domes, tone, and pixels to the next."""
    x, y = grid(SHAPE)
    pitch = uniform(random, 11.5, 14)
    rows, columns = np.mgrid[0 : int(SIDE / pitch) + 3, 0 : int(SIDE / pitch) + 3]
    point_x = columns + random.uniform(-0.5, 0.5, columns.shape) + 0.5 * (rows & 1)
    point_x = (point_x * pitch - pitch).ravel()
    point_y = ((rows + random.uniform(-0.5, 0.5, columns.shape)) * pitch - pitch).ravel()
    inside = (point_x >= 0) & (point_x < SIDE) & (point_y >= 0) & (point_y < SIDE)
    kept = inside & (random.random(point_x.size) < 0.87)  # some are left out, so that pebbles differ in size
    free = np.ones(SHAPE, np.uint8)
    free[point_y[kept].astype(int), point_x[kept].astype(int)] = 0
    _, cells = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    interior = np.ones(SHAPE, np.uint8)
    interior[:, 1:][cells[:, 1:] != cells[:, :-1]] = 0
    interior[1:][cells[1:] != cells[:-1]] = 0
    edge = cv2.distanceTransform(interior, cv2.DIST_L2, 3)
    tone = random.normal(0, 1, cells.max() + 1).astype(np.float32)[cells]
    layers = np.dstack([1.9 * (1 - np.exp(-edge / 2.4)), tone, edge]).astype(np.float32)
    from_x = x + 5 * noise(random, SHAPE, 45) + 1.5 * noise(random, SHAPE, 12)
    from_y = y + 5 * noise(random, SHAPE, 45) + 1.5 * noise(random, SHAPE, 12)
    warped = cv2.remap(layers, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return warped[..., 0], warped[..., 1], warped[..., 2]


def _wrinkles(random: Random) -> Floats:
    """Fine wavy lines, about 100 pixels apart, that come and go, [H, W]."""
    x, y = grid(SHAPE)
    turn = uniform(random, -0.5, 0.5)
    place = noise(random, SHAPE, 90) + 0.35 * noise(random, SHAPE, 28)
    place = place + (np.sin(turn) * x + np.cos(turn) * y) / uniform(random, 90, 150)
    amount = np.clip(noise(random, SHAPE, 170) * 0.7 + 0.35, 0, 1) * uniform(random, 0.4, 1.0)
    return np.asarray(np.exp(-((np.abs((place % 1) - 0.5) / 0.035) ** 1.3)) * amount)


def _folded(random: Random, height: Floats, spot: Spot, severity: float) -> Flaw:
    """A crease, 110 to 300 pixels to either side: a ridge with a shaded furrow along it."""
    right, down = spot.offsets()
    cos, sin = np.cos(spot.turn), np.sin(spot.turn)
    along, across = right * cos + down * sin, -right * sin + down * cos
    across = across + 9 * noise(random, SHAPE, 130) + along * along * uniform(random, -0.0006, 0.0006)
    reach, width = between(110, 300, severity), between(7, 11, severity)
    fade = 1 - smoothstep(reach * 0.75, reach, np.abs(along))
    size = between(5, 11, severity) * fade
    furrow = size * 0.75 * np.exp(-(((across - width * 1.7) / (width * 0.75)) ** 2))
    marked = (fade > 0.2) & (across > -width * 1.4) & (across < width * 2.6)

    def tint(image: Floats) -> None:
        dark = 0.45 * fade * np.exp(-(((across - width * 1.5) / (width * 0.55)) ** 2))
        image *= (1 - dark * between(0.5, 1, severity))[..., None]

    raised = height + size * np.exp(-((across / width) ** 2)) - furrow
    return Flaw(raised, marked.astype(np.float32), tint)


def _glued(random: Random, height: Floats, spot: Spot, severity: float, lamp: Lamp) -> Flaw:
    """A glossy patch of dried glue, 22 to 62 pixels in radius, with splashes, that fills the grain."""
    radius = between(22, 62, severity)
    drop = blob(random, SHAPE, (spot.x, spot.y), radius, 0.2, uniform(random, 1, 2.0))
    for _ in range(int(between(0, 4, severity))):
        angle, out = uniform(random, 0, 6.3), radius * uniform(random, 1.3, 2.2)
        middle = spot.x + out * np.cos(angle), spot.y + out * np.sin(angle)
        drop = np.maximum(drop, blob(random, SHAPE, middle, radius * uniform(random, 0.1, 0.25), 0.3))
    glue = blur(drop, 2.2)
    fill = np.clip(glue * between(0.55, 0.85, severity), 0, 1)
    filled = height * (1 - fill) + fill * (blur(drop, 6) * 7 + 2.2)

    def tint(image: Floats) -> None:
        _, gloss = shade(blur(filled.astype(np.float32), 1.5), lamp, 60)
        milky = image * 0.72 + np.array([58, 74, 84], np.float32)
        paint(image, milky, glue * between(0.45, 0.7, severity))
        image += (150 * gloss * glue * between(0.35, 0.8, severity))[..., None] * 0.6
        image *= (1 + np.clip(glue - blur(glue, 4), -1, 0) * 0.5)[..., None]

    return Flaw(filled, (glue > 0.4).astype(np.float32), tint)


def _poked(random: Random, height: Floats, spot: Spot, severity: float) -> Flaw:
    """A dark hole of 5 to 11 pixels radius with a raised rim."""
    right, down = spot.offsets()
    radius = between(5, 11, severity)
    out = np.hypot(right, down * uniform(random, 0.8, 1.25)) / radius + 0.1 * noise(random, SHAPE, 8)
    rim = between(1.5, 3, severity) * np.exp(-(((out - 1.45) / 0.35) ** 2))

    def tint(image: Floats) -> None:
        inside = 1 - smoothstep(0.65, 1.0, np.hypot(right, down) / radius)
        paint(image, (14, 18, 26), inside * between(0.82, 0.96, severity))

    return Flaw(height - 6 * np.exp(-(out**2)) + rim, (out < 1.45).astype(np.float32), tint)


def _cut(random: Random, height: Floats, spot: Spot, severity: float) -> Flaw:
    """A dark gash, 46 to 200 pixels long, between raised lips."""
    line = jagged(random, *ends_around((spot.x, spot.y), between(46, 200, severity), spot.turn), 0.03)
    gash = stroke(SHAPE, line, between(4, 8, severity), (0.1, 0.1))

    def tint(image: Floats) -> None:
        lips = np.clip(image * 1.15 + np.array([24, 40, 56], np.float32), 0, 255)
        paint(image, lips, np.clip(blur(grown(gash, 2), 0.8) - gash, 0, 1) * 0.6)
        paint(image, (16, 20, 30), gash * between(0.8, 0.95, severity))

    return Flaw(height + 3.0 * blur(grown(gash, 4), 2), grown(gash > 0.3, 3), tint)
