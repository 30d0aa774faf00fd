"""What a camera and a fixture do to a good part: it stays good. Images are float32 [H, W, C] in 0..255."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from train.augment.shapes import smooth_field

Array = NDArray[np.float32]
Random = np.random.Generator

SHADE = 0.1  # depth of uneven light; deeper or finer, and surfaces that are worked unevenly count as normal


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


def relit(images: Sequence[Array], random: Random, strength: float = 1.0) -> list[Array]:
    """One change of gain, offset, gamma, broad light and shade, focus and sensor noise, the same for all `images`."""
    height, width = images[0].shape[:2]
    gain = float(np.exp(random.normal(0, 0.12 * strength)))
    offset, gamma = float(random.normal(0, 8 * strength)), float(np.exp(random.normal(0, 0.08 * strength)))
    slope = SHADE * strength if random.random() < 0.5 else 0.0
    cells = int(random.integers(2, 4))
    light = gain * np.exp(slope * smooth_field(random, height, width, cells))[:, :, None]
    noise = _sensor_noise(images[0].shape, random)
    sigma = float(random.uniform(0.3, 0.7)) if random.random() < 0.15 else 0.0
    return [_relit_one(image, sigma, gamma, light, noise + offset) for image in images]


def _relit_one(image: Array, sigma: float, gamma: float, light: Array, offset: Array | float) -> Array:
    clean = np.clip(image, 0, 255)
    if sigma:
        clean = cv2.GaussianBlur(clean, (0, 0), sigma).reshape(image.shape)
    bright = 255 * cv2.pow(clean / np.float32(255), gamma).reshape(image.shape)
    return np.asarray(np.clip(bright * light + offset, 0, 255), np.float32)


def _sensor_noise(shape: tuple[int, ...], random: Random) -> Array:
    deviation = abs(float(random.normal(0, 2))) if random.random() < 0.6 else 0.0
    if deviation < 0.3:
        return np.zeros((), np.float32)
    return np.asarray(random.standard_normal(shape, dtype=np.float32) * deviation, np.float32)
