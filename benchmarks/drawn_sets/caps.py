"""Plastic bottle caps from above: a blue cap with a white print, turned any way, on a light bench."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    SUBPIXEL_BITS,
    Floats,
    Random,
    between,
    blob,
    blur,
    closed,
    curved,
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
    shifted,
    smoothstep,
    stroke,
    subpixels,
    turning,
    uniform,
    wide_blur,
)

KINDS = ("missing_print", "smeared_print", "wrong_colour", "scratch", "cracked_rim")
TRAINING = 80

SIDE = 600
SHAPE = (SIDE, SIDE)
RADIUS = 226.0
RIDGES = 72  # around the rim
FACE = 0.76  # radius of the flat face, in cap radii


@dataclass(frozen=True)
class Cap:
    """Where a cap lies: centre and radius in pixels, `turn` of its print in radians; for every pixel, [H, W], the
    distance from the centre in pixels and in radii, and the direction seen from there."""

    x: float
    y: float
    radius: float
    turn: float
    distance: Floats
    radii: Floats
    direction: Floats


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, BGR [H, W, 3], and where it is defective, [H, W]."""
    x, y = grid(SHAPE)
    cap = _placed(random)
    lamp = lamp_near(random)
    image = _bench(random)
    ridges = np.cos(RIDGES * cap.direction)
    cover = np.clip(cap.radius + 2.5 * ridges - cap.distance + 0.5, 0, 1)
    towards = uniform(random, 0, 2 * np.pi)  # where the rim may be cracked
    chip = None
    if kind == "cracked_rim" and severity > 0.35 and random.random() < 0.6:
        middle = cap.x + np.cos(towards) * cap.radius, cap.y + np.sin(towards) * cap.radius
        chip = blob(random, SHAPE, middle, between(12, 26, severity), 0.5, 1.6, turn=towards + np.pi / 2) * cover
        cover = cover * (1 - chip)
    solid = (cap.distance < cap.radius).astype(np.float32)
    shadow = np.maximum(wide_blur(shifted(solid, 14, 16), 14) * 0.55, blur(shifted(solid, 4, 5), 5) * 0.5)
    image *= (1 - shadow)[..., None]

    diffuse, gloss = shade(_relief(random, cap, ridges), lamp, 40)
    colour = _plastic(random, kind, severity)
    top = colour * (0.30 + 0.88 * diffuse)[..., None]
    print_, marked = _print(random, cap, kind, severity)
    wear = np.clip(0.93 + 0.05 * noise(random, SHAPE, 5) + 0.03 * noise(random, SHAPE, 60), 0, 1)
    ink = (np.clip(blur(print_, 0.8), 0, 1) * (wear * uniform(random, 0.93, 1.0)))[..., None]
    white = np.array([236, 240, 240], np.float32) * (0.42 + 0.7 * diffuse)[..., None] * 0.92
    top = top * (1 - ink) + white * ink
    top += (150 * gloss * smoothstep(0.74, 0.8, cap.radii) + 16 * gloss)[..., None]
    glint_x, glint_y = cap.x - 75 + uniform(random, -12, 12), cap.y - 85 + uniform(random, -12, 12)
    glint = uniform(random, 16, 30) * np.exp(-(((x - glint_x) / 95) ** 2 + ((y - glint_y) / 60) ** 2))
    top += glint[..., None] * (cap.radii < FACE)[..., None]
    top *= (1 - 0.28 * smoothstep(0.93, 1.0, cap.radii))[..., None]

    if kind == "scratch":
        marked = _scratched(random, cap, top, ink, colour, severity)
    if kind == "cracked_rim":
        marked = _cracked(random, cap, top, towards, chip, severity)
    if kind == "wrong_colour":
        marked = (cover > 0.5).astype(np.float32)
    return image * (1 - cover[..., None]) + top * cover[..., None], marked


def _placed(random: Random) -> Cap:
    x, y = grid(SHAPE)
    middle_x, middle_y = 300 + uniform(random, -8, 8), 300 + uniform(random, -8, 8)
    radius = RADIUS * uniform(random, 0.993, 1.007)
    turn = uniform(random, 0, 2 * np.pi)
    right, down = x - middle_x, y - middle_y
    distance = np.sqrt(right * right + down * down)
    return Cap(middle_x, middle_y, radius, turn, distance, distance / radius, np.arctan2(down, right) - turn)


def _bench(random: Random) -> Floats:
    """The bench, [H, W, 3]: light grey with a faint grain along the rows."""
    grain = 172 + 6 * fractal(random, SHAPE, 160, 2) + 3.0 * noise(random, SHAPE, 3)
    grain = grain + 2.5 * noise(random, SHAPE, (2, 40))
    return np.asarray(grain[..., None] * np.array([0.97, 1.0, 1.02], np.float32))


