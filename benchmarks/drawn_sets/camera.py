"""From a drawn scene to the picture and the mask that a camera would give."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.drawn_sets.drawing import Floats, Pixels, Random, blur, uniform

OVERSAMPLING = 2  # a scene is drawn so many times finer than its picture


def photographed(random: Random, scene: Floats) -> Pixels:
    """The picture of a scene [H, W] or [H, W, 3]: smaller, a little soft, uneven in light and colour, noisy."""
    height, width = scene.shape[0] // OVERSAMPLING, scene.shape[1] // OVERSAMPLING
    image = cv2.resize(np.clip(scene, 0, 262).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    image = blur(image, uniform(random, 0.4, 0.65))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = 1 + uniform(random, -0.035, 0.035) * x + uniform(random, -0.035, 0.035) * y - 0.045 * (x * x + y * y)
    gain = uniform(random, 0.9, 1.1) * light
    if image.ndim == 3:
        balance = [uniform(random, 0.985, 1.015), 1, uniform(random, 0.985, 1.015)]
        image = image * gain[..., None] * np.array(balance, np.float32)
    else:
        image = image * gain
    deviation = uniform(random, 2, 4)
    grain = random.standard_normal(image.shape, dtype=np.float32)
    image = image + grain * deviation * np.sqrt(np.clip(0.5 + image / 200, 0.5, 1.6)) * 0.9
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)


def photographed_mask(cover: Floats) -> Pixels:
    """The mask of a picture, 0 or 255, from where the scene is marked, [H, W]."""
    size = cover.shape[1] // OVERSAMPLING, cover.shape[0] // OVERSAMPLING
    share = cv2.resize(cover.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray((share > 0.4) * 255, np.uint8)
