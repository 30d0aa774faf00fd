"""Drawn surfaces and parts of every kind, for a network that has seen nothing yet.

A world is one kind of thing under one camera: brushed metal, cloth, gravel, a mosaic, a stamped part on a plate. Its
pictures differ as good parts do. No two worlds are alike, so what can be learnt from many is not how one thing looks
but what stands out from any surface. No world was made after a set that the project is measured on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment.shapes import log_uniform
from train.worlds.flaws import Relief, flawed
from train.worlds.patterns import Pattern, drawn_pattern

Array = NDArray[np.float32]
Random = np.random.Generator

LAYERS = 3  # patterns in one surface, at most


@dataclass(frozen=True)
class Layer:
    """A pattern of a material: how deep it is worked in (pixels of height), how far it changes the colour (0..1)."""

    pattern: Pattern
    depth: float
    tint: float


@dataclass(frozen=True)
class Material:
    """A material: `colours` [2, 3] between which its layers move it, 0..1, `gloss` 0..1, and its layers."""

    layers: tuple[Layer, ...]
    colours: Array
    gloss: float

    def piece(self, random: Random, size: int) -> Relief:
        """A new piece of `size` x `size` pixels."""
        height, mix = np.zeros((size, size), np.float32), np.full((size, size), 0.5, np.float32)
        for layer in self.layers:
            field = layer.pattern(random) * np.float32(np.exp(random.normal(0, 0.08)))
            height += np.float32(layer.depth) * field
            mix += np.float32(layer.tint) * field
        mix = np.clip(mix, -0.2, 1.2)[:, :, None]
        colour = self.colours[0] + mix * (self.colours[1] - self.colours[0])
        return Relief(height, colour, np.full(height.shape, self.gloss, np.float32))


@dataclass(frozen=True)
class Primitive:
    """A disc or a box, added or (`hole`) taken away. Lengths in half picture sides, `turn` in radians."""

    disc: bool
    centre: tuple[float, float]
    half: tuple[float, float]
    turn: float
    hole: bool


@dataclass(frozen=True)
class Outline:
    """A part's shape. `teeth`: how many on discs, and how high; `freedom`: how far it may be shifted (half picture
    sides) and turned (radians) from picture to picture."""

    primitives: tuple[Primitive, ...]
    teeth: tuple[int, float]
    freedom: tuple[float, float]

    def distance(self, random: Random, size: int) -> Array:
        """Signed distance to the outline at each pixel, in pixels, positive inside, [S, S]."""
        shift, turn = random.uniform(-1, 1, 2) * self.freedom[0], random.uniform(-1, 1) * self.freedom[1]
        line = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
        x, y = np.meshgrid(line - np.float32(shift[0]), line - np.float32(shift[1]))
        x, y = _turned(x, y, turn)
        inside = np.full((size, size), -9, np.float32)
        for piece in self.primitives:
            away = self._away(
                piece, *_turned(x - np.float32(piece.centre[0]), y - np.float32(piece.centre[1]), piece.turn)
            )
            inside = np.minimum(inside, -away) if piece.hole else np.maximum(inside, away)
        return np.asarray(inside * (size / 2), np.float32)

    def _away(self, piece: Primitive, u: Array, v: Array) -> Array:
        width, height = piece.half
        if not piece.disc:
            return np.minimum(width - np.abs(u), height - np.abs(v))
        wave = np.zeros((), np.float32)
        if self.teeth[0] and not piece.hole:
            wave = self.teeth[1] * np.cos(self.teeth[0] * np.arctan2(v, u))
        return np.asarray(width * (1 + wave) - np.hypot(u, v * np.float32(width / height)), np.float32)


@dataclass(frozen=True)
class World:
    """One kind of picture. `picture(random)` draws another good one, uint8 [S, S, 3]."""

    size: int
    ground: Material
    part: Material | None
    outline: Outline | None
    bevel: float
    thickness: float
    lamp: tuple[float, float]
    blur: float
    noise: float

    def picture(self, random: Random) -> NDArray[np.uint8]:
        """A new good picture, uint8 [S, S, 3]."""
        return self._under_light(self._scene(random)[0], random)

    def pair(self, random: Random) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A new good picture and the same one with a flaw: same piece, same light, same noise."""
        relief, ground, solid = self._scene(random)
        bad = flawed(relief, ground, solid, random)
        light = int(random.integers(2**31))
        good, flaw = (self._under_light(one, np.random.default_rng(light)) for one in (relief, bad))
        return good, flaw

    def _scene(self, random: Random) -> tuple[Relief, Relief, Array]:
        """What is seen, what lies under it, and where the part is, 0..1 (everywhere if there is none)."""
        ground = self.ground.piece(random, self.size)
        if self.part is None or self.outline is None:
            below = Relief(ground.height - 4, 0.4 * ground.colour, ground.gloss)
            return ground, below, np.ones_like(ground.height)
        part = self.part.piece(random, self.size)
        distance = self.outline.distance(random, self.size)
        alpha = np.clip(distance + 0.5, 0, 1)
        profile = np.clip(distance / self.bevel, 0, 1) * self.thickness
        return ground.mixed(replace(part, height=profile + part.height), alpha), ground, alpha

    def _under_light(self, relief: Relief, random: Random) -> NDArray[np.uint8]:
        return self._seen(relief.colour * self._light(relief.height, relief.gloss, random)[:, :, None], random)

    def _light(self, height: Array, gloss: Array, random: Random) -> Array:
        azimuth, elevation = self.lamp[0] + random.normal(0, 0.1), self.lamp[1] + random.normal(0, 0.05)
        dx, dy = cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8
        length = np.sqrt(dx**2 + dy**2 + 1)
        flat = np.cos(elevation)
        sideways = -dx * flat * np.cos(azimuth) - dy * flat * np.sin(azimuth)
        lean = (sideways + np.sin(elevation)) / length
        up = np.sqrt((1 + np.sin(elevation)) / 2)  # the half vector's share of straight up
        half = sideways / (2 * up) + up
        shine = np.clip(half / length, 0, 1)
        level = 0.35 + 0.65 * np.clip(lean, 0, 1) / np.sin(elevation) + gloss * shine**24
        return np.asarray(level, np.float32)

    def _seen(self, radiance: Array, random: Random) -> NDArray[np.uint8]:
        image = np.asarray(np.clip(radiance, 0, 1.5), np.float32)
        if self.blur > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        image = 255 * cv2.pow(image, 1 / 1.6) + self.noise * random.standard_normal(image.shape, dtype=np.float32)
        return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


