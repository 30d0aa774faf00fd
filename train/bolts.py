"""Generated bolts: hex-head bolts on a plate, seen from above, good ones and five kinds of bad ones with masks.

A tightened bolt carries a witness mark: a paint stripe that runs over head, washer and plate. Mean brightness and
contrast of a picture are drawn from one distribution for good and bad alike (an automatic exposure), so that neither
of them tells the two apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from train.shading import Lamp, Plane, Surface, cloud, grid, shade, smoothstep

Defect = Literal["missing", "loose", "cracked", "rusted", "crossthreaded"]
DEFECTS: tuple[Defect, ...] = ("missing", "loose", "cracked", "rusted", "crossthreaded")

FLAT = 0.44  # centre to flat of the hexagon
WASHER = 0.68
HOLE = 0.33
HEAD_TOP = 0.27
WASHER_TOP = 0.06
STEEL = (0.50, 0.47, 0.44)  # linear BGR
PLATE = (0.30, 0.27, 0.24)
PAINT = (0.05, 0.12, 0.75)
RUST = (0.03, 0.09, 0.26)
EXPOSURE = (108.0, 7.0)  # grey levels: mean and deviation over pictures of a picture's mean
CONTRAST = (44.0, 3.0)  # likewise of a picture's standard deviation


@dataclass(frozen=True)
class Scene:
    """One bolt under one light. Angles in radians, lengths in half image sides, `seed` for everything random left."""

    seed: int
    defect: Defect | None = None
    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0  # of the hexagon; the fixture holds parts to a few degrees
    mark: float = 0.6  # where the witness mark runs
    loosened: float = 0.0  # how far the head, with its part of the mark, was turned back
    tilt: float = 0.0
    lean: float = 0.0  # direction in which a tilted bolt leans
    lamp: Lamp = field(default_factory=lambda: Lamp(-2.2, 0.85))
    mean: float = EXPOSURE[0]
    spread: float = CONTRAST[0]
    noise: float = 2.0  # of the sensor, grey levels


def draw_scene(random: np.random.Generator, defect: Defect | None) -> Scene:
    """A scene with random pose and light; only what the defect itself is differs from a good one."""
    scene = Scene(
        seed=int(random.integers(2**31)),
        defect=defect,
        x=float(random.normal(0, 0.02)),
        y=float(random.normal(0, 0.02)),
        turn=float(random.normal(0, 0.05)),
        mark=float(random.normal(0.6, 0.04)),
        lamp=_lamp(random),
        mean=float(random.normal(*EXPOSURE)),
        spread=float(random.normal(*CONTRAST)),
        noise=float(random.uniform(1.0, 3.0)),
    )
    if defect == "loose":
        return replace(scene, loosened=float(random.uniform(0.35, 0.75) * random.choice([-1, 1])))
    if defect == "crossthreaded":
        return replace(scene, tilt=float(random.uniform(0.16, 0.26)), lean=float(random.uniform(0, 2 * math.pi)))
    return scene


def render(scene: Scene, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The picture, uint8 BGR [size, size, 3], and the mask, uint8 [size, size]: 255 where the defect is."""
    fine = 2 * size if size <= 512 else size
    surface, mask = _surface(scene, fine)
    light = shade(surface, scene.lamp)
    random = np.random.default_rng((scene.seed, 1))
    picture = cv2.resize(light, (size, size), interpolation=cv2.INTER_AREA)
    small = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return _exposed(picture, scene, random), np.asarray((small > 0.25) * 255, np.uint8)


def _lamp(random: np.random.Generator) -> Lamp:
    return Lamp(
        azimuth=float(random.normal(-2.2, 0.12)),
        elevation=float(random.normal(0.85, 0.05)),
        strength=float(random.uniform(0.85, 1.15)),
        ambient=float(random.uniform(0.3, 0.42)),
    )


