"""Printed circuit boards from above: one board with the same fifteen parts, never quite in the same place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_sets.drawing import (
    Floats,
    Random,
    between,
    blob,
    blur,
    closed,
    fractal,
    grid,
    lamp_near,
    noise,
    paint,
    shade,
    shifted,
    slant,
    smoothstep,
    turning,
    uniform,
)
from benchmarks.drawn_sets.pcb_board import COMPONENTS, HEIGHT, SHAPE, WIDTH, Board, Component, bare_board
from benchmarks.drawn_sets.pcb_parts import drawn_part

KINDS = ("missing_component", "rotated_component", "shifted_component", "solder_bridge", "scorched")
TRAINING = 60

PRINTED = {
    "U1": "DRV8841",
    "U2": "MCU-32F",
    "U3": "LM358",
    "R1": "103",
    "R2": "472",
    "R3": "221",
    "R4": "221",
    "R5": "104",
    "C1": "47",
    "C2": "100",
    "Y1": "16.000",
}
STANDS = {"so16": 7, "so8": 7, "qfp": 6, "resistor": 3, "ceramic": 5, "led": 5, "can": 16, "crystal": 9}  # pixels high
SMALL = ("resistor", "ceramic", "led")
Pose = tuple[float, float, float]  # centre x, y in pixels, turn in degrees


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, BGR [H, W, 3], and where it is defective, [H, W]."""
    board = bare_board()
    image = _soldered(random, board)
    lot = f"{random.integers(21, 25):02d}{random.integers(1, 53):02d}"
    bad = _bad_part(random, kind, severity)
    marked = np.zeros(SHAPE, np.float32)
    for part in COMPONENTS:
        text = PRINTED.get(part.name, ""), "16V" if part.form == "can" else lot
        drawn = drawn_part(np.random.default_rng(random.integers(1 << 31)), part, text)
        x, y = part.x + uniform(random, -1.2, 1.2), part.y + uniform(random, -1.2, 1.2)
        pose = x, y, part.turn + uniform(random, -0.8, 0.8)
        if part is not bad:
            _mount(image, part, drawn, pose)
            continue
        where = cv2.warpAffine(drawn[1], _place(drawn[1], pose), (WIDTH, HEIGHT))
        if kind != "missing_component":
            wrong = _turned(random, part, pose, severity) if kind == "rotated_component" else None
            is_there = _mount(image, part, drawn, wrong or _moved(random, pose, severity))
            where = np.maximum(is_there, where)
        marked = closed(where > 0.5, 6)
    if kind == "solder_bridge":
        marked = _bridged(random, image, board, severity)
    if kind == "scorched":
        marked = _scorched(random, image, severity)
    return _seen(random, image, board.cover, marked)


def _soldered(random: Random, board: Board) -> Floats:
    """The board before parts are put on, [H, W, 3]: uneven in tone, its pads tinned."""
    image = board.colour.copy()
    image *= (1 + 0.03 * fractal(random, SHAPE, 90, 3) + 0.02 * noise(random, SHAPE, 3))[..., None]
    image *= np.array(
        [uniform(random, 0.95, 1.05), uniform(random, 0.96, 1.04), uniform(random, 0.95, 1.05)], np.float32
    )
    level = 192 + 18 * noise(random, SHAPE, 7) + 10 * noise(random, SHAPE, 3)
    level = level + slant(blur(board.pad_cover, 2.2)) * 38
    paint(image, _tin(level), np.clip(board.pad_cover, 0, 1) * 0.95)
    return np.asarray(image)


def _tin(level: Floats) -> Floats:
    return np.stack([level * 0.97, level, level], -1)


def _bad_part(random: Random, kind: str | None, severity: float) -> Component | None:
    """The part that `kind` is about, if it is about one; a missing one is large if the defect is severe."""
    if kind not in ("missing_component", "rotated_component", "shifted_component"):
        return None
    pool = COMPONENTS
    if kind == "missing_component":
        pool = tuple(part for part in COMPONENTS if (part.form in SMALL) == (severity < 0.6))
    return pool[int(random.integers(len(pool)))]


def _turned(random: Random, part: Component, pose: Pose, severity: float) -> Pose:
    """The wrong way round where that can be told, across if the part is small, or askew."""
    x, y, turn = pose
    if part.form in ("so16", "so8", "qfp", "can", "led") and random.random() < 0.45:
        return x, y, turn + 180
    if part.form in ("resistor", "ceramic") and severity > 0.5 and random.random() < 0.4:
        return x, y, turn + 90
    sign = 1 if random.random() < 0.5 else -1
    return x, y, turn + between(5, 28, severity) * sign * (0.7 if part.form in ("qfp", "so16") else 1)


def _moved(random: Random, pose: Pose, severity: float) -> Pose:
    """7 to 24 pixels off."""
    towards, away = uniform(random, 0, 6.3), between(7, 24, severity)
    x, y = pose[0] + away * np.cos(towards), pose[1] + away * np.sin(towards)
    return x, y, pose[2] + uniform(random, -4, 4)


