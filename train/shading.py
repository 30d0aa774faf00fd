"""A small height-field renderer: enough light for a machined part seen from above.

Lengths are in half image sides: x to the right and y down run from -1 to 1; heights point at the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
SHADOW_STEPS = 28


@dataclass(frozen=True)
class Surface:
    """What lies under the camera. All planes are [S, S]; `albedo` is linear BGR [S, S, 3] in 0..1.

    `gloss`: strength of the highlight, 0 (paint, rust) to 1 (machined steel).
    """

    height: Plane
    albedo: Plane
    gloss: Plane


@dataclass(frozen=True)
class Lamp:
    """A lamp far away. Angles in radians: `azimuth` from +x towards +y, `elevation` above the plate."""

    azimuth: float
    elevation: float
    strength: float = 1.0
    ambient: float = 0.35

    @property
    def direction(self) -> tuple[float, float, float]:
        """Unit vector towards the lamp."""
        flat = math.cos(self.elevation)
        return flat * math.cos(self.azimuth), flat * math.sin(self.azimuth), math.sin(self.elevation)


def grid(size: int) -> tuple[Plane, Plane]:
    """x and y of the pixel centres, [size, size] each, in -1..1."""
    line = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(line, line)
    return x, y


def shade(surface: Surface, lamp: Lamp) -> Plane:
    """Radiance, linear BGR [S, S, 3]: ambient with occlusion, Lambert, Blinn-Phong highlight, cast shadow."""
    normal = _normals(surface.height)
    light = np.array(lamp.direction, np.float32)
    halfway = light + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    lit = _lit(surface.height, lamp)
    diffuse = np.clip(normal @ light, 0, 1) * lit
    shine = np.clip(normal @ halfway, 0, 1)
    highlight = surface.gloss * (0.55 * shine**14 + 0.75 * shine**70) * lit
    sky = 0.5 + 0.5 * normal[..., 2]  # a diffuse dome: what leans away from it is darker
    level = lamp.ambient * sky * _open_sky(surface.height) + lamp.strength * diffuse
    return np.asarray(surface.albedo * level[..., None] + (lamp.strength * 0.8 * highlight)[..., None], np.float32)


def _normals(height: Plane) -> Plane:
    pixel = 2 / height.shape[0]
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / (8 * pixel)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / (8 * pixel)
    normal = np.dstack([-dx, -dy, np.ones_like(dx)])
    return np.asarray(normal / np.linalg.norm(normal, axis=2, keepdims=True), np.float32)


def _lit(height: Plane, lamp: Lamp) -> Plane:
    """1 where the lamp is seen, 0 in cast shadow, soft at the edge: march towards the lamp over the height field."""
    size = height.shape[0]
    reach = float(height.max() - height.min()) / math.tan(lamp.elevation)
    dx, dy = math.cos(lamp.azimuth), math.sin(lamp.azimuth)
    above = np.full_like(height, -1e3)
    for step in range(1, SHADOW_STEPS + 1):
        far = reach * step / SHADOW_STEPS
        move = np.array([[1, 0, -dx * far * size / 2], [0, 1, -dy * far * size / 2]], np.float32)
        there = cv2.warpAffine(height, move, (size, size), borderMode=cv2.BORDER_REPLICATE)
        above = np.maximum(above, there - far * math.tan(lamp.elevation))
    shadow = np.clip((above - height) / 0.02, 0, 1).astype(np.float32)
    return np.asarray(1 - 0.85 * cv2.GaussianBlur(shadow, (0, 0), size / 160), np.float32)


def _open_sky(height: Plane) -> Plane:
    """Ambient occlusion: places below their surroundings get less of the dome."""
    size = height.shape[0]
    around = cv2.GaussianBlur(height, (0, 0), size / 28)
    return np.asarray(np.clip(1 - 2.2 * np.maximum(around - height, 0), 0.25, 1), np.float32)


def cloud(size: int, cells: float, random: np.random.Generator, octaves: int = 4) -> Plane:
    """Fractal noise [size, size], about 0..1, with `cells` lumps across the picture in the lowest octave."""
    total, weight, norm = np.zeros((size, size), np.float32), 1.0, 0.0
    for octave in range(octaves):
        count = max(2, round(cells * 2**octave)) + 3
        lumps = random.random((count, count)).astype(np.float32)
        total += weight * cv2.resize(lumps, (size, size), interpolation=cv2.INTER_CUBIC)
        norm, weight = norm + weight, weight / 2
    return np.asarray(total / norm, np.float32)


def smoothstep(low: float, high: float, value: NDArray[np.floating]) -> Plane:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
