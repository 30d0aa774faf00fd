"""One pill of the pills set: a capsule, a round tablet or an oval one, whole or defective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.drawn_sets.drawing import (
    Floats,
    Lamp,
    Mask,
    Random,
    Shape,
    between,
    fractal,
    grid,
    grown,
    hsv,
    jagged,
    noise,
    paint,
    shade,
    shifted,
    smoothstep,
    stroke,
    uniform,
)

Form = Literal["capsule", "round", "oval"]
FORMS: tuple[Form, ...] = ("capsule", "round", "oval")
REACH = {"capsule": 90, "round": 60, "oval": 78}  # pixels that a pill needs around its centre
HALF_LENGTH = {"capsule": 83, "round": 47, "oval": 60}
MARGIN = 45  # pixels around a pill, for its shadow
WRONG_HUES = (24, 45, 95, 140, 12)


@dataclass(frozen=True)
class Pill:
    """Where a pill lies: centre in pixels, `turn` of its long side or its score in radians."""

    form: Form
    x: float
    y: float
    turn: float


@dataclass(frozen=True)
class Window:
    """The part of the scene around a pill. At every pixel, [h, w]: pixels right of its centre and below it, and along
    and across its long side."""

    rows: slice
    columns: slice
    right: Floats
    down: Floats
    along: Floats
    across: Floats

    @property
    def shape(self) -> Shape:
        return self.right.shape[0], self.right.shape[1]


@dataclass(frozen=True)
class Palette:
    """The colours, [3], that a pill may have; `wrong` is that of a pill of wrong colour; `pink`: whether a tablet is
    pink, and so scored and speckled."""

    white: Floats
    rose: Floats
    wrong: Floats | None
    pink: bool


@dataclass(frozen=True)
class Body:
    """A whole pill before light falls on it: `outside` [h, w], pixels beyond its outline; height in pixels, [h, w],
    colour [h, w, 3]; its `main` colour, [3], and where it has that; `radii` [h, w]: distance in pixels from the axis
    of a capsule, and its radius."""

    outside: Floats
    height: Floats
    colour: Floats
    main: Floats
    has_main: Mask
    radii: Floats
    radius: float


@dataclass(frozen=True)
class DrawnPill:
    """A pill as it is seen in its window: colour [h, w, 3], cover and where it is defective, [h, w]; its main colour,
    [3]; and in which direction a piece is missing, radians, if one is."""

    window: Window
    colour: Floats
    cover: Floats
    marked: Floats
    main: Floats
    missing: float | None


def drawn_pill(random: Random, pill: Pill, shape: Shape, lamp: Lamp, kind: str | None, severity: float) -> DrawnPill:
    """`pill` in a scene of `shape`; `kind`: its defect, None if it is good."""
    window = _window(pill, shape)
    palette = _palette(random, pill, kind, severity)
    dents = fractal(random, window.shape, 30, 2)
    is_capsule = pill.form == "capsule"
    body = _capsule(random, window, palette) if is_capsule else _tablet(random, pill, window, palette, dents)
    whole = np.clip(0.5 - body.outside, 0, 1)
    cover, height, marked = whole, body.height, np.zeros(window.shape, np.float32)
    towards, beyond = 0.0, None
    if kind == "broken":
        towards, beyond = _fracture(random, pill, window, severity)
        cover = whole * np.clip(-beyond + 0.5, 0, 1)
        slope = smoothstep(-between(7, 13, severity), 0, beyond)
        height = height * (1 - 0.8 * slope) + slope * 1.2 * fractal(random, window.shape, 6, 2)
        marked = ((whole > 0.5) & (beyond > -between(6, 11, severity))).astype(np.float32)
    diffuse, gloss = shade(height, lamp, 55 if is_capsule else 14)
    light = 0.36 + (0.62 if is_capsule else 0.66) * diffuse + 0.12 * diffuse * diffuse
    colour: Floats = body.colour * light[..., None]
    if is_capsule:
        colour = _tube(window, body, lamp, colour)
    else:
        colour = colour * (1 + 0.016 * noise(random, window.shape, 3) + 0.02 * dents)[..., None]
        if palette.pink:
            colour = colour + (3.5 * np.clip(noise(random, window.shape, 4) - 1.2, 0, 2))[..., None]
    colour = colour + ((150 if is_capsule else 22) * gloss)[..., None]
    colour = colour * (0.62 + 0.38 * smoothstep(0, 9, -body.outside))[..., None]
    if beyond is not None:
        core = np.array([120, 130, 138] if is_capsule else [206, 216, 220], np.float32)
        crumbly = (1 + 0.07 * noise(random, window.shape, 3))[..., None]
        paint(colour, core * (0.55 + 0.4 * diffuse)[..., None] * crumbly, smoothstep(-8, -2, beyond) * 0.85)
    if kind == "cracked":
        marked = _cracked(random, pill, window, colour, whole, severity)
    if kind == "wrong_colour":
        marked = ((whole > 0.5) & body.has_main).astype(np.float32)
    missing = None if beyond is None else towards + pill.turn
    return DrawnPill(window, colour.astype(np.float32), cover, marked, body.main, missing)


def _window(pill: Pill, shape: Shape) -> Window:
    reach = REACH[pill.form] + MARGIN
    rows = slice(max(int(pill.y) - reach, 0), min(int(pill.y) + reach, shape[0]))
    columns = slice(max(int(pill.x) - reach, 0), min(int(pill.x) + reach, shape[1]))
    x, y = grid(shape)
    right, down = x[rows, columns] - pill.x, y[rows, columns] - pill.y
    cos, sin = np.cos(pill.turn), np.sin(pill.turn)
    return Window(rows, columns, right, down, right * cos + down * sin, -right * sin + down * cos)


def _palette(random: Random, pill: Pill, kind: str | None, severity: float) -> Palette:
    white = [uniform(random, 205, 214), uniform(random, 213, 219), uniform(random, 214, 221)]
    hue, saturation = 173 + uniform(random, -2, 2), 92 + uniform(random, -12, 12)
    rose = hsv(hue, saturation, 222 + uniform(random, -8, 8))
    wrong = None
    subtle = kind == "wrong_colour" and severity < 0.3
    if kind == "wrong_colour" and not subtle:
        hue = WRONG_HUES[int(random.integers(len(WRONG_HUES)))] + uniform(random, -4, 4)
        wrong = hsv(hue, between(70, 150, severity), 205)
    pink = random.random() < 0.45
    if subtle:
        if pink or pill.form == "capsule":
            wrong = hsv(5 + uniform(random, -1, 2), 92, 222)
        else:
            wrong = hsv(23 + uniform(random, -3, 3), between(42, 66, severity * 5), 214)
    return Palette(np.array(white, np.float32), rose, wrong, pink)


def _capsule(random: Random, window: Window, palette: Palette) -> Body:
    """Two halves, mostly of two colours, of which the coloured one overlaps the other and is a little wider."""
    half, radius = 52 * uniform(random, 0.99, 1.01), 31 * uniform(random, 0.98, 1.02)
    radii = np.hypot(np.maximum(np.abs(window.along) - half, 0), window.across)
    is_cap = window.along > uniform(random, -3, 3)
    radius_there = np.where(is_cap, radius, radius - 1.6)
    height = np.sqrt(np.maximum(radius_there * radius_there - radii * radii, 0)) * 0.9
    main = palette.rose if random.random() < 0.8 else palette.white
    if palette.wrong is not None:
        main = palette.wrong
    colour = np.where(is_cap[..., None], main, palette.white)
    return Body(radii - radius_there, height.astype(np.float32), colour, main, is_cap, radii, radius)


def _tablet(random: Random, pill: Pill, window: Window, palette: Palette, dents: Floats) -> Body:
    """A flat tablet with a rounded edge; round and pink ones are scored across."""
    if pill.form == "round":
        radius = 47 * uniform(random, 0.98, 1.02)
        radii = np.hypot(window.along, window.across)
        outside = radii - radius
    else:
        radius = 44.0
        radii = np.hypot(window.along / 1.55, window.across)
        outside = (radii - radius) * 1.15
    inside = -outside
    edge = np.sqrt(np.clip(1 - (1 - np.clip(inside / 16, 0, 1)) ** 2, 0, 1))
    height = 16 * edge + 0.12 * np.clip(inside, 0, 50)
    if pill.form == "round" or palette.pink:
        height = height - 5 * np.exp(-((window.along / 3.2) ** 2)) * (np.abs(window.across) < 60)
    height = height + 0.25 * dents + 0.12 * noise(random, window.shape, 2.5) * (inside > 0)
    main = palette.rose if palette.pink else palette.white
    if palette.wrong is not None:
        main = palette.wrong
    colour = np.broadcast_to(main, (*window.shape, 3))
    return Body(outside, height.astype(np.float32), colour, main, np.ones(window.shape, np.bool_), radii, radius)


def _tube(window: Window, body: Body, lamp: Lamp, colour: Floats) -> Floats:
    """`colour` with a capsule's seam, and the reflection along its side towards the lamp's far side."""
    colour = colour * (1 - 0.18 * np.exp(-((window.along / 1.8) ** 2)))[..., None]
    far = window.right * lamp[0] + window.down * lamp[1] > 0
    reflection = 26 * np.exp(-(((body.radii - body.radius * 0.55) / 5) ** 2)) * far
    return np.asarray(colour + reflection[..., None] * 0.4)


def _fracture(random: Random, pill: Pill, window: Window, severity: float) -> tuple[float, Floats]:
    """The direction of a jagged cut, seen along the pill, in radians; and pixels beyond the cut, [h, w]."""
    if pill.form == "capsule":
        towards = (0 if random.random() < 0.5 else np.pi) + uniform(random, -0.4, 0.4)
    else:
        towards = uniform(random, 0, 6.3)
    cos, sin = np.cos(towards), np.sin(towards)
    out = window.along * cos + window.across * sin
    aside = -window.along * sin + window.across * cos
    cut = HALF_LENGTH[pill.form] * between(0.78, 0.15, severity) * (0.8 if pill.form == "oval" else 1)
    line = cut + 4 * fractal(random, window.shape, 14, 3) + 0.002 * aside * aside * uniform(random, -1, 2)
    return towards, out - line


def _cracked(random: Random, pill: Pill, window: Window, colour: Floats, whole: Floats, severity: float) -> Floats:
    """Crack the pill from its edge inwards or right across, severe ones at times with a branch."""
    centre = np.array([pill.x - window.columns.start, pill.y - window.rows.start])
    reach = 30 if pill.form == "capsule" else 44
    towards = uniform(random, 0, 6.3)
    start = centre + reach * _unit(towards)
    back = towards + np.pi + uniform(random, -0.7, 0.7)
    end = centre + reach * between(0.15, 1.0, severity) * _unit(back)
    crack = stroke(window.shape, jagged(random, start, end, 0.09), between(2.6, 5.5, severity), (1, 0.15))
    if severity > 0.5 and random.random() < 0.6:
        middle = (start + end) / 2
        tip = middle + reach * 0.6 * _unit(towards + uniform(random, 0.8, 1.4))
        branch = stroke(window.shape, jagged(random, middle, tip, 0.1), between(2, 3.6, severity), (1, 0.1))
        crack = np.maximum(crack, branch)
    crack = crack * (whole > 0.6)
    paint(colour, np.clip(colour * 1.08 + 12, 0, 255), shifted(crack, 2, 2) * 0.6)
    paint(colour, colour * 0.38, crack * between(0.75, 1, severity))
    return grown(crack > 0.3, 2)


def _unit(angle: float) -> Floats:
    return np.array([np.cos(angle), np.sin(angle)])