def _exposed(light: Plane, scene: Scene, random: np.random.Generator) -> NDArray[np.uint8]:
    """Camera: gamma, automatic exposure and gain to the scene's mean and spread, sensor noise, rounding."""
    tone = np.clip(light, 0, None) ** (1 / 2.2) * 200
    for _ in range(8):  # clipping shifts the statistics a little: go again
        grey = tone @ np.array([0.114, 0.587, 0.299], np.float32)
        tone = np.clip((tone - grey.mean()) * (scene.spread / grey.std()) + scene.mean, 0, 255)
    tone = tone + random.normal(0, scene.noise, tone.shape)
    return np.asarray(np.clip(np.rint(tone), 0, 255), np.uint8)


@dataclass
class _Canvas:
    """The surface while it is built up from the plate."""

    x: Plane
    y: Plane
    height: Plane
    albedo: Plane
    gloss: Plane
    mask: NDArray[np.bool_]

    def cover(self, alpha: Plane, colour: tuple[float, float, float] | Plane, gloss: float) -> None:
        """Lay a material over the surface where alpha is 1."""
        blend = alpha[..., None]
        self.albedo = np.asarray(self.albedo * (1 - blend) + np.asarray(colour, np.float32) * blend, np.float32)
        self.gloss = np.asarray(self.gloss * (1 - alpha) + gloss * alpha, np.float32)


def _surface(scene: Scene, size: int) -> tuple[Surface, NDArray[np.bool_]]:
    random = np.random.default_rng((scene.seed, 0))
    canvas = _plate(scene, size, random)
    _washer(canvas)
    if scene.defect == "missing":
        _hole(canvas)
    else:
        _head(canvas, scene, random)
    _witness_mark(canvas, scene, random)
    if scene.defect == "rusted":
        _rust(canvas, random)
    return Surface(canvas.height, canvas.albedo, canvas.gloss), canvas.mask


def _plate(scene: Scene, size: int, random: np.random.Generator) -> _Canvas:
    """Brushed steel: noise drawn out along the brushing direction, a few scratches."""
    x, y = grid(size)
    brushed = cv2.GaussianBlur(random.normal(0, 1, (size, size)).astype(np.float32), (0, 0), size / 9, sigmaY=0.8)
    brushed /= max(float(brushed.std()), 1e-6)
    tone = 1 + 0.05 * brushed + 0.14 * (cloud(size, 2, random) - 0.5)
    height = (0.0012 * brushed).astype(np.float32)
    albedo = np.asarray(tone[..., None] * np.array(PLATE, np.float32), np.float32)
    return _Canvas(x - scene.x, y - scene.y, height, albedo, np.full_like(x, 0.35), np.zeros((size, size), bool))


def _washer(canvas: _Canvas) -> None:
    r = np.hypot(canvas.x, canvas.y)
    ring = 1 - smoothstep(WASHER - 0.02, WASHER, r)
    canvas.height = np.maximum(canvas.height, WASHER_TOP * ring).astype(np.float32)
    canvas.cover(ring, STEEL, 0.6)


def _hole(canvas: _Canvas) -> None:
    """A tapped hole in an empty washer: dark, with the first turns of the thread catching light."""
    r, angle = np.hypot(canvas.x, canvas.y), np.arctan2(canvas.y, canvas.x)
    inside = 1 - smoothstep(HOLE - 0.015, HOLE + 0.015, r)
    turns = 0.5 + 0.5 * np.sin(2 * math.pi * (HOLE - r) / 0.06 + angle)
    depth = 0.15 + 0.5 * smoothstep(0, HOLE, HOLE - r) - 0.03 * turns
    canvas.height = np.asarray(canvas.height - inside * depth, np.float32)
    fade = smoothstep(0.0, HOLE, r) * turns
    dark = np.asarray((0.08 + 0.6 * fade)[..., None] * np.array(STEEL), np.float32)
    canvas.cover(inside, dark, 0.15)
    canvas.mask |= r < FLAT * 1.05


