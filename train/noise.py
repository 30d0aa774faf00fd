"""Random numbers that do not depend on how a step was reached or shared.

They are a function of (seed, step), so resuming repeats them; every process draws the numbers of the whole global
batch and keeps its own part, so two processes see what one would have seen.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from a few names and numbers; stable across machines and Python versions."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Noise:
    """The random numbers of one step. Draws advance a private generator; the global one is never touched."""

    def __init__(self, seed: int, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._rank, self._world, self._device = rank, world, device

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal float32 [count, *shape]: one row for each of this process's `count` images."""
        return self._mine(torch.randn(count * self._world, *shape, generator=self._generator), count)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Uniform [0, 1) float32 [count, *shape]."""
        return self._mine(torch.rand(count * self._world, *shape, generator=self._generator), count)

    def integers(self, high: int, count: int, *shape: int) -> Tensor:
        """Uniform int64 in 0..high-1, [count, *shape]."""
        return self._mine(torch.randint(high, (count * self._world, *shape), generator=self._generator), count)

    def _mine(self, everybody: Tensor, count: int) -> Tensor:
        return everybody[self._rank * count : (self._rank + 1) * count].to(self._device)