def drawn_world(random: Random, size: int) -> World:
    """Any world, whose pictures have `size` x `size` pixels."""
    solid = random.random() < 0.45
    grey = random.random() < 0.5
    return World(
        size=size,
        ground=_material(random, size, grey, calm=solid and random.random() < 0.7),
        part=_material(random, size, grey, calm=random.random() < 0.4) if solid else None,
        outline=_outline(random) if solid else None,
        bevel=log_uniform(random, 1, 30),
        thickness=log_uniform(random, 1, 20),
        lamp=(float(random.uniform(0, 2 * np.pi)), float(random.uniform(0.5, 1.4))),
        blur=float(random.uniform(0, 1.2)),
        noise=float(random.uniform(0, 4)),
    )


def _material(random: Random, size: int, grey: bool, calm: bool) -> Material:
    weight = 0.25 if calm else 1.0
    layers = []
    for index in range(1 + int(random.integers(LAYERS))):
        pattern = drawn_pattern(random, size)
        depth = weight * log_uniform(random, 0.05, 1.5) * (random.random() < 0.7)
        tint = weight * log_uniform(random, 0.02, 0.35) * (random.random() < 0.8) / (1 + index)
        layers.append(Layer(pattern, float(depth), float(tint)))
    base = random.uniform(0.05, 0.9)
    pair = np.clip(base + random.normal(0, 0.25, (2, 1)), 0.02, 1) * np.ones((2, 3))
    if not grey:
        pair = np.clip(pair * np.exp(random.normal(0, 0.35, (2, 3))), 0.02, 1)
    return Material(tuple(layers), np.asarray(pair, np.float32), float(random.random() < 0.5) * random.uniform(0, 0.8))


def _outline(random: Random) -> Outline:
    more = int(random.integers(4))
    body = [_primitive(random, 0.12, 0.25, 0.7), *(_primitive(random, 0.45, 0.1, 0.7) for _ in range(more))]
    holes = int(random.integers(4)) * int(random.random() < 0.6)
    holed = [replace(_primitive(random, 0.4, 0.05, 0.25), hole=True) for _ in range(holes)]
    toothed = random.random() < 0.25
    teeth = (int(random.integers(5, 40)), float(random.uniform(0.02, 0.12))) if toothed else (0, 0.0)
    free = float(random.choice([0.01, 0.05, 0.2])), float(random.choice([0.02, 0.1, np.pi], p=[0.4, 0.3, 0.3]))
    return Outline((*body, *holed), teeth, free)


def _primitive(random: Random, reach: float, least: float, most: float) -> Primitive:
    disc = bool(random.random() < 0.6)
    x, y = (float(v) for v in random.uniform(-reach, reach, 2))
    width, height = (log_uniform(random, least, most) for _ in range(2))
    if disc and random.random() < 0.7:
        height = width
    return Primitive(disc, (x, y), (width, height), float(random.uniform(0, np.pi)), False)


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin
