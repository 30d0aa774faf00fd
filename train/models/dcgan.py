"""The DCGAN-style discriminator that skip-GANomaly and SAGAN share, and its Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from train.gradcam import AutogradCam, ForwardCam, sizes_of
from train.models.blocks import ConvBlock, exportable, snapshot

SLOPE = 0.2


def cam_layer(blocks: Sequence[ConvBlock]) -> int:
    """Index of the block whose map the attention is taken from: the last but one, 8 to 15 cells along the shorter side.

    One convolution lies above it, and of that one's gradient only sums are wanted (train.gradcam).
    """
    return max(len(blocks) - 2, 0)


def strided_trunk(channels: int, base_width: int, size: tuple[int, int]) -> list[ConvBlock]:
    """conv4x4/2 blocks, widths doubling, until the shorter side is 4..7; no biases, no norm in the first."""
    blocks, width = [ConvBlock(nn.Conv2d(channels, base_width, 4, 2, 1, bias=False), False, SLOPE)], base_width
    while min(sizes_of(blocks, size)[-1]) >= 8:
        blocks.append(ConvBlock(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), True, SLOPE))
        width *= 2
    return blocks


class FeatureDiscriminator(nn.Module):
    """Trunk, then a convolution over what is left to `features` numbers (no activation), then a 3x3 to the logit.

    The 3x3 classifier sees a 1x1 map, so only its centre counts; it is kept as it was published, idle weights and all.
    """

    def __init__(self, channels: int, base_width: int, size: tuple[int, int], features: int = 100) -> None:
        super().__init__()
        blocks = strided_trunk(channels, base_width, size)
        rest = sizes_of(blocks, size)[-1]
        self.size, self.trunk = size, nn.ModuleList(blocks)
        self.feature = nn.Conv2d(blocks[-1].conv.out_channels, features, rest, bias=False)
        self.classifier = nn.Conv2d(features, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] -> (logit [N], feature [N, features])."""
        for block in self.trunk:
            x = block(x)
        feature = self.feature(x)
        return self.classifier(feature).flatten(), feature.flatten(1)

    def feature_of(self, last: Tensor) -> Tensor:
        """The feature [N, features] from the trunk's last map."""
        out: Tensor = self.feature(last).flatten(1)
        return out

    def logit_of(self, last: Tensor) -> Tensor:
        """The logit [N] from the trunk's last map."""
        out: Tensor = self.classifier(self.feature(last)).flatten()
        return out

    def head(self) -> Tensor:
        """[C, h, w] with logit = sum(head * last)."""
        centre = self.classifier.weight[0, :, 1, 1]
        return torch.einsum("z,zchw->chw", centre, self.feature.weight)


def forward_cam(net: FeatureDiscriminator) -> ForwardCam:
    """Grad-CAM of the logit without autograd, from a copy of `net`."""
    copied = exportable(net)
    blocks = trunk_of(copied)
    return ForwardCam(blocks, cam_layer(blocks), copied.head(), net.size)


def autograd_cam(net: FeatureDiscriminator) -> AutogradCam:
    """The same by torch.autograd."""
    copied = snapshot(net)
    blocks = trunk_of(copied)
    return AutogradCam(blocks, cam_layer(blocks), copied.logit_of)


def trunk_of(net: FeatureDiscriminator) -> Sequence[ConvBlock]:
    """The trunk's blocks with their type."""
    return [cast(ConvBlock, block) for block in net.trunk]