def _relief(random: Random, cap: Cap, ridges: Floats) -> Floats:
    """Height [H, W] in pixels: a bevelled, ridged rim, a ring around the face, the mark of the mould's gate."""
    x, y = grid(SHAPE)
    radii = cap.radii
    height = -7 * smoothstep(0.76, 0.80, radii) - 26 * smoothstep(0.80, 0.90, radii) - 30 * smoothstep(0.9, 1.0, radii)
    height += (
        3.0 * smoothstep(0.755, 0.77, radii)
        - 2.2 * smoothstep(0.70, 0.73, radii)
        + 2.2 * smoothstep(0.725, 0.745, radii)
    )
    height += 3.0 * ridges * smoothstep(0.84, 0.9, radii)
    height += -4 * (1 - radii * radii) + 0.5 * fractal(random, SHAPE, 60, 2) + 0.10 * noise(random, SHAPE, 3)
    gate_x, gate_y = cap.x + uniform(random, -3, 3), cap.y + uniform(random, -3, 3)
    height -= 0.8 * np.exp(-((x - gate_x) ** 2 + (y - gate_y) ** 2) / 30)
    return height


def _plastic(random: Random, kind: str | None, severity: float) -> Floats:
    """The plastic's colour, [3]; a wrong one is off in hue, bad ones at times pale."""
    hue = 106 + uniform(random, -1.5, 1.5)
    saturation, value = 205 + uniform(random, -10, 10), 200 + uniform(random, -8, 8)
    if kind == "wrong_colour":
        sign = 1 if random.random() < 0.5 else -1
        hue += sign * (4 + 46 * severity**1.6)
        saturation += uniform(random, -40, 10) * severity
        if severity > 0.4 and random.random() < 0.3:
            saturation -= 110
    return hsv(hue, saturation, value)


