"""What a camera and a fixture do to a good part: it stays good. Images are float32 [H, W, C] in 0..255."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment.shapes import smooth_field

Array = NDArray[np.float32]
Random = np.random.Generator
Part = tuple[slice, slice]

WHOLE: Part = (slice(None), slice(None))
GLIMPSE = 4  # pixels along each axis of which a glimpse keeps one
SHADE = 0.1  # depth of uneven light; deeper or finer, and surfaces that are worked unevenly count as normal
COMPRESSED = 0.3  # of the pictures: a camera sends JPEG or video, whatever the good pictures were kept as
QUALITY = 30, 95  # of that JPEG


def moved(image: Array, random: Random, strength: float = 1.0) -> Array:
    """`image` turned by 1.5 degrees, scaled by 2 % and shifted by 1.5 % of its side (deviations, x strength).

    The border is mirrored.
    """
    height, width = image.shape[:2]
    scale = float(np.exp(random.normal(0, 0.02 * strength)))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(random.normal(0, 1.5 * strength)), scale)
    matrix[:, 2] += random.normal(0, 0.015 * strength, 2) * (width, height)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, np.float32).reshape(image.shape)


@dataclass(frozen=True)
class Light:
    """One change of gain, gamma, offset, broad light and shade (`field` [H, W, 1]), focus (`blur`, pixels), sensor
    noise (`noise`, grey levels), the last three as deviations, 0 = none; then JPEG of a `quality` of 1 to 100, or 0:
    not compressed."""

    field: Array
    gamma: float
    offset: float
    blur: float
    noise: float
    quality: int = 0

    def on(self, images: Sequence[Array], random: Random, part: Part = WHOLE) -> list[Array]:
        """`part` of the images under this light, all with the same noise."""
        offset = self.offset + _sensor_noise(images[0][part].shape, self.noise, random)
        lit = [self._on_one(image[part], part, self.blur, offset) for image in images]
        return [compressed(image, self.quality) for image in lit] if self.quality else lit

    def glimpse(self, image: Array) -> Array:
        """Every GLIMPSE-th pixel under this light, sharp, without noise and as it is: enough to measure how bright."""
        part = np.s_[::GLIMPSE, ::GLIMPSE]
        return self._on_one(image[part], part, 0.0, self.offset)

    def _on_one(self, image: Array, part: Part, blur: float, offset: Array | float) -> Array:
        clean = np.clip(image, 0, 255)
        if blur:
            clean = cv2.GaussianBlur(clean, (0, 0), blur).reshape(image.shape)
        bright = 255 * cv2.pow(clean / np.float32(255), self.gamma).reshape(image.shape)
        return np.asarray(np.clip(bright * self.field[part] + offset, 0, 255), np.float32)


def drawn_light(size: tuple[int, int], random: Random, strength: float = 1.0) -> Light:
    """A light as it may be on another day, for pictures of `size` (height, width)."""
    gain = float(np.exp(random.normal(0, 0.12 * strength)))
    offset, gamma = float(random.normal(0, 8 * strength)), float(np.exp(random.normal(0, 0.08 * strength)))
    slope = SHADE * strength if random.random() < 0.5 else 0.0
    cells = int(random.integers(2, 4))
    field = gain * np.exp(slope * smooth_field(random, *size, cells))[:, :, None]
    noise = abs(float(random.normal(0, 2))) if random.random() < 0.6 else 0.0
    blur = float(random.uniform(0.3, 1.1)) if random.random() < 0.25 else 0.0
    quality = int(random.integers(*QUALITY)) if random.random() < COMPRESSED else 0
    return Light(np.asarray(field, np.float32), gamma, offset, blur, noise, quality)


def compressed(image: Array, quality: int) -> Array:
    """`image` as it comes out of a JPEG file of `quality` 1 to 100."""
    done, data = cv2.imencode(".jpg", np.rint(image).astype(np.uint8), (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert done
    how = cv2.IMREAD_COLOR if image.shape[2] > 1 else cv2.IMREAD_GRAYSCALE
    return np.asarray(cv2.imdecode(data, how), np.float32).reshape(image.shape)


def relit(images: Sequence[Array], random: Random, strength: float = 1.0) -> list[Array]:
    """The images, of one shape, under one drawn light."""
    return drawn_light(images[0].shape[:2], random, strength).on(images, random)


def _sensor_noise(shape: tuple[int, ...], deviation: float, random: Random) -> Array:
    if deviation < 0.3:
        return np.zeros((), np.float32)
    return np.asarray(random.standard_normal(shape, dtype=np.float32) * np.float32(deviation), np.float32)
