"""Networks of the two-stage attention paper: ResNet-18 encoder, VAE bottleneck, decoder, two heads, and the ADGAN.

The encoders are without the stem's pooling, so that their stride is 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.blocks import BatchNorm2d, DepthwiseSeparable
from train.models.resnet import ResNet18

LATENT = 2  # channels of the latent map, in base widths


@dataclass(frozen=True)
class TwoHeads:
    """`image` [N, C, H, W] in -1..1; `attention` [N, 1, H, W] in 0..1, 1 = normal; the latent's two parameters."""

    image: Tensor
    attention: Tensor
    mean: Tensor
    log_variance: Tensor


class AttentionNetwork(nn.Module):
    """Stage 1. In train mode the latent is drawn with `noise`, in eval mode it is its mean."""

    def __init__(self, channels: int, base_width: int, separable: bool) -> None:
        super().__init__()
        w, latent = base_width, LATENT * base_width
        self.encoder = ResNet18(channels, w, separable, pooled=False)
        self.latent = nn.Conv2d(8 * w, 2 * latent, 1)
        self.decoder = decoder(latent, w)
        self.image, self.attention = _head(w, channels, separable), _head(w, 1, separable)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> TwoHeads:
        """x [N, C, H, W] in -1..1; noise [N, 2w, H/16, W/16], or None for the mean."""
        mean, log_variance = self.latent(self.encoder(x)).chunk(2, 1)
        code = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        features = self.decoder(code)
        return TwoHeads(torch.tanh(self.image(features)), torch.sigmoid(self.attention(features)), mean, log_variance)


class ImageFeatures(nn.Module):
    """F_Img: two 3x3 convolutions at full resolution, frozen as they were drawn.

    Trained with a reconstruction goal alone they would collapse to zero.
    """

    def __init__(self, channels: int, base_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, base_width, 3, padding=1)
        self.second = nn.Conv2d(base_width, base_width, 3, padding=1)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, w, H, W]."""
        return torch.tanh(self.second(F.leaky_relu(self.first(x), 0.2)))


class Redrawer(nn.Module):
    """The ADGAN's generator: encoder as in stage 1, four transposed convolutions, features in -1..1 again."""

    def __init__(self, channels: int, base_width: int, separable: bool) -> None:
        super().__init__()
        self.encoder = ResNet18(channels, base_width, separable, pooled=False)
        self.decoder = decoder(8 * base_width, base_width)
        self.out = nn.Conv2d(base_width, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return torch.tanh(self.out(self.decoder(self.encoder(x))))


def decoder(channels: int, base_width: int) -> nn.Sequential:
    """Four transposed convolutions, 4x4 stride 2, batch norm, ReLU: stride 16 -> 1, base_width channels."""
    widths = [channels, 4 * base_width, 2 * base_width, base_width, base_width]
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


def _conv3(channels: int, out_channels: int, separable: bool) -> nn.Module:
    if separable:
        return DepthwiseSeparable(channels, out_channels)
    return nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)


def _head(width: int, out_channels: int, separable: bool) -> nn.Sequential:
    """Three convolutions, batch norm and ReLU between them."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [_conv3(width, width, separable), BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, out_channels, 3, padding=1))
