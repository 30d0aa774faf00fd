"""What a synthetic defect looks like: float32 [h, w, C], the new content of a window of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.locate import border_colour
from train.augment.shapes import log_uniform, smooth_field

Array = NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True)
class Site:
    """A window of `image` (float32 [H, W, C], 0..255) in which a defect arises.

    `others`: other normal images of the set, uint8 [H, W, C]. `contrast`: the image's standard deviation.
    """

    image: Array
    others: Sequence[NDArray[np.uint8]]
    top: int
    left: int
    height: int
    width: int
    contrast: float

    @property
    def patch(self) -> Array:
        """The window's present content, float32 [h, w, C]."""
        return self.image[self.top : self.top + self.height, self.left : self.left + self.width]


WINDOWS = 12  # that are looked at to find one like the surroundings

Content = Callable[[Site, Random], Array]


def flat(site: Site, random: Random) -> Array:
    """One colour, mostly darker than the surroundings."""
    colour = _base(site, random) + random.choice([-1, -1, 1]) * site.contrast * log_uniform(random, 0.4, 3)
    if random.random() < 0.5:
        colour = colour + random.normal(0, 0.3 * site.contrast, site.image.shape[2])
    return np.broadcast_to(np.asarray(colour, np.float32), site.patch.shape)


def texture(site: Site, random: Random) -> Array:
    """Noise with a random spectrum, direction, contrast and colour."""
    height, width, channels = site.patch.shape
    cells, stretch = log_uniform(random, 1.5, max(2, min(height, width) / 1.5)), log_uniform(random, 0.2, 5)
    field = np.zeros((height, width), np.float32)
    for octave in range(int(random.integers(1, 4))):
        rows = int(np.clip(cells * stretch, 2, max(2, height)))
        columns = int(np.clip(cells / stretch, 2, max(2, width)))
        grid = random.standard_normal((rows, columns), dtype=np.float32)
        field += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / np.float32(1.5**octave)
        cells *= 2.2
    tint = random.normal(0, 1, channels) * log_uniform(random, 0.1, 2) * (random.random() < 0.5)
    colour = _base(site, random) + site.contrast * (tint + random.normal() * log_uniform(random, 0.1, 2))
    waves = field[:, :, None] * random.normal(1, 0.3, channels) * log_uniform(random, 0.15, 1.5)
    return np.asarray(colour + site.contrast * waves, np.float32)


def light(site: Site, random: Random) -> Array:
    """The same surface brighter or darker, flatter or harsher, or of another hue."""
    channels = site.patch.shape[2]
    if channels > 1 and random.random() < 0.5:
        hue = np.exp(random.normal(0, log_uniform(random, 0.1, 0.6), channels))
        return np.asarray(site.patch * (hue / hue.mean() * log_uniform(random, 0.8, 1.25)), np.float32)
    changed = site.patch * log_uniform(random, 0.5, 1.8) + float(random.normal(0, 0.4 * site.contrast))
    if random.random() < 0.3:
        changed = (changed - changed.mean()) * log_uniform(random, 0.3, 2.5) + changed.mean()
    return np.asarray(changed, np.float32)


def elsewhere(site: Site, random: Random) -> Array:
    """A part of the same image from somewhere else, turned and scaled."""
    return _level(_transplant(site, site.image, random), site, random)


def stranger(site: Site, random: Random) -> Array:
    """A part of another normal image, turned and scaled."""
    return _level(_transplant(site, _other(site, random), random), site, random)


def twin(site: Site, random: Random) -> Array:
    """The same window of another normal image."""
    other = _other(site, random)
    return other[site.top : site.top + site.height, site.left : site.left + site.width].astype(np.float32)


def focus(site: Site, random: Random) -> Array:
    """Smeared, sometimes in one direction, or sharpened."""
    sigma = log_uniform(random, 1.2, max(1.5, min(site.height, site.width) / 5))
    other = sigma * (0.2 if random.random() < 0.3 else 1)
    smooth = cv2.GaussianBlur(site.patch, (0, 0), sigma, sigmaY=other).reshape(site.patch.shape)
    return np.asarray(smooth if random.random() < 0.7 else 2.5 * site.patch - 1.5 * smooth, np.float32)


