"""The bare board of the pcb set, one and the same in all its pictures: copper, vias, printed legend, pads and holes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    SUBPIXEL_BITS,
    SUBPIXELS,
    Floats,
    Pixels,
    Random,
    blur,
    disc,
    grown,
    paint,
    slant,
    subpixels,
)

Form = Literal["so16", "so8", "qfp", "resistor", "ceramic", "led", "can", "crystal"]
CHIPS = ("so16", "so8", "qfp")
Pad = tuple[float, float, float, float]  # centre x, y, width, height

HEIGHT, WIDTH = 600, 800
SHAPE = (HEIGHT, WIDTH)
MARGIN = 14  # of table around the board
LAYOUT_SEED = 2024
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Component:
    """A part: centre, width and height in pixels before it is turned by `turn` degrees."""

    name: str
    form: Form
    x: int
    y: int
    width: int
    height: int
    turn: int


COMPONENTS: tuple[Component, ...] = (
    Component("U1", "so16", 285, 185, 168, 84, 0),
    Component("U2", "qfp", 520, 370, 136, 136, 0),
    Component("U3", "so8", 640, 140, 84, 66, 90),
    Component("R1", "resistor", 110, 250, 52, 28, 0),
    Component("R2", "resistor", 110, 300, 52, 28, 0),
    Component("R3", "resistor", 345, 330, 52, 28, 90),
    Component("R4", "resistor", 395, 330, 52, 28, 90),
    Component("R5", "resistor", 700, 300, 52, 28, 90),
    Component("C1", "can", 105, 120, 92, 92, 0),
    Component("C2", "can", 215, 475, 92, 92, 180),
    Component("C3", "ceramic", 470, 120, 46, 30, 90),
    Component("C4", "ceramic", 690, 385, 46, 30, 0),
    Component("D1", "led", 690, 500, 50, 34, 0),
    Component("D2", "led", 620, 525, 50, 34, 0),
    Component("Y1", "crystal", 235, 340, 116, 50, 0),
)


@dataclass(frozen=True)
class Board:
    """The bare board: its colour [H, W, 3], covers [H, W] of pads and of the board itself, and each part's pads."""

    colour: Floats
    pad_cover: Floats
    cover: Floats
    pads: Mapping[str, tuple[Pad, ...]]


