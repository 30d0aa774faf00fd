"""What normal features look like: a mean for each place, one covariance for all, and the distance from them.

The distance of PaDiM (Defard et al., 2021), but with features that learned to see synthetic defects, and without a
covariance per place: where parts lie straight, places differ in what is usual there, and the graph stays small.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.blocks import accumulate

RIDGE = 0.1  # added to the covariance, relative to its mean eigenvalue: keeps rounding of the features harmless


class Moments(nn.Module):
    """Running count, sum at each place and second moments of feature maps [N, C, h, w], float64, over all processes."""

    count: Tensor
    total: Tensor
    outer: Tensor

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total", torch.zeros(channels, *size, dtype=torch.float64))
        self.register_buffer("outer", torch.zeros(channels, channels, dtype=torch.float64))

    def add(self, features: Tensor) -> None:
        """Take in features [N, C, h, w]."""
        maps = features.detach().double()
        rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
        count = torch.tensor(len(maps), dtype=torch.float64, device=maps.device)
        accumulate([(self.count, count), (self.total, maps.sum(0)), (self.outer, rows.T @ rows)])

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean at each place [C, h, w], and regularised covariance around it [C, C], float64.

        Standard normal if nothing was taken in.
        """
        channels = len(self.total)
        eye = torch.eye(channels, dtype=torch.float64, device=self.total.device)
        if self.count == 0:
            return torch.zeros_like(self.total), eye
        mean = self.total / self.count
        places = mean.flatten(1)
        covariance = (self.outer / self.count - places @ places.T) / places.shape[1]
        ridge = RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
        return mean, covariance + ridge * eye


class Distance(nn.Module):
    """Mahalanobis distance over sqrt(C), as one 1x1 convolution: about 1 where features are normal.

    `forward(features [N, C, h, w]) -> [N, 1, h, w]`.
    """

    usual: Tensor

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        mean, covariance = moments.gaussian()
        channels = len(mean)
        eye = torch.eye(channels, dtype=torch.float64, device=mean.device)
        whiten = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False) / channels**0.5
        self.whiten = nn.Conv2d(channels, channels, 1, bias=False)
        self.whiten.load_state_dict({"weight": whiten.float()[:, :, None, None]})
        self.whiten.to(mean.device).requires_grad_(False)
        self.register_buffer("usual", torch.einsum("dc,chw->dhw", whiten, mean).float()[None])

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return torch.sqrt(((self.whiten(features) - self.usual) ** 2).sum(1, keepdim=True) + 1e-12)


class ReferenceDistance(nn.Module):
    """The same from the inverse covariance, in float64."""

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        mean, covariance = moments.gaussian()
        self.register_buffer("mean", mean)
        self.register_buffer("precision", torch.linalg.inv(covariance) / len(mean))

    def forward(self, features: Tensor) -> Tensor:
        """See Distance."""
        mean, precision = self.get_buffer("mean"), self.get_buffer("precision")
        centred = features.double() - mean[None]
        squared = torch.einsum("nchw,cd,ndhw->nhw", centred, precision, centred)
        return squared.clamp(min=0).sqrt().float()[:, None]


class Scales(nn.Module):
    """Mean of each of P maps over normal images, and deviation of its peak, so that maps of different kinds add up."""

    sums: Tensor
    peaks: Tensor

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(2, parts, dtype=torch.float64))
        self.register_buffer("peaks", torch.zeros(3, parts, dtype=torch.float64))

    def add(self, maps: Tensor) -> None:
        """Take in maps [N, P, h, w]; a peak is the largest value after `smoothed`."""
        cells = maps.detach().transpose(0, 1).flatten(1).double()
        tops = smoothed(maps.detach()).amax((2, 3)).T.double()
        sums = torch.stack([torch.full_like(cells[:, 0], cells.shape[1]), cells.sum(1)])
        peaks = torch.stack([torch.full_like(tops[:, 0], tops.shape[1]), tops.sum(1), (tops**2).sum(1)])
        accumulate([(self.sums, sums), (self.peaks, peaks)])

    def mean(self) -> Tensor:
        """Of all cells, float32 [P]; 0 if nothing was taken in."""
        return (self.sums[1] / self.sums[0].clamp(min=1)).float()

    def peak_deviation(self) -> Tensor:
        """Float32 [P]; 1 if fewer than two images were taken in."""
        count, total, squares = self.peaks
        if count[0] < 2:
            return torch.ones_like(total).float()
        variance: Tensor = squares / count - (total / count) ** 2
        return variance.clamp(min=1e-8).sqrt().float()


def smoothed(x: Tensor) -> Tensor:
    """Mean over 3x3 cells, those outside left out."""
    mean: Tensor = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return mean


def enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear to `size`."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
