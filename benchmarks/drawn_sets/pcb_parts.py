"""The parts on the boards of the pcb set, each on a patch of its own: chips, resistors, capacitors, LEDs, a crystal."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import (
    SUBPIXEL_BITS,
    SUBPIXELS,
    Floats,
    Random,
    blur,
    grid,
    paint,
    polygon,
    slant,
    uniform,
)
from benchmarks.drawn_sets.pcb_board import CHIPS, FONT, Component

MARGIN = 34  # pixels of patch around a part, for its pins


class Patch:
    """A part that is being drawn: `colour` [H, W, 3], `cover` [H, W], and x and y of every pixel from its centre."""

    def __init__(self, part: Component) -> None:
        self.part = part
        self.shape = part.height + 2 * MARGIN, part.width + 2 * MARGIN
        self.middle_x, self.middle_y = self.shape[1] / 2, self.shape[0] / 2
        self.colour = np.zeros((*self.shape, 3), np.float32)
        self.cover = np.zeros(self.shape, np.float32)
        x, y = grid(self.shape)
        self.x, self.y = x - self.middle_x, y - self.middle_y

    def box(
        self,
        centre: tuple[float, float],
        size: tuple[float, float],
        colour: Floats | tuple[float, float, float],
        rounded: float = 0,
    ) -> Floats:
        """Add a box, `size` wide and high, with corners `rounded` by about so many pixels; gives its cover [H, W]."""
        left, top = self.middle_x + centre[0] - size[0] / 2, self.middle_y + centre[1] - size[1] / 2
        right, bottom = self.middle_x + centre[0] + size[0] / 2, self.middle_y + centre[1] + size[1] / 2
        canvas = np.zeros(self.shape, np.uint8)
        first = int(left * SUBPIXELS), int(top * SUBPIXELS)
        last = int(right * SUBPIXELS), int(bottom * SUBPIXELS)
        cv2.rectangle(canvas, first, last, 255, -1, cv2.LINE_AA, SUBPIXEL_BITS)
        cover = canvas.astype(np.float32) / 255
        if rounded:
            cover = np.clip((blur(cover, rounded) - 0.5) * rounded * 1.6 + 0.5, 0, 1)
        rows, columns = slice(max(0, int(top) - 6), int(bottom) + 8), slice(max(0, int(left) - 6), int(right) + 8)
        paint(self.colour[rows, columns], colour, cover[rows, columns])
        self.cover[rows, columns] = np.maximum(self.cover[rows, columns], cover[rows, columns])
        return cover

    def text(self, *lines: tuple[str, float | None, float]) -> Floats:
        """Cover [H, W] of centred lines: what, how many pixels below the middle (None: on it), and font size."""
        canvas = np.zeros(self.shape, np.uint8)
        for what, below, size in lines:
            (width, height), _ = cv2.getTextSize(what, FONT, size, 1)
            down = height / 2 if below is None else below
            corner = int(self.middle_x - width / 2), int(self.middle_y + down)
            # Only chips have letters large enough to be bold.
            bold = self.part.form in CHIPS and size > 0.5
            cv2.putText(canvas, what, corner, FONT, size, 255, 2 if bold else 1, cv2.LINE_AA)
        return canvas.astype(np.float32) / 255


def drawn_part(random: Random, part: Component, text: tuple[str, str]) -> tuple[Floats, Floats]:
    """A part that is not turned, with up to two lines of text: colour [H, W, 3] and cover [H, W]."""
    patch = Patch(part)
    tone = uniform(random, 0.88, 1.12)
    if part.form in CHIPS:
        _chip(random, patch, tone, text)
    elif part.form == "can":
        _can(patch, tone, text)
    elif part.form == "crystal":
        _crystal(random, patch, tone, text[0])
    else:
        _two_ended(random, patch, tone, text[0])
    return patch.colour, patch.cover


def _chip(random: Random, patch: Patch, tone: float, text: tuple[str, str]) -> None:
    """A black body with bright pins on two or four sides, two lines of text, a dot and, on two-sided ones, a notch."""
    part = patch.part
    _pins(random, patch)
    level = 44 * tone
    body = patch.box((0, 0), (part.width, part.height), np.array([level * 1.02, level, level * 0.98]), 2)
    inwards = cv2.distanceTransform((body > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    patch.colour += (slant(np.minimum(inwards, 7).astype(np.float32), 0.125) * 20 * body)[..., None]
    patch.colour += (body * 3 * random.standard_normal(patch.shape, dtype=np.float32))[..., None]
    bright = uniform(random, 120, 185)
    if part.form == "so8":
        printed = patch.text((text[0], -3, 0.42), (text[1], 18, 0.42))
    else:
        printed = patch.text((text[0], -6, 0.62), (text[1], 20, 0.55))
    paint(patch.colour, (bright, bright, bright), printed * 0.75)
    dot = np.clip(6.5 - _away(patch, -part.width / 2 + 15, part.height / 2 - 15), 0, 1)
    paint(patch.colour, (100, 102, 102), dot * 0.9)
    if part.form != "qfp":
        notch = np.clip(9 - _away(patch, -part.width / 2, 0), 0, 1) * body
        paint(patch.colour, (20, 20, 20), notch * 0.9)


def _pins(random: Random, patch: Patch) -> None:
    """Pins of three facets each, of which the outermost is the brightest."""
    width, height = patch.part.width, patch.part.height
    four_sided = patch.part.form == "qfp"
    count = 4 if patch.part.form == "so8" else 8
    pitch = 15 if four_sided else width / count
    for i in range(count):
        for side in (-1, 1):
            place = (i - (count - 1) / 2) * pitch
            for facet, brightness in enumerate((1, 0.82, 1.22)):
                tone = np.array([178, 182, 184]) * brightness * uniform(random, 0.93, 1.07)
                if four_sided:
                    out = 3 + facet * 5
                    patch.box((place, side * (height / 2 + out)), (6, 6), tone)
                    patch.box((side * (width / 2 + out), place), (6, 6), tone)
                else:
                    patch.box((place, side * (height / 2 + (3 + facet * 6))), (8, 7), tone)


def _two_ended(random: Random, patch: Patch, tone: float, text: str) -> None:
    """A resistor, a ceramic capacitor or an LED between two soldered ends."""
    width, height = patch.part.width, patch.part.height
    for side in (-1, 1):
        level = uniform(random, 185, 215)
        end = patch.box((side * (width / 2 - 5), 0), (10, height), (level, level, level), 1.5)
        patch.colour += (end * np.clip(18 - 3 * np.abs(patch.y + 5), -20, 25))[..., None]
    if patch.part.form == "resistor":
        level = 38 * tone
        patch.box((0, 0), (width - 20, height), (level, level, level), 1)
        paint(patch.colour, (215, 215, 215), patch.text((text, None, 0.45)) * uniform(random, 0.7, 0.95))
    elif patch.part.form == "ceramic":
        body = patch.box((0, 0), (width - 18, height), np.array([95, 140, 178]) * tone, 1.5)
        patch.colour += (body * np.clip(14 - 2.5 * np.abs(patch.y + 4), -14, 20))[..., None]
    else:
        _light(patch, tone)
    patch.colour += (patch.cover * 2.5 * random.standard_normal(patch.shape, dtype=np.float32))[..., None]


def _light(patch: Patch, tone: float) -> None:
    """An LED's body with its yellow lens, a glint, and a green mark at one corner."""
    width, height = patch.part.width, patch.part.height
    patch.box((0, 0), (width - 16, height), np.array([205, 225, 228]) * (0.5 + 0.5 * tone), 1.5)
    lens = np.clip(height * 0.36 - np.hypot(patch.x / 1.15, patch.y), 0, 1)
    paint(patch.colour, np.array([70, 215, 238]) * (0.5 + 0.5 * tone), lens)
    paint(patch.colour, (245, 250, 252), np.exp(-((patch.x + 5) ** 2 + (patch.y + 4) ** 2) / 16) * 0.8)
    right, top = patch.middle_x + width / 2, patch.middle_y - height / 2
    mark = polygon(patch.shape, np.array([(right - 17, top + 1), (right - 8, top + 1), (right - 8, top + 13)]))
    paint(patch.colour, (70, 150, 60), mark)