@cache
def bare_board() -> Board:
    """The board; not to be changed in place."""
    random = np.random.default_rng(LAYOUT_SEED)
    pads = {part.name: _pads(part) for part in COMPONENTS}
    traces, vias = _routed(random, pads)
    colour = _solder_mask(traces)
    for via in vias:
        _ring(colour, via, (7, (120, 175, 190)), (3, (15, 25, 15)))
    canvas = np.zeros(SHAPE, np.uint8)
    for x, y, width, height in (pad for group in pads.values() for pad in group):
        left_top = int((x - width / 2) * SUBPIXELS), int((y - height / 2) * SUBPIXELS)
        right_bottom = int((x + width / 2) * SUBPIXELS), int((y + height / 2) * SUBPIXELS)
        cv2.rectangle(canvas, left_top, right_bottom, 255, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    legend = _legend()
    legend[grown(canvas, 3) > 0] = 0
    paint(colour, (215, 222, 220), legend.astype(np.float32) / 255 * 0.88)
    for corner in ((40, 560), (760, 40), (760, 560), (40, 40)):
        _ring(colour, corner, (17, (125, 180, 195)), (11, (35, 36, 38)))
    cover = np.zeros(SHAPE, np.float32)
    cover[MARGIN : HEIGHT - MARGIN + 1, MARGIN : WIDTH - MARGIN + 1] = 1
    return Board(colour, canvas.astype(np.float32) / 255, cover, pads)


def _pads(part: Component) -> tuple[Pad, ...]:
    """The pads of a part where they lie on the board."""
    angle = np.deg2rad(part.turn)
    placed = []
    for x, y, width, height in _own_pads(part):
        across = part.x + x * np.cos(angle) - y * np.sin(angle)
        down = part.y + x * np.sin(angle) + y * np.cos(angle)
        placed.append((across, down, *((height, width) if part.turn % 180 == 90 else (width, height))))
    return tuple(placed)


def _own_pads(part: Component) -> list[Pad]:
    """The pads of a part that is not turned, seen from its centre."""
    if part.form in ("so16", "so8"):
        count = 8 if part.form == "so16" else 4
        places = [(i - (count - 1) / 2) * (part.width / count) for i in range(count)]
        return [(place, side * (part.height / 2 + 13), 10, 24) for place in places for side in (-1, 1)]
    if part.form == "qfp":
        pads: list[Pad] = []
        for place in ((i - 3.5) * 15 for i in range(8)):
            for side in (-1, 1):
                pads.append((place, side * (part.height / 2 + 9), 8, 22))
                pads.append((side * (part.width / 2 + 9), place, 22, 8))
        return pads
    if part.form == "can":
        return [(0, -40, 18, 26), (0, 40, 18, 26)]
    if part.form == "crystal":
        return [(-36, 0, 26, 26), (36, 0, 26, 26)]
    return [(-part.width / 2 + 3, 0, 22, part.height + 4), (part.width / 2 - 3, 0, 22, part.height + 4)]


def _routed(random: Random, pads: Mapping[str, tuple[Pad, ...]]) -> tuple[Pixels, list[tuple[int, int]]]:
    """Traces, uint8 [H, W], from most pads to another pad or to a via, with one bend of 45 degrees; and the vias."""
    traces = np.zeros(SHAPE, np.uint8)
    vias: list[tuple[int, int]] = []
    every = [pad for group in pads.values() for pad in group]
    for x, y, _, _ in every:
        if random.random() >= 0.8:
            continue
        to_x, to_y = every[int(random.integers(len(every)))][:2]
        if abs(to_x - x) + abs(to_y - y) > 330 or random.random() < 0.5:
            to_x, to_y = x + random.integers(-5, 6) * 15, y + random.integers(-5, 6) * 15
            if not (40 < to_x < WIDTH - 40 and 40 < to_y < HEIGHT - 40):
                continue
            vias.append((int(to_x), int(to_y)))
        right, down = to_x - x, to_y - y
        slanted = min(abs(right), abs(down))
        bend = x + np.sign(right) * (abs(right) - slanted), y + np.sign(down) * (abs(down) - slanted)
        line = subpixels(np.array([(x, y), bend, (to_x, to_y)]))
        width = 4 if random.random() < 0.75 else 8
        cv2.polylines(traces, [line], False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
    return traces, vias


def _solder_mask(traces: Pixels) -> Floats:
    """The board's green, [H, W, 3], lighter and raised over `traces` and two copper areas."""
    areas = np.zeros(SHAPE, np.uint8)
    cv2.rectangle(areas, (400, 200), (620, 270), 255, -1)
    cv2.rectangle(areas, (290, 400), (420, 570), 255, -1)
    areas[grown(traces, 5) > 0] = 0
    copper = blur(np.maximum(traces, areas).astype(np.float32) / 255, 0.8)
    colour = np.empty((*SHAPE, 3), np.float32)
    colour[:] = (52, 92, 26)
    paint(colour, (72, 128, 48), copper * 0.85)
    colour += (slant(blur(copper, 1.2) * 2.2, 0.25) * 10)[..., None]
    return colour


def _legend() -> Pixels:
    """The printed legend, uint8 [H, W]: outline and name of every part, and the board's name."""
    canvas = np.zeros(SHAPE, np.uint8)
    for part in COMPONENTS:
        width, height = (part.height, part.width) if part.turn % 180 == 90 else (part.width, part.height)
        if part.form == "can":
            cv2.circle(canvas, (part.x, part.y), width // 2 + 5, 255, 2, cv2.LINE_AA)
            text_y = part.y - height // 2 - 10
        else:
            gap = 2 if part.form in CHIPS else 8
            left_top = int(part.x - width / 2 - gap), int(part.y - height / 2 - gap)
            right_bottom = int(part.x + width / 2 + gap), int(part.y + height / 2 + gap)
            cv2.rectangle(canvas, left_top, right_bottom, 255, 2, cv2.LINE_AA)
            text_y = part.y - height // 2 - (30 if part.form in CHIPS else 12)
        cv2.putText(canvas, part.name, (int(part.x - width / 2), text_y), FONT, 0.55, 255, 2, cv2.LINE_AA)
    cv2.putText(canvas, "MX-240 REV.C", (300, 562), FONT, 0.7, 255, 2, cv2.LINE_AA)
    return canvas


def _ring(
    colour: Floats,
    centre: tuple[int, int],
    outer: tuple[int, tuple[float, float, float]],
    inner: tuple[int, tuple[float, float, float]],
) -> None:
    """Paint a plated hole: the ring's radius and colour, the hole's radius and colour."""
    for radius, tone in (outer, inner):
        paint(colour, tone, disc(SHAPE, centre, radius))
