"""What good pictures show at each place, as a golden template does, and by how much a picture strays from it.

Parts that lie in a fixture look alike at the same place. What is missing there is plain to
whoever knows the others; a network that sees single pictures would have to learn the whole layout by heart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.augment.normal import WHOLE, Part
from train.models.blocks import accumulate

STRIDE = 2  # pixels a cell: what is finer moves more than it tells
LEAST = 0.1  # of a picture's deviation, which is 1: good pictures that differ by less differ by noise
MOST = 6.0  # deviations; more are not told apart
LOOSE = 0.25  # movement may add so much to the variance that good pictures have at a place anyway
STILL = 0.2  # least movement: nothing lies stiller than that for long
FIXED = 0.5  # movement from which on parts lie in no fixture: a template of them would be a blur


class Usual(nn.Module):
    """`forward(images [N, C, h, w] from normalised, parts) -> [N, C, h/2, w/2]`: off by how many deviations, signed.

    `parts`: what each image is of its picture, or one for all. Knows nothing at first, and then nothing is odd.
    """

    mean: Tensor
    rate: Tensor

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, size[0] // STRIDE, size[1] // STRIDE))
        self.register_buffer("rate", torch.zeros_like(self.mean))

    def forward(self, images: Tensor, parts: Sequence[Part] = (WHOLE,)) -> Tensor:
        """See the class."""
        mean, rate = (shown(plane, parts, STRIDE) for plane in (self.mean, self.rate))
        return ((F.avg_pool2d(images, STRIDE) - mean) * rate).clamp(-MOST, MOST)


class Good(nn.Module):
    """Running moments at each place of good pictures as they are, and of the same ones moved, over all processes.

    `fixed`: movement from which on parts lie in no fixture; 1 for parts that were turned until they show their face.
    """

    count: Tensor
    still: Tensor
    moved: Tensor

    def __init__(self, channels: int, size: tuple[int, int], fixed: float = FIXED) -> None:
        super().__init__()
        self.fixed = fixed
        cells = channels, size[0] // STRIDE, size[1] // STRIDE
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("still", torch.zeros(2, *cells, dtype=torch.float64))
        self.register_buffer("moved", torch.zeros(2, *cells, dtype=torch.float64))

    def add(self, still: Tensor, moved: Tensor) -> None:
        """Take in pictures [N, C, H, W] from `normalised`, and the same ones moved with strength 1."""
        count = torch.tensor(len(still), dtype=torch.float64, device=still.device)
        accumulate([(self.count, count), (self.still, _sums(still)), (self.moved, _sums(moved))])

    def movement(self) -> float:
        """Strength (train.augment.normal.moved) with which good pictures may be moved: STILL to `fixed`, or 1.

        Where parts lie in a fixture, a piece that is off by less than what movement blurs cannot be seen. 1 elsewhere,
        and if nothing was taken in.
        """
        still, moved = (float(self._moments(sums)[1].mean()) for sums in (self.still, self.moved))
        added = max(moved - still, 1e-12)
        strength = (LOOSE * still / added) ** 0.5
        return max(STILL, strength) if self.count > 0 and strength <= self.fixed else 1.0

    def tell(self, usual: Usual) -> None:
        """Let `usual` know what was seen, pictures moved as far as they may be; nothing if they lie in no fixture.

        A print that lies at any angle would be compared with a blur, which its absence resembles more than the print.
        """
        movement = self.movement()
        if movement == 1.0:
            usual.rate.zero_()
            return
        (mean, still), (_, moved) = self._moments(self.still), self._moments(self.moved)
        few = float(self.count / (self.count - 1).clamp(min=1))
        variance = few * still + movement**2 * (moved - still).clamp(min=0)
        usual.mean.copy_(mean[None])
        usual.rate.copy_((variance + LEAST**2).rsqrt()[None])

    def _moments(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        mean, square = sums / self.count.clamp(min=1)
        return mean, (square - mean**2).clamp(min=0)


def _sums(images: Tensor) -> Tensor:
    cells = F.avg_pool2d(images.detach().double(), STRIDE)
    return torch.stack([cells.sum(0), (cells**2).sum(0)])


def shown(plane: Tensor, parts: Sequence[Part], stride: int) -> Tensor:
    """What `parts` (in pixels) show of `plane` [1, C, H/stride, W/stride]; `plane` itself if they show all."""
    if all(part == WHOLE for part in parts):
        return plane
    cells = [tuple(slice(side.start // stride, side.stop // stride) for side in part) for part in parts]
    return torch.cat([plane[:, :, rows, columns] for rows, columns in cells])
