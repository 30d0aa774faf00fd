"""CAVGA's networks: a VAE whose latent is a map, its two encoders and decoders, the classifier, the discriminator.

D: DCGAN's discriminator as encoder and its generator as decoder. R: ResNet-18 as encoder, and a residual generator in
which a convolution with a skip sits between two upsamplings. Light: every convolution of both is depth-wise separable,
but the first and the last, which have too few channels to gain by it. Images are in 0..1.
The paper leaves the sizes open. Ours: a latent of 128 channels (1x1 convolutions) on a map of 8 rows or more, which is
also the resolution of the attention map. A picture below 64 pixels gets a sixteenth of its rows, and as many channels
as make the code a sixteenth of the picture's numbers: 128 channels on 4 rows are twice what 32x32 pixels hold, and
redraw an odd picture as well as a normal one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge.errors import UsageError
from train.method import MethodConfig
from train.models.blocks import BatchNorm2d, DepthwiseSeparable, init_dcgan
from train.models.dcgan import strided_trunk
from train.models.resnet import ImageNetScale, ResNet18

SLOPE = 0.2
ROWS = 8  # of the latent map
CHANNELS = 128  # of the latent map
SMALL = 64  # pixels; below it the latent is


@dataclass(frozen=True)
class Code:
    """What the encoder says: `last`, its last map [N, K, h, w]; `mean`, `log_variance` of q(z|x) [N, L, h, w]."""

    last: Tensor
    mean: Tensor
    log_variance: Tensor


Coders = tuple[int, int, nn.Module, nn.Module]  # halvings of the sides, width of the last map, encoder, decoder


class CavgaNet(nn.Module):
    """Encoder, latent, decoder, and with `weak` the classifier (normal, anomalous) on the latent."""

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        latent, size = channels_of(config), (config.height, config.width)
        name = str(config.options["encoder"])
        if name not in CODERS:
            raise UsageError(f"no encoder {name}", f"there are {', '.join(CODERS)}", "correct --set encoder")
        levels, width, self.encoder, self.decoder = CODERS[name](config, latent)
        self.mean, self.log_variance = nn.Conv2d(width, latent, 1), nn.Conv2d(width, latent, 1)
        self.shape = (latent, size[0] >> levels, size[1] >> levels)
        self.classifier = nn.Linear(latent * self.shape[1] * self.shape[2], 2) if config.flag("weak") else None
        self._wake_attention()

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction from the mean of the latent, [N, C, H, W] in 0..1."""
        return torch.sigmoid(self.decoder(self.encode(x).mean))

    def encode(self, x: Tensor) -> Code:
        """[N, C, H, W] in 0..1 -> the latent's distribution."""
        last = self.encoder(x)
        return Code(last, self.mean(last), self.log_variance(last))

    def classify(self, z: Tensor) -> Tensor:
        """A latent [N, L, h, w] -> logits [N, 2]: normal, anomalous."""
        return cast(Tensor, cast(nn.Linear, self.classifier)(z.flatten(1)))

    def _wake_attention(self) -> None:
        """Choose the sign of the latent, which is free, so that its Grad-CAM is not zero everywhere at the start.

        The last map is mostly positive, so the map of sum(mean) has the sign of the summed weights; below zero the
        ReLU gives no gradient, and the attention expansion loss could never train.
        """
        with torch.no_grad():
            if self.mean.weight.sum() < 0:
                self.mean.weight.neg_()


class ResidualDecoder(nn.Module):
    """1x1, then `levels` x ResidualUp, widths from 8w halved at each; norm, ReLU, convolution; before the sigmoid."""

    def __init__(self, latent: int, base_width: int, levels: int, channels: int, light: bool) -> None:
        super().__init__()
        widths = [max(1, 8 * base_width >> level) for level in range(levels + 1)]
        self.first = nn.Conv2d(latent, widths[0], 1)
        self.ups = nn.ModuleList(ResidualUp(a, b, light) for a, b in pairwise(widths))
        self.norm, self.out = BatchNorm2d(widths[-1]), nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """[N, L, h, w] -> [N, C, H, W]."""
        x = self.first(z)
        for up in self.ups:
            x = up(x)
        out: Tensor = self.out(F.relu(self.norm(x)))
        return out


