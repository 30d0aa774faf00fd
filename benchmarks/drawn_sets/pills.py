"""Pills on a blue conveyor belt, lying anywhere: four to seven capsules, round and oval tablets, pink and white."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    Floats,
    Lamp,
    Random,
    between,
    blob,
    blur,
    curved,
    fractal,
    grid,
    grown,
    lamp_near,
    noise,
    paint,
    shade,
    shifted,
    stroke,
    uniform,
)
from benchmarks.drawn_sets.pills_one import FORMS, REACH, DrawnPill, Pill, drawn_pill

KINDS = ("broken", "cracked", "wrong_colour", "dirt_on_belt")
TRAINING = 120

HEIGHT, WIDTH = 768, 1024
SHAPE = (HEIGHT, WIDTH)
SHARES = (0.45, 0.35, 0.2)  # of FORMS


def draw(random: Random, kind: str | None, severity: float) -> tuple[Floats, Floats]:
    """A scene, BGR [H, W, 3], and where it is defective, [H, W]."""
    lamp = lamp_near(random)
    image = _belt(random)
    pills = _strewn(random)
    bad = _bad_pill(random, pills, kind)
    marked = np.zeros(SHAPE, np.float32)
    broken = None
    for pill in pills:
        drawn = drawn_pill(random, pill, SHAPE, lamp, kind if pill is bad else None, severity)
        _lay(image, pill, drawn)
        window = drawn.window
        marked[window.rows, window.columns] = np.maximum(marked[window.rows, window.columns], drawn.marked)
        if drawn.missing is not None and severity > 0.5:
            broken = pill, drawn
    if broken is not None:
        marked = np.maximum(marked, _crumbs(random, image, *broken))
    if kind == "dirt_on_belt":
        marked = _dirt(random, image, pills, lamp, severity)
    return image, marked


def _belt(random: Random) -> Floats:
    """The belt, [H, W, 3]: a woven pattern 15 pixels apart, with a few faint rub marks."""
    x, y = grid(SHAPE)
    level = 1 + 0.05 * fractal(random, SHAPE, 220, 3) + 0.035 * noise(random, SHAPE, 3)
    level = level + 0.03 * noise(random, SHAPE, (2.5, 60))
    phase = uniform(random, 0, 20)
    pattern = 0.07 * np.sin((x + y + phase) * 2 * np.pi / 15) * np.sin((x - y + phase * 1.7) * 2 * np.pi / 15)
    belt = (level + pattern)[..., None] * np.array([104, 58, 34], np.float32)
    for _ in range(int(random.integers(1, 4))):
        start = uniform(random, 0, WIDTH), uniform(random, 0, HEIGHT)
        end = start[0] + uniform(random, -250, 250), start[1] + uniform(random, -30, 30)
        rub = blur(stroke(SHAPE, curved(random, start, end, 0.05), uniform(random, 2, 5), (0.2, 0.2)), 1.2)
        belt += (rub * uniform(random, 4, 8))[..., None]
    return np.asarray(belt)


def _strewn(random: Random) -> list[Pill]:
    """Pills that do not touch."""
    wanted = int(random.integers(4, 8))
    pills: list[Pill] = []
    for _ in range(600):
        form = FORMS[int(random.choice(len(FORMS), p=SHARES))]
        gap = REACH[form] + 12
        x, y = uniform(random, gap, WIDTH - gap), uniform(random, gap, HEIGHT - gap)
        if all(np.hypot(x - pill.x, y - pill.y) > REACH[form] + REACH[pill.form] + 8 for pill in pills):
            pills.append(Pill(form, x, y, uniform(random, 0, 6.3)))
        if len(pills) == wanted:
            break
    return pills


def _bad_pill(random: Random, pills: list[Pill], kind: str | None) -> Pill | None:
    """The pill that is defective, if `kind` is about one; it is mostly tablets that crack."""
    if kind not in ("broken", "cracked", "wrong_colour"):
        return None
    pool = [pill for pill in pills if pill.form != "capsule" or kind != "cracked"] or pills
    return pool[int(random.integers(len(pool)))]


def _lay(image: Floats, pill: Pill, drawn: DrawnPill) -> None:
    """Draw a pill and its shadow into `image`."""
    around = image[drawn.window.rows, drawn.window.columns]
    stands = 12 if pill.form == "capsule" else 8
    near, far = shifted(drawn.cover, 3, 4), shifted(drawn.cover, stands, stands * 1.1)
    around *= (1 - np.maximum(blur(far, 9) * 0.6, blur(near, 3) * 0.5))[..., None]
    paint(around, drawn.colour, drawn.cover)


def _crumbs(random: Random, image: Floats, pill: Pill, drawn: DrawnPill) -> Floats:
    """Two to five crumbs where a piece is missing; gives where they lie."""
    marked = np.zeros(SHAPE, np.float32)
    towards, reach = drawn.missing or 0.0, REACH[pill.form]
    for _ in range(int(random.integers(2, 6))):
        x = float(np.clip(pill.x + reach * np.cos(towards) + random.normal() * 14, 10, WIDTH - 10))
        y = float(np.clip(pill.y + reach * np.sin(towards) + random.normal() * 14, 10, HEIGHT - 10))
        crumb = blob(random, SHAPE, (x, y), uniform(random, 2.5, 7), 0.6, corners=24)
        image *= (1 - blur(shifted(crumb, 2, 3), 2) * 0.5)[..., None]
        paint(image, drawn.main * uniform(random, 0.7, 0.95), crumb)
        marked = np.maximum(marked, grown(crumb > 0.5, 2))
    return marked


def _dirt(random: Random, image: Floats, pills: list[Pill], lamp: Lamp, severity: float) -> Floats:
    """Dirt between the pills, 7 to 34 pixels in radius, with specks around it: black grease, rust or grey dust."""
    radius = between(7, 34, severity)
    x, y = _free_place(random, pills, radius)
    sort = int(random.integers(3))
    colour = np.array(((20, 20, 22), (60, 92, 120), (130, 135, 138))[sort], np.float32)
    if sort == 0:
        radius *= 1.3
    turn, stretch = uniform(random, 0, 3.1), uniform(random, 1, 1.5)
    right, down = (line - middle for line, middle in zip(grid(SHAPE), (x, y), strict=True))
    along, across = right * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - right * np.sin(turn)
    out = np.hypot(along / stretch, across * stretch) / radius
    out = out + 0.26 * fractal(random, SHAPE, max(6, radius * 0.6), 3, 0.65)
    dirt = (out < 0.85).astype(np.float32)
    for _ in range(int(between(1, 9, severity))):
        angle, away = uniform(random, 0, 6.3), radius * uniform(random, 1.1, 2.4)
        middle = x + away * np.cos(angle), y + away * np.sin(angle)
        dirt = np.maximum(dirt, blob(random, SHAPE, middle, radius * uniform(random, 0.1, 0.3), 0.5, corners=30))
    dirt = blur(dirt, 1.0)
    lumps = 1 + 0.22 * fractal(random, SHAPE, 8, 3)
    diffuse, _ = shade(blur(dirt, 2) * 5 * lumps, lamp)
    image *= (1 - 0.45 * blur(shifted(dirt, 3, 3), 2.5))[..., None]
    paint(image, colour * (lumps * (0.45 + 0.75 * diffuse))[..., None], dirt * between(0.8, 0.95, severity))
    return grown(dirt > 0.35, 1)


def _free_place(random: Random, pills: list[Pill], radius: float) -> tuple[float, float]:
    """A place on the belt with no pill within `radius`, if one is soon found."""
    taken = np.zeros(SHAPE, np.uint8)
    for pill in pills:
        cv2.circle(taken, (int(pill.x), int(pill.y)), REACH[pill.form], 255, -1)
    for _ in range(200):
        x, y = uniform(random, 50, WIDTH - 50), uniform(random, 50, HEIGHT - 50)
        rows = slice(max(0, int(y - radius)), int(y + radius))
        if not taken[rows, max(0, int(x - radius)) : int(x + radius)].any():
            break
    return x, y