def _place(cover: Floats, pose: Pose) -> NDArray[np.float32]:
    """The affine map from a part's patch to the board."""
    return turning(np.deg2rad(pose[2]), (cover.shape[1] / 2, cover.shape[0] / 2), pose[:2])


def _mount(image: Floats, part: Component, drawn: tuple[Floats, Floats], pose: Pose) -> Floats:
    """Draw a part and its shadow into `image`; gives its cover [H, W]."""
    colour, cover = drawn
    reach = int(np.hypot(*cover.shape) / 2) + 30
    left, right = max(0, int(pose[0]) - reach), min(WIDTH, int(pose[0]) + reach)
    top, bottom = max(0, int(pose[1]) - reach), min(HEIGHT, int(pose[1]) + reach)
    place = _place(cover, pose)
    place[:, 2] -= (left, top)
    size = right - left, bottom - top
    colour = cv2.warpAffine(colour, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    window = cv2.warpAffine(cover, place, size)
    stands = STANDS[part.form]
    around = image[top:bottom, left:right]
    shadow = blur(shifted(window, stands * 0.9, stands), 0.6 + stands * 0.4) * 0.6
    around *= (1 - shadow)[..., None]
    paint(around, colour, window)
    whole = np.zeros(SHAPE, np.float32)
    whole[top:bottom, left:right] = window
    return whole


def _bridged(random: Random, image: Floats, board: Board, severity: float) -> Floats:
    """Join one pad of a chip to its nearest neighbour with solder; a weak bridge just fails to reach both."""
    pads = [np.array(pad[:2]) for pad in board.pads[("U1", "U2", "U3")[int(random.integers(3))]]]
    index = int(random.integers(len(pads)))
    one = pads[index]
    distances = [np.hypot(*(pad - one)) if i != index else 1e9 for i, pad in enumerate(pads)]
    other = pads[int(np.argmin(distances))]
    middle, gap = (one + other) / 2, np.linalg.norm(one - other)
    turn = np.arctan2(*(other - one)[::-1])
    radius = between(7, 15, severity)
    aspect = gap / radius * between(0.9, 0.8, severity) if severity < 0.3 else max(1.2, gap / radius)
    solder = blur(blob(random, SHAPE, (middle[0], middle[1]), radius, 0.25, aspect, turn=turn), 1.0)
    diffuse, gloss = shade(blur(solder, 3.5) * 11, lamp_near(random), 25)
    level = 95 + 115 * diffuse + 90 * gloss + 6 * noise(random, SHAPE, 4)
    image *= (1 - blur(shifted(solder, 2, 3), 2) * 0.4)[..., None]
    paint(image, _tin(level), np.clip(solder * 1.3, 0, 1))
    return (solder > 0.4).astype(np.float32)


def _scorched(random: Random, image: Floats, severity: float) -> Floats:
    """Brown the board around a part, with a charred middle, 34 to 75 pixels in radius."""
    part = COMPONENTS[int(random.integers(len(COMPONENTS)))]
    middle_x = np.clip(part.x + uniform(random, -50, 50), 60, WIDTH - 60)
    middle_y = np.clip(part.y + uniform(random, -50, 50), 60, HEIGHT - 60)
    x, y = grid(SHAPE)
    radius, aspect = between(34, 75, severity), uniform(random, 0.7, 1.4)
    out = np.hypot((x - middle_x) * aspect, y - middle_y) / radius + 0.16 * fractal(random, SHAPE, 28, 3)
    burnt, charred = 1 - smoothstep(0.35, 1.1, out), 1 - smoothstep(0.0, 0.65, out)
    brown = image * 0.62 + np.array([10, 26, 46], np.float32) * 0.6
    paint(image, brown, burnt * between(0.65, 1, severity))
    paint(image, (16, 20, 26), charred * between(0.3, 0.92, severity))
    return (burnt > 0.35).astype(np.float32)


def _seen(random: Random, image: Floats, cover: Floats, marked: Floats) -> tuple[Floats, Floats]:
    """The board on a dark table under a broad sheen, the camera not quite straight: scene and mark."""
    level = 58 + 5 * fractal(random, SHAPE, 120, 2) + 3 * noise(random, SHAPE, 3)
    table = np.stack([level * 1.05, level, level * 0.97], -1)
    image += (np.clip(cover - blur(cover, 3), 0, 1) * 60)[..., None]
    shadow = 0.5 * blur(shifted(cover, 5, 6), 5) * (1 - cover)
    image = table * (1 - cover)[..., None] * (1 - shadow)[..., None] + image * cover[..., None]
    x, y = grid(SHAPE)
    sheen_x, sheen_y = uniform(random, 100, 400), uniform(random, 40, 260)
    sheen = np.exp(-(((x - sheen_x) / 260) ** 2 + ((y - sheen_y) / 190) ** 2))
    image += (uniform(random, 4, 12) * sheen * cover)[..., None]
    turn = np.deg2rad(uniform(random, -0.5, 0.5))
    target = 400 + uniform(random, -4, 4), 300 + uniform(random, -4, 4)
    straight = turning(turn, (400, 300), target)
    size = WIDTH, HEIGHT
    scene = cv2.warpAffine(image, straight, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(scene), np.asarray(cv2.warpAffine(marked, straight, size))