def _head(canvas: _Canvas, scene: Scene, random: np.random.Generator) -> None:
    """Hexagonal prism with a conical chamfer, grade marks raised on top; loose ones sit higher, bad threads tilt it."""
    u, v = _head_coordinates(canvas, scene)
    edge = _hexagon(u, v)
    r = np.hypot(u, v)
    body = 1 - smoothstep(-0.015, 0.015, edge)
    top = np.minimum(HEAD_TOP, HEAD_TOP - 0.5 * (r - 0.93 * FLAT)) + 0.012 * _grade_marks(u, v)
    top = top - 0.02 * smoothstep(0.1, 0.0, r) + _raised(canvas, scene)
    before = canvas.height
    if scene.defect == "crossthreaded":
        _bared_thread(canvas, scene)
    canvas.height = np.asarray(np.maximum(before, before * (1 - body) + top * body), np.float32)
    grain = 1 + 0.05 * np.sin(r * 260) * np.exp(-(r**2)) + 0.12 * (cloud(len(r), 3, random) - 0.5)
    canvas.cover(body, np.asarray(grain[..., None] * np.array(STEEL, np.float32), np.float32), 0.8)
    if scene.defect == "cracked":
        _crack(canvas, body, random)
    if scene.defect in ("loose", "crossthreaded"):
        canvas.mask |= body > 0.5


def _head_coordinates(canvas: _Canvas, scene: Scene) -> tuple[Plane, Plane]:
    """Coordinates on the head: turned with it, and moved and foreshortened when it leans."""
    cx, cy = math.cos(scene.lean), math.sin(scene.lean)
    x, y = canvas.x - 0.55 * scene.tilt * cx, canvas.y - 0.55 * scene.tilt * cy
    along = (x * cx + y * cy) * (1 / math.cos(scene.tilt) - 1)
    x, y = x + along * cx, y + along * cy
    angle = scene.turn + scene.loosened
    c, s = math.cos(angle), math.sin(angle)
    return np.asarray(c * x + s * y, np.float32), np.asarray(-s * x + c * y, np.float32)


def _hexagon(u: Plane, v: Plane) -> Plane:
    """Distance outside (positive) or inside (negative) a hexagon with flats at FLAT."""
    directions = [math.pi / 6 + k * math.pi / 3 for k in range(6)]
    sides = [u * math.cos(a) + v * math.sin(a) for a in directions]
    return np.asarray(np.max(sides, axis=0) - FLAT, np.float32)


def _raised(canvas: _Canvas, scene: Scene) -> Plane:
    along = canvas.x * math.cos(scene.lean) + canvas.y * math.sin(scene.lean)
    lift = 0.10 if scene.loosened else 0.0
    return np.asarray(lift + math.tan(scene.tilt) * (FLAT - along) * (scene.tilt > 0), np.float32)


def _bared_thread(canvas: _Canvas, scene: Scene) -> None:
    """On the side away from the lean the shank shows: a crescent with thread ridges."""
    cx, cy = math.cos(scene.lean), math.sin(scene.lean)
    along = -(canvas.x * cx + canvas.y * cy)
    r = np.hypot(canvas.x, canvas.y)
    crescent = ((r < 0.95 * FLAT + 0.4 * scene.tilt) & (along > 0.1)).astype(np.float32)
    crescent = cv2.GaussianBlur(crescent, (0, 0), len(r) / 250)
    ridges = np.sin(2 * math.pi * r / 0.05).astype(np.float32)
    canvas.height = np.asarray(canvas.height + crescent * 0.05 * ridges, np.float32)
    canvas.cover(crescent, np.asarray((0.5 + 0.4 * ridges)[..., None] * np.array(STEEL), np.float32), 0.5)
    canvas.mask |= crescent > 0.5


def _grade_marks(u: Plane, v: Plane) -> Plane:
    """Three raised radial dashes, as on a grade 5 bolt."""
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    near = np.abs((angle + math.pi / 2) % (2 * math.pi / 3) - math.pi / 3) * r
    dash = (1 - smoothstep(0.012, 0.024, near)) * smoothstep(0.15, 0.17, r) * (1 - smoothstep(0.29, 0.31, r))
    return np.asarray(dash, np.float32)