def _print(random: Random, cap: Cap, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """The print on this cap, a cover [H, W], and where it is defective."""
    off = np.array([uniform(random, -2.5, 2.5), uniform(random, -2.5, 2.5)])
    place = turning(cap.turn, (300, 300), np.array([cap.x, cap.y]) + off, cap.radius / RADIUS)
    clean = np.asarray(cv2.warpAffine(_logo(), place, (SIDE, SIDE), flags=cv2.INTER_CUBIC))
    if kind == "missing_print":
        print_ = _missing(random, cap, clean, severity)
        return print_, closed(grown(np.abs(clean - print_) > 0.35, 2), 9)
    if kind == "smeared_print":
        print_ = _smeared(random, cap, clean, severity)
        return print_, closed(grown(np.abs(print_ - clean) > 0.22, 1), 5)
    return clean, np.zeros(SHAPE, np.float32)


def _missing(random: Random, cap: Cap, clean: Floats, severity: float) -> Floats:
    """The print without one patch, or none at all."""
    if severity > 0.75:
        return np.zeros_like(clean)
    angle = uniform(random, 0, 6.3)
    # A small patch must meet the ring of text, or nothing would be missing.
    out = (uniform(random, 0.2, 0.72) if severity > 0.3 else uniform(random, 0.45, 0.66)) * cap.radius
    middle = cap.x + out * np.cos(angle), cap.y + out * np.sin(angle)
    patch = blob(random, SHAPE, middle, between(22, 110, severity), 0.25, uniform(random, 1, 1.6))
    return np.asarray(clean * (1 - blur(patch, 1.5)))


def _smeared(random: Random, cap: Cap, clean: Floats, severity: float) -> Floats:
    """The print wiped in one direction while it was wet, in one region."""
    reach, angle = int(between(16, 64, severity)), uniform(random, 0, 6.3)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(0, 1, 4 * reach):
        row, column = (round(float(reach + t * reach * part)) for part in (np.sin(angle), np.cos(angle)))
        kernel[row, column] += 1 - 0.75 * t
    kernel /= kernel.sum()
    smear = np.clip(cv2.filter2D(clean, -1, kernel) * 1.35, 0, 1)
    angle, out = uniform(random, 0, 6.3), uniform(random, 0.1, 0.5) * cap.radius
    middle = cap.x + out * np.cos(angle), cap.y + out * np.sin(angle)
    region = blur(blob(random, SHAPE, middle, between(48, 150, severity), 0.3, 1.3), 5)
    wiped = clean * (1 - region) + np.maximum(smear, clean * 0.35) * region
    return np.asarray(wiped * (cap.radii < FACE))


def _scratched(random: Random, cap: Cap, top: Floats, ink: Floats, colour: Floats, severity: float) -> Floats:
    """Scratch `top`: a light line with its shadow. Where there is `ink` [H, W, 1] it bares the plastic's `colour`."""
    angle, out = uniform(random, 0, 6.3), uniform(random, 0.1, 0.6) * cap.radius
    length, turn = between(80, 230, severity), uniform(random, 0, 6.3)
    middle = cap.x + out * np.cos(angle), cap.y + out * np.sin(angle)
    line = curved(random, *ends_around(middle, length, turn), 0.1)
    groove = stroke(SHAPE, line, between(2.6, 5, severity), (0.2, 0.2)) * (cap.radii < 0.98)
    groove = groove * np.clip(0.9 + 0.25 * noise(random, SHAPE, 6), 0.3, 1)
    dark = shifted(groove, 2, 2)
    paint(top, top * 0.55, dark * between(0.5, 0.8, severity))
    light = np.where(ink > 0.5, colour * 0.95, np.clip(top * 0.4 + 150, 0, 252))
    paint(top, light, groove * between(0.7, 0.95, severity))
    return grown(np.maximum(groove, dark * 0.8) > 0.25, 2)


def _cracked(random: Random, cap: Cap, top: Floats, towards: float, chip: Floats | None, severity: float) -> Floats:
    """Crack `top` from the rim inwards, and draw the edge of the chip that has broken off, if one has."""
    inner = (between(0.80, 0.55, severity) if chip is None else uniform(random, 0.65, 0.8)) * cap.radius
    start = cap.x + np.cos(towards) * cap.radius * 1.005, cap.y + np.sin(towards) * cap.radius * 1.005
    end_x = cap.x + inner * np.cos(towards + uniform(random, -0.12, 0.12))
    end_y = cap.y + inner * np.sin(towards + uniform(random, -0.12, 0.12))
    line = jagged(random, start, (end_x, end_y), 0.08)
    gap = stroke(SHAPE, line, between(3.2, 6, severity), (1, 0.1)) * (cap.distance < cap.radius + 1)
    paint(top, np.clip(top * 1.1 + 45, 0, 255), shifted(gap, 2.2, 2.2) * 0.55)
    paint(top, top * 0.16, gap * between(0.8, 1, severity))
    marked = grown(gap > 0.3, 2)
    if chip is None:
        return marked
    edge = np.clip(grown(chip, 4) - chip, 0, 1)
    paint(top, np.clip(top * 0.7 + 70, 0, 255), blur(edge, 0.8) * 0.8)
    return np.maximum(marked, (grown(chip, 3) > 0.5) * (cap.distance < cap.radius + 2))


@cache
def _logo() -> Floats:
    """The print, a cover [600, 600]: ring, name, two waves, a leaf, and text along the ring."""
    canvas = np.zeros(SHAPE, np.uint8)
    cv2.circle(canvas, (300, 300), 122, 255, 5, cv2.LINE_AA)
    font, size, thickness = cv2.FONT_HERSHEY_DUPLEX, 1.75, 6
    (width, height), _ = cv2.getTextSize("FRESCA", font, size, thickness)
    corner = (300 - width // 2, 300 + height // 2 + 2)
    cv2.putText(canvas, "FRESCA", corner, font, size, 255, thickness, cv2.LINE_AA)
    x = np.linspace(-75, 75, 60)
    for k in range(2):
        wave = np.stack([300 + x * (1 - 0.25 * k), 300 + (50 + 20 * k + 7 * np.sin(x / 12))], 1)
        cv2.polylines(canvas, [subpixels(wave)], False, 255, 6, cv2.LINE_AA, SUBPIXEL_BITS)
    t = np.linspace(0, np.pi, 30)
    bulge, rise = 60 * np.sin(t) * np.sin(t / 2), 55 * (t / np.pi) * (0.55 + 0.45 * np.cos(t / 3))
    for side in (-1, 1):
        leaf = np.stack([300 + side * bulge, 300 - 45 - rise], 1)
        leaf = np.concatenate([leaf, [[300 + side * 4, 255 - 40], [300, 255]]])
        cv2.fillPoly(canvas, [subpixels(leaf)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    for text, middle, sense in (("SPRING WATER", -np.pi / 2, 1), ("SINCE 1987", np.pi / 2, -1)):
        for i, letter in enumerate(text):
            angle = middle + sense * (i - (len(text) - 1) / 2) * 0.165
            canvas = np.maximum(canvas, _letter(letter, angle, angle + sense * np.pi / 2))
    return canvas.astype(np.float32) / 255


def _letter(letter: str, angle: float, turn: float) -> Floats:
    """One letter, uint8 [600, 600], 148 pixels from the centre at `angle`, turned by `turn`, both in radians."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    tile = np.zeros((60, 60), np.uint8)
    (width, height), _ = cv2.getTextSize(letter, font, 0.95, 3)
    cv2.putText(tile, letter, (30 - width // 2, 30 + height // 2), font, 0.95, 255, 3, cv2.LINE_AA)
    place = turning(turn, (30, 30), (300 + 148 * np.cos(angle), 300 + 148 * np.sin(angle)))
    return np.asarray(cv2.warpAffine(tile, place, (SIDE, SIDE), flags=cv2.INTER_CUBIC))