class ResidualUp(nn.Module):
    """Twice the size: u = upsampled x; shortcut(u) + convolution(relu(norm(u)))."""

    def __init__(self, channels: int, out_channels: int, light: bool) -> None:
        super().__init__()
        self.norm = BatchNorm2d(channels)
        self.conv: nn.Module = (
            DepthwiseSeparable(channels, out_channels) if light else nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.shortcut: nn.Module = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, 2H, 2W]."""
        up = F.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = self.shortcut(up) + self.conv(F.relu(self.norm(up)))
        return out


class Discriminator(nn.Module):
    """DCGAN's: strided convolutions down to 4..7 rows, one more to the logit."""

    def __init__(self, channels: int, base_width: int, size: tuple[int, int]) -> None:
        super().__init__()
        blocks = strided_trunk(channels, base_width, size)
        rest = tuple(side >> len(blocks) for side in size)
        self.trunk = nn.Sequential(*blocks)
        self.out = nn.Conv2d(blocks[-1].conv.out_channels, 1, rest, bias=False)  # type: ignore[arg-type]
        self.apply(init_dcgan)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] in 0..1 -> logit [N]."""
        return cast(Tensor, self.out(self.trunk(2 * x - 1))).flatten()


class Signed(nn.Module):
    """0..1 -> -1..1."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return 2 * x - 1


def rows_of(config: MethodConfig) -> int:
    """The least rows of the latent map, with the dcgan encoder."""
    side = min(config.height, config.width)
    return int(config.number("rows")) or (max(1, side // 16) if side < SMALL else ROWS)


def channels_of(config: MethodConfig) -> int:
    """The channels of the latent map."""
    size = (config.height, config.width)
    asked = int(config.number("latent"))
    if asked or min(size) >= SMALL or config.options["encoder"] != "dcgan":
        return asked or CHANNELS
    cell: int = 4 ** _dcgan_levels(size, rows_of(config))  # pixels
    return min(CHANNELS, max(1, cell * config.channels // 16))


def _dcgan(config: MethodConfig, latent: int) -> Coders:
    size, light = (config.height, config.width), config.flag("separable")
    levels = _dcgan_levels(size, rows_of(config))
    widths = [config.base_width * 2**level for level in range(levels)]
    encoder = _dcgan_encoder(config.channels, widths, light)
    decoder = _dcgan_decoder(latent, widths, config.channels, light)
    if not light:  # DCGAN's small weights starve separable convolutions
        encoder.apply(init_dcgan)
        decoder.apply(init_dcgan)
    return levels, widths[-1], encoder, decoder


def _resnet(config: MethodConfig, latent: int) -> Coders:
    levels, light = _resnet_levels((config.height, config.width)), config.flag("separable")
    net = ResNet18(config.channels, config.base_width, light, pooled=levels == 5)
    encoder = nn.Sequential(ImageNetScale(config.channels), net)
    return (
        levels,
        8 * config.base_width,
        encoder,
        ResidualDecoder(latent, config.base_width, levels, config.channels, light),
    )


def _dcgan_encoder(channels: int, widths: list[int], light: bool) -> nn.Sequential:
    layers: list[nn.Module] = [Signed(), nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(SLOPE)]
    for a, b in pairwise(widths):
        plain = nn.Conv2d(a, b, 4, 2, 1, bias=False)
        layers += [DepthwiseSeparable(a, b, kernel=4, stride=2) if light else plain, BatchNorm2d(b)]
        layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers)


def _dcgan_decoder(latent: int, widths: list[int], channels: int, light: bool) -> nn.Sequential:
    """DCGAN's generator from a map; light: upsampling and a separable convolution for each transposed one."""
    top = widths[-1]
    layers: list[nn.Module] = [_conv3(latent, top, light), BatchNorm2d(top), nn.ReLU()]
    for a, b in pairwise(widths[::-1]):
        up = [nn.Upsample(scale_factor=2.0), DepthwiseSeparable(a, b)]
        layers += up if light else [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
        layers += [BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[0], channels, 4, 2, 1))


def _conv3(channels: int, out_channels: int, light: bool) -> nn.Module:
    if light:
        return DepthwiseSeparable(channels, out_channels)
    return nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)


def _dcgan_levels(size: tuple[int, int], least: int) -> int:
    """How often the sides are halved: as often as leaves `least` rows, and whole numbers."""
    levels = 1
    while all(side % 2 ** (levels + 1) == 0 for side in size) and min(size) >> (levels + 1) >= least:
        levels += 1
    return levels


def _resnet_levels(size: tuple[int, int]) -> int:
    """5 as published where that leaves ROWS rows; else 4, without the stem's pooling."""
    return 5 if all(side % 32 == 0 for side in size) and min(size) // 32 >= ROWS else 4


CODERS: dict[str, Callable[[MethodConfig, int], Coders]] = {"dcgan": _dcgan, "resnet": _resnet}
