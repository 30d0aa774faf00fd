"""Light variations of normal images that leave them normal; off unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edge.errors import UsageError
from train.noise import Noise


def flip_horizontally(frames: Tensor, noise: Noise) -> Tensor:
    """Mirror every second image or so, left to right."""
    return _half(frames, frames.flip(2), noise)


def flip_vertically(frames: Tensor, noise: Noise) -> Tensor:
    """Mirror every second image or so, top to bottom."""
    return _half(frames, frames.flip(1), noise)


def vary_brightness(frames: Tensor, noise: Noise) -> Tensor:
    """Scale each image by 0.9 to 1.1."""
    factor = 0.9 + 0.2 * noise.uniform(len(frames), 1, 1, 1)
    return (frames.to(torch.float32) * factor).round().clamp(0, 255).to(torch.uint8)


KINDS: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    "hflip": flip_horizontally,
    "vflip": flip_vertically,
    "brightness": vary_brightness,
}


def kinds_of(text: str) -> tuple[str, ...]:
    """The names in "hflip,brightness". Raises UsageError for one that does not exist."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in KINDS:
            raise UsageError(f"no augmentation {name}", "there are " + ", ".join(KINDS), "correct --augment")
    return names


def augmented(frames: Tensor, kinds: Sequence[str], noise: Noise) -> Tensor:
    """`frames`, uint8 [N, H, W, C], varied by each kind in turn."""
    for kind in kinds:
        frames = KINDS[kind](frames, noise)
    return frames


def _half(frames: Tensor, other: Tensor, noise: Noise) -> Tensor:
    return torch.where(noise.uniform(len(frames), 1, 1, 1) < 0.5, frames, other)
