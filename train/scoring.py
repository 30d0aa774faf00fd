"""What the scoring graphs share: the masked error and the heatmap."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIGMA = 1.0  # of the heatmap's blur, in pixels of the heatmap


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean over channels of the squared difference, [N, 1, H, W]."""
    return ((x - x_hat) ** 2).mean(1, keepdim=True)


def masked_error(error: Tensor, mask: Tensor) -> Tensor:
    """||c*(x-x_hat)||^2 / ||c||^2, [N] (ADDA eq. 5, first term), from squared errors and mask [N, 1, H, W].

    Means instead of sums keep both norms inside half precision's range; the ratio is the same.
    """
    weight = mask * mask
    return (weight * error).mean((1, 2, 3)) / weight.mean((1, 2, 3))


class Heatmap(nn.Module):
    """Half the resolution and a Gaussian blur: single noisy pixels vanish, small defects stay.

    `forward(error [N, 1, H, W]) -> [N, ceil(H/2), ceil(W/2)]`. Near the border the blur is normalised by the part of
    the kernel that lies inside, so that the border is not darkened.
    """

    kernel: Tensor
    gain: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        taps = torch.exp(-0.5 * (torch.arange(-5, 6) / (2 * SIGMA)) ** 2)
        kernel = torch.outer(taps, taps)[None, None]
        inside = F.conv2d(torch.ones(1, 1, *size), kernel, stride=2, padding=5)
        self.register_buffer("kernel", kernel / kernel.sum())
        self.register_buffer("gain", kernel.sum() / inside)

    def forward(self, error: Tensor) -> Tensor:
        """See the class."""
        return (F.conv2d(error, self.kernel, stride=2, padding=5) * self.gain).squeeze(1)
