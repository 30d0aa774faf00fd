"""What the drawn sets share: random fields, light on a height map, strokes and blobs.

All lengths are pixels of the fine grid that the camera makes a picture from. Colours are BGR grey levels, 0..255;
covers, which say how much of a pixel is covered, are 0..1. The order in which random numbers are drawn decides what a
seed gives: a change of it changes every picture.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]  # float32 or float64, whichever the arithmetic gives
Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
Random = np.random.Generator
Shape = tuple[int, int]  # height, width
Point = tuple[float, float]  # x, y
Lamp = tuple[float, float, float]  # unit vector towards the light: right, down, to the camera

AZIMUTH, ELEVATION = -2.3, 0.9  # of the lamp, radians: it stands at the upper left
SUBPIXEL_BITS = 4  # of coordinates given to cv2
SUBPIXELS = 1 << SUBPIXEL_BITS


def uniform(random: Random, low: float, high: float) -> float:
    return float(random.uniform(low, high))


def between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """0 up to `low`, 1 from `high` on, smooth in between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def grid(shape: Shape) -> tuple[Floats, Floats]:
    """x and y of every pixel, [H, W]."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    return x, y


def noise(random: Random, shape: Shape, cell: float | tuple[float, float]) -> Floats:
    """Smooth noise of about unit variance, [H, W]; `cell`: pixels from lump to lump, or (down, across)."""
    down, across = cell if isinstance(cell, tuple) else (cell, cell)
    rows, columns = int(shape[0] / down) + 5, int(shape[1] / across) + 5
    coarse = random.standard_normal((rows, columns), dtype=np.float32)
    height, width = max(int(rows * down), shape[0] + 2), max(int(columns * across), shape[1] + 2)
    method = cv2.INTER_CUBIC if max(down, across) > 4 else cv2.INTER_LINEAR
    field = cv2.resize(coarse, (width, height), interpolation=method)
    top = int(random.integers(0, height - shape[0]))
    left = int(random.integers(0, width - shape[1]))
    return np.asarray(field[top : top + shape[0], left : left + shape[1]])


def fractal(random: Random, shape: Shape, cell: float, octaves: int = 3, fall: float = 0.5) -> Floats:
    """Noise of unit variance, [H, W], on lumps of `cell` pixels and of halves of it; each weighs `fall` of the last."""
    total, weight, power = np.zeros(shape, np.float32), 1.0, 0.0
    for _ in range(octaves):
        total += weight * noise(random, shape, max(cell, 1.0))
        power += weight * weight
        weight *= fall
        cell /= 2
    return np.asarray(total / np.sqrt(power))


def blur(field: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma))


def wide_blur(field: Floats, sigma: float) -> Floats:
    """As `blur`, on a coarser grid: cheap for a large `sigma`."""
    step = max(1, int(sigma / 3))
    height, width = field.shape[:2]
    coarse = cv2.resize(field, (width // step, height // step), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(blur(coarse, sigma / step), (width, height), interpolation=cv2.INTER_LINEAR))


def slant(field: Floats, scale: float = 1.0) -> Floats:
    """Slope of `field` [H, W] along the diagonal from the upper left: bright edges towards the lamp when added."""
    right = cv2.Sobel(field, cv2.CV_32F, 1, 0, scale=scale)
    return np.asarray(right + cv2.Sobel(field, cv2.CV_32F, 0, 1, scale=scale))


def lamp_near(random: Random, jitter: float = 0.08) -> Lamp:
    """The lamp, up to `jitter` radians away from where it should stand."""
    azimuth = AZIMUTH + uniform(random, -jitter, jitter)
    elevation = ELEVATION + uniform(random, -jitter / 2, jitter / 2)
    flat = np.cos(elevation)
    return float(np.cos(azimuth) * flat), float(np.sin(azimuth) * flat), float(np.sin(elevation))


def shade(height: Floats, lamp: Lamp, hardness: int = 30) -> tuple[Floats, Floats]:
    """Diffuse and glossy light on a height map [H, W] in pixels, each [H, W], 0..1."""
    surface = np.asarray(height, np.float32)
    slope_x = cv2.Sobel(surface, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    slope_y = cv2.Sobel(surface, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    z = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    x, y = -slope_x * z, -slope_y * z
    halfway = np.asarray(lamp) + np.array([0, 0, 1.0])
    halfway /= np.linalg.norm(halfway)
    right, down, up = (float(part) for part in halfway)
    diffuse = np.maximum(x * lamp[0] + y * lamp[1] + z * lamp[2], 0)
    gloss = np.maximum(x * right + y * down + z * up, 0) ** hardness
    return diffuse.astype(np.float32), gloss.astype(np.float32)


def subpixels(points: Floats) -> NDArray[np.int32]:
    """Points as cv2 takes them with SUBPIXEL_BITS."""
    return np.round(points * SUBPIXELS).astype(np.int32)


def polygon(shape: Shape, points: Floats) -> Floats:
    """Cover [H, W] of the polygon with corners `points` [N, 2]."""
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [subpixels(points)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255


def disc(shape: Shape, centre: tuple[int, int], radius: int) -> Floats:
    """Cover [H, W] of a disc."""
    canvas = np.zeros(shape, np.uint8)
    cv2.circle(canvas, centre, radius, 255, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def blob(
    random: Random,
    shape: Shape,
    centre: Point,
    radius: float,
    irregular: float = 0.25,
    aspect: float = 1.0,
    corners: int = 90,
    turn: float | None = None,
) -> Floats:
    """Cover [H, W] of a rounded lump, `aspect` times as long as wide, its long side at `turn` radians or anywhere."""
    around = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = np.ones(corners)
    for wave in range(2, 9):
        reach += irregular * random.normal() / wave * np.cos(wave * around + uniform(random, 0, 6.3))
    reach = np.maximum(reach, 0.3) * radius
    along = reach * np.cos(around) * np.sqrt(aspect)
    across = reach * np.sin(around) / np.sqrt(aspect)
    angle = uniform(random, 0, np.pi) if turn is None else turn
    x = centre[0] + along * np.cos(angle) - across * np.sin(angle)
    y = centre[1] + along * np.sin(angle) + across * np.cos(angle)
    return polygon(shape, np.stack([x, y], 1))


def jagged(random: Random, start: Point | Floats, end: Point | Floats, rough: float) -> Floats:
    """A broken line like a crack, [N, 2]; its middle strays by about `rough` of the length."""
    points = [np.array(start, float), np.array(end, float)]
    stray = np.linalg.norm(points[1] - points[0]) * rough
    for _ in range(5):
        finer = []
        for a, b in pairwise(points):
            along = b - a
            normal = np.array([-along[1], along[0]]) / (np.linalg.norm(along) + 1e-6)
            finer += [a, (a + b) / 2 + normal * random.normal() * stray]
        points = [*finer, points[-1]]
        stray *= 0.52
    return np.array(points)


def curved(random: Random, start: Point, end: Point, bend: float) -> Floats:
    """A smooth line, [40, 2], that leaves the straight one by up to `bend` of the length."""
    first, last = np.array(start, float), np.array(end, float)
    t = np.linspace(0, 1, 40)[:, None]
    along = last - first
    normal = np.array([-along[1], along[0]])
    bow = normal * (4 * t * (1 - t)) * uniform(random, -bend, bend)
    swing = normal * np.sin(t * 6.28) * uniform(random, -bend, bend) * 0.3
    return np.asarray(first + t * along + bow + swing)


def ends_around(centre: Point, length: float, turn: float) -> tuple[Point, Point]:
    """Both ends of a straight line through `centre` at `turn` radians."""
    x, y = length / 2 * np.cos(turn), length / 2 * np.sin(turn)
    return (centre[0] - x, centre[1] - y), (centre[0] + x, centre[1] + y)


def stroke(shape: Shape, line: Floats, width: float, ends: tuple[float, float]) -> Floats:
    """Cover [H, W] of a line [N, 2] drawn `width` pixels wide, `ends` of that at its two ends."""
    t = np.linspace(0, 1, len(line))
    half = width * np.minimum(1, np.minimum(ends[0] + t * 5, ends[1] + (1 - t) * 5)) / 2
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    left, right = line + normal * half[:, None], line - normal * half[:, None]
    canvas = np.zeros(shape, np.uint8)
    for i in range(len(line) - 1):
        piece = subpixels(np.array([left[i], left[i + 1], right[i + 1], right[i]]))
        cv2.fillConvexPoly(canvas, piece, 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255


def grown(cover: Floats | Mask | Pixels, pixels: int) -> Floats:
    """`cover` widened by `pixels`."""
    return np.asarray(cv2.dilate(cover.astype(np.float32), _round_kernel(pixels)))


def closed(cover: Floats | Mask | Pixels, pixels: int) -> Floats:
    """`cover` without gaps of less than twice `pixels`."""
    return np.asarray(cv2.morphologyEx(cover.astype(np.float32), cv2.MORPH_CLOSE, _round_kernel(pixels)))


def shifted(field: Floats, right: float, down: float) -> Floats:
    """`field` moved, 0 where nothing was."""
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return np.asarray(cv2.warpAffine(field, move, (field.shape[1], field.shape[0]), borderValue=0))


def turning(angle: float, pivot: Point, target: Floats | Point, scale: float = 1.0) -> NDArray[np.float32]:
    """The affine map, [2, 3], that turns by `angle` radians, scales, and takes `pivot` to `target`."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]], np.float32) * scale
    matrix[:, 2] = np.asarray(target) - matrix[:, :2] @ np.asarray(pivot)
    return matrix


def paint(image: Floats, colour: Floats | float | tuple[float, float, float], cover: Floats) -> None:
    """Blend a colour, or a picture of `image`'s shape, into `image` [H, W] or [H, W, 3], where `cover` [H, W] is 1."""
    if image.ndim == 3:
        image += (np.asarray(colour, np.float32) - image) * cover[..., None]
    else:
        image += (colour - image) * cover


def hsv(hue: float, saturation: float, value: float) -> Floats:
    """BGR of a colour; `hue` 0..180, the others 0..255, as cv2 has them."""
    pixel = np.array([[[hue % 180, np.clip(saturation, 0, 255), np.clip(value, 0, 255)]]], np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32))


def _round_kernel(pixels: int) -> Pixels:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1)), np.uint8)