def _can(patch: Patch, tone: float, text: tuple[str, str]) -> None:
    """An electrolytic capacitor: a brushed lid with a dark segment, on a black base."""
    width, height = patch.part.width, patch.part.height
    radius = width / 2
    out, angle = np.hypot(patch.x, patch.y), np.arctan2(patch.y, patch.x)
    patch.box((0, 0), (width, height - 8), (38, 38, 38), 4)
    lid = np.clip(radius - 2 - out, 0, 1)
    patch.cover[:] = np.maximum(patch.cover, lid)
    level = (172 + 26 * np.cos(2 * (angle + 0.9)) + 14 * np.cos(3 * (angle + 2.2))) * tone * 0.95
    paint(patch.colour, np.stack([level, level, level], -1), lid)
    rim = np.exp(-(((out - radius + 8) / 2.5) ** 2)) * np.cos(angle + 2.3) * 60
    patch.colour += (rim * lid)[..., None]
    segment = lid * (patch.y < -radius * 0.42) * (out < radius - 7)
    paint(patch.colour, (40, 40, 42), segment.astype(np.float32) * 0.95)
    paint(patch.colour, (50, 50, 55), patch.text((text[0], 6, 0.5), (text[1], 26, 0.5)) * 0.85)


def _crystal(random: Random, patch: Patch, tone: float, text: str) -> None:
    """A long metal can with round ends and a pressed edge."""
    part = patch.part
    body = patch.box((0, 0), (part.width, part.height), (150, 152, 152), 9)
    sheen = 34 * np.cos(patch.y / part.height * 4 + uniform(random, -0.3, 0.3))
    level = 176 * tone + sheen - 12 + 8 * np.sin(patch.x / 22 + uniform(random, 0, 6))
    cover = body[..., None]
    patch.colour[:] = patch.colour * (1 - cover) + np.stack([level, level, level * 1.01], -1) * cover
    inner = cv2.erode(body, np.ones((9, 9), np.uint8)) > 0.5
    patch.colour += (slant(blur(inner.astype(np.float32), 1)) * 12)[..., None]
    paint(patch.colour, (60, 60, 62), patch.text((text, None, 0.55)) * 0.8)


def _away(patch: Patch, right: float, down: float) -> Floats:
    """Distance of every pixel, [H, W], from a place given from the patch's centre."""
    return np.asarray(np.hypot(patch.x - right, patch.y - down))