def bent(site: Site, random: Random) -> Array:
    """Displaced as a whole, or warped by a smooth field."""
    reach = log_uniform(random, 0.04, 0.25) * min(site.height, site.width)
    cells = int(random.integers(2, 5))
    shift = [smooth_field(random, site.height, site.width, cells) * np.float32(reach) for _ in range(2)]
    if random.random() < 0.5:
        shift = [np.full_like(field, random.normal(0, reach)) for field in shift]
    rows = np.arange(site.top, site.top + site.height, dtype=np.float32)[:, None]
    columns = np.arange(site.left, site.left + site.width, dtype=np.float32)[None]
    found = cv2.remap(
        site.image, columns + shift[0], rows + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(found, np.float32).reshape(site.patch.shape)


def worn(site: Site, random: Random) -> Array:
    """Bright or dark details grown or eaten away."""
    size = 1 + int(log_uniform(random, 2, max(3, min(site.height, site.width) / 6)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    change = cv2.erode if random.random() < 0.5 else cv2.dilate
    return np.asarray(change(site.patch, kernel), np.float32).reshape(site.patch.shape)


def missing(site: Site, random: Random) -> Array:
    """What is around, the background, or a colour of the image, where the part should be."""
    if random.random() < 0.5:
        return _surroundings(site, random)
    height, width = site.image.shape[:2]
    colour = site.image[random.integers(0, height), random.integers(0, width)]
    if random.random() < 0.6:
        colour = border_colour(site.image, 1).astype(np.float32)
    grain = random.standard_normal(site.patch.shape, dtype=np.float32) * np.float32(random.uniform(0, 4))
    return np.asarray(colour + grain, np.float32)


def _surroundings(site: Site, random: Random) -> Array:
    """Of some windows of the image the one that is most like the rim of this one, brought to the rim's colour."""
    patch = site.patch
    colour = np.median(np.concatenate([patch[0], patch[-1], patch[:, 0], patch[:, -1]]), 0)
    tops = random.integers(0, site.image.shape[0] - site.height + 1, WINDOWS)
    lefts = random.integers(0, site.image.shape[1] - site.width + 1, WINDOWS)
    windows = [site.image[y : y + site.height, x : x + site.width] for y, x in zip(tops, lefts, strict=True)]
    found = min(windows, key=lambda window: float(np.abs(window - colour).mean()))
    return np.asarray(found - found.mean((0, 1)) + colour, np.float32)


def _base(site: Site, random: Random) -> Array:
    pixels = site.patch.reshape(-1, site.patch.shape[2])
    chosen = pixels[random.integers(0, len(pixels))] if random.random() < 0.3 else pixels.mean(0)
    return np.asarray(chosen, np.float32)


def _other(site: Site, random: Random) -> NDArray[np.uint8]:
    return site.others[int(random.integers(0, len(site.others)))]


def _transplant(site: Site, source: NDArray[np.generic], random: Random) -> Array:
    height, width = source.shape[:2]
    scale = log_uniform(random, 0.6, 1.7)
    rows, columns = int(np.clip(site.height * scale, 2, height)), int(np.clip(site.width * scale, 2, width))
    top, left = int(random.integers(0, height - rows + 1)), int(random.integers(0, width - columns + 1))
    part = source[top : top + rows, left : left + columns].astype(np.float32)
    turned = np.rot90(part[:, ::-1] if random.random() < 0.5 else part, int(random.integers(0, 4)))
    resized = cv2.resize(np.ascontiguousarray(turned), (site.width, site.height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32).reshape(site.patch.shape)


def _level(content: Array, site: Site, random: Random) -> Array:
    """Sometimes only the texture differs: give `content` about the mean of what it covers."""
    if random.random() < 0.6:
        return content
    wanted = site.patch.mean((0, 1)) + random.normal(0, 0.2 * site.contrast)
    return np.asarray(content - content.mean((0, 1)) + wanted, np.float32)