def _crack(canvas: _Canvas, body: Plane, random: np.random.Generator) -> None:
    """A jagged groove from one edge of the head past its middle."""
    size, angle = len(body), random.uniform(0, 2 * math.pi)
    steps = np.linspace(-0.52, random.uniform(0.1, 0.45), 14)
    wander = np.cumsum(random.normal(0, 0.035, len(steps)))
    wander -= np.linspace(wander[0], wander[-1], len(steps)) * random.uniform(0.3, 1.0)
    px = steps * math.cos(angle) - wander * math.sin(angle) - float(canvas.x[0, 0])
    py = steps * math.sin(angle) + wander * math.cos(angle) - float(canvas.y[0, 0])
    points = np.stack([px, py], 1) * size / 2
    line = np.zeros((size, size), np.float32)
    width = max(1, round(size * random.uniform(0.009, 0.017)))
    cv2.polylines(line, [np.rint(points).astype(np.int32)], False, 1.0, width, cv2.LINE_AA)
    line *= body
    canvas.height = np.asarray(canvas.height - 0.08 * line, np.float32)
    canvas.cover(0.9 * line, (0.02, 0.02, 0.02), 0.0)
    canvas.mask |= line > 0.3


def _witness_mark(canvas: _Canvas, scene: Scene, random: np.random.Generator) -> None:
    """The paint stripe from the head's middle outwards; on the head it turns with the head."""
    r = np.hypot(canvas.x, canvas.y)
    on_head = (1 - smoothstep(-0.01, 0.01, _hexagon(*_head_coordinates(canvas, scene)))) * (scene.defect != "missing")
    ragged = 0.03 * (cloud(len(r), 12, random, 3) - 0.5)
    stripe = _stripe(canvas, scene.mark, 0.30, 0.86, ragged) * (1 - on_head)
    stripe += _stripe(canvas, scene.mark + scene.loosened, 0.20, 0.60, ragged) * on_head
    if scene.defect == "missing":
        stripe *= smoothstep(0.5, 0.52, r)
    canvas.cover(np.asarray(0.92 * stripe, np.float32), PAINT, 0.15)
    if scene.loosened:
        canvas.mask |= (stripe > 0.5) & (on_head < 0.5)


def _stripe(canvas: _Canvas, angle: float, start: float, stop: float, ragged: Plane) -> Plane:
    along = canvas.x * math.cos(angle) + canvas.y * math.sin(angle)
    across = np.abs(-canvas.x * math.sin(angle) + canvas.y * math.cos(angle)) + ragged
    inside = smoothstep(start, start + 0.03, along + ragged) * (1 - smoothstep(stop, stop + 0.03, along + ragged))
    return np.asarray(inside * (1 - smoothstep(0.045, 0.06, across.astype(np.float32))), np.float32)


def _rust(canvas: _Canvas, random: np.random.Generator) -> None:
    """Blotches on head and washer: brown, dull, rough."""
    size = len(canvas.x)
    lumps = cloud(size, 3, random, 5)
    near = 1 - smoothstep(0.45, 0.85, np.hypot(canvas.x - random.normal(0, 0.15), canvas.y - random.normal(0, 0.15)))
    level = float(np.quantile(lumps[near > 0.5], random.uniform(0.45, 0.65)))
    blotch = smoothstep(level, level + 0.05, lumps) * near
    rough = cloud(size, 40, random, 2)
    colour = np.array(RUST, np.float32) * (0.6 + 1.1 * rough[..., None])
    canvas.height = np.asarray(canvas.height + 0.012 * blotch * (rough - 0.5), np.float32)
    canvas.cover(np.asarray(0.9 * blotch, np.float32), np.asarray(colour, np.float32), 0.0)
    canvas.mask |= blotch > 0.4
