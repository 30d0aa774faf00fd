"""Whether mirrored parts are good parts too. The network that is being trained is asked.

More kinds of normal make a better detector, but only true ones: a surface may be mirrored, a screw under a lamp not.
Pictures alone do not tell well: seen coarsely, a mirrored screw lies among the others, and only its shading is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.models.blocks import accumulate

UPRIGHT = (0,)
ORIENTATIONS = 4  # bit 0 mirrors left to right, bit 1 top to bottom
STRANGE = 1.0  # deviations of upright peaks by which mirrored ones may rise on average


class Mirrors(nn.Module):
    """Running moments of the attention's peak on good pictures, mirrored in four ways, over all processes."""

    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total", torch.zeros(ORIENTATIONS, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(ORIENTATIONS, dtype=torch.float64))

    def add(self, peaks: Tensor) -> None:
        """Take in peaks [ORIENTATIONS, N] of the same N pictures."""
        values = peaks.detach().double()
        count = torch.tensor(values.shape[1], dtype=torch.float64, device=values.device)
        accumulate([(self.count, count), (self.total, values.sum(1)), (self.squares, (values**2).sum(1))])

    def good(self) -> tuple[int, ...]:
        """Orientations that look no stranger than upright pictures; only upright while too few were seen."""
        if self.count < 2:
            return UPRIGHT
        mean = self.total / self.count
        deviation = (self.squares[0] / self.count - mean[0] ** 2).clamp(min=1e-12).sqrt()
        strange = ((mean - mean[0]) / deviation).tolist()
        return tuple(o for o in range(ORIENTATIONS) if o == 0 or strange[o] <= STRANGE)


def mirrored_images(images: Tensor, orientation: int) -> Tensor:
    """[N, C, H, W] in one orientation."""
    return images.flip([dim for bit, dim in ((1, 3), (2, 2)) if orientation & bit])


def mirrored_frame(
    frame: NDArray[np.uint8], random: np.random.Generator, orientations: Sequence[int]
) -> NDArray[np.float32]:
    """[H, W, C] in one of `orientations`, drawn; a float32 copy."""
    chosen = orientations[int(random.integers(len(orientations)))]
    across, down = (slice(None, None, -1 if chosen & bit else 1) for bit in (1, 2))
    return np.array(frame[down, across], np.float32, order="C")
