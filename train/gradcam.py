"""Grad-CAM as forward operators, and the same by torch.autograd.

Selvaraju et al., "Grad-CAM", eq. 1-2: alpha_k = mean_ij dy/dA^k_ij, map = f(sum_k alpha_k A^k). y is a logit, never a
probability. The factor 1/Z of the mean is left out: every use below divides it away again, and alpha stays in the
range of half precision.

A trunk is a list of ConvBlock (convolution, batch norm in eval mode, leaky ReLU) and the logit is linear in the trunk's
last map: logit = sum(head * last) + bias. Then the gradient at an inner map is a forward graph, and since only its
*spatial sum* is wanted, the lowest convolution's transpose shrinks to a few sums of the gradient above it: of the
positions y for which tap u of the kernel lies inside the picture there are only some distinct sets (three for 4x4,
stride 2, padding 1, hence nine in two dimensions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.blocks import ConvBlock

EPSILON = 1e-6  # a map whose peak is below this is taken as all zero


class ForwardCam(nn.Module):
    """Trunk and Grad-CAM in one forward pass, without autograd.

    `layer` is the index of the block whose output is A; `head` float [C, h, w]; `size` the input's (height, width).
    `forward(x [N, C, H, W]) -> (cam [N, 1, ha, wa], last [N, C, h, w])`; cam is signed: apply relu or abs.
    """

    head: Tensor
    sums: Tensor
    weight: Tensor

    def __init__(self, blocks: Sequence[ConvBlock], layer: int, head: Tensor, size: tuple[int, int]) -> None:
        super().__init__()
        self.blocks, self.layer = nn.ModuleList(blocks), layer
        self.slopes = [block.slope for block in blocks]
        self.register_buffer("head", head.detach()[None].clone())
        sizes = sizes_of(blocks, size)
        if layer + 1 < len(blocks):
            sums, weight = _summed_weight(blocks[layer + 1].conv, sizes[layer], sizes[layer + 1])
            self.register_buffer("sums", sums)
            self.register_buffer("weight", weight)
        for index, block in enumerate(blocks[:-1]):
            self.register_buffer(f"scale{index}", block.norm_scale().detach()[None, :, None, None].clone())
        # What the head's gradient is below the last batch norm, where that block's output is positive and where not.
        steep = self.head * blocks[-1].norm_scale().detach()[None, :, None, None]
        self.register_buffer("steep", steep)
        self.register_buffer("flat", blocks[-1].slope * steep)
        self._grow = [_output_padding(block.conv, before, after) for block, before, after in _steps(blocks, size)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        maps = trunk_maps(self.blocks, x)
        alpha = self._alpha(maps)
        chosen = maps[self.layer]
        cam = torch.matmul(alpha.unsqueeze(1), chosen.flatten(2))
        return cam.view(chosen.shape[0], 1, chosen.shape[2], chosen.shape[3]), maps[-1]

    def _alpha(self, maps: list[Tensor]) -> Tensor:
        """Spatial sums of the gradient at the chosen map, [N, K]."""
        if self.layer + 1 == len(maps):
            return self.head.sum((2, 3)).expand(maps[-1].shape[0], -1)
        gradient = torch.where(maps[-1] > 0, self.get_buffer("steep"), self.get_buffer("flat"))
        for index in range(len(maps) - 2, self.layer, -1):
            gradient = self._through(index + 1, gradient)
            gradient = torch.where(maps[index] > 0, gradient, self.slopes[index] * gradient)
            gradient = gradient * self.get_buffer(f"scale{index}")
        return torch.matmul(torch.matmul(gradient.flatten(2), self.sums).flatten(1), self.weight)

    def _through(self, index: int, gradient: Tensor) -> Tensor:
        conv = cast(ConvBlock, self.blocks[index]).conv
        return F.conv_transpose2d(
            gradient,
            conv.weight,
            stride=conv.stride,
            padding=conv.padding,  # type: ignore[arg-type]
            output_padding=self._grow[index],
        )


class AutogradCam(nn.Module):
    """The same face and numbers as ForwardCam by torch.autograd; `logit(last) -> [N]` is the head itself."""

    def __init__(self, blocks: Sequence[ConvBlock], layer: int, logit: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.blocks, self.layer, self.logit = nn.ModuleList(blocks), layer, logit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See ForwardCam."""
        with torch.enable_grad():
            maps = trunk_maps(self.blocks, x.detach().requires_grad_())
            (gradient,) = torch.autograd.grad(self.logit(maps[-1]).sum(), maps[self.layer])
        alpha = gradient.sum((2, 3), keepdim=True)
        return (alpha * maps[self.layer].detach()).sum(1, keepdim=True), maps[-1].detach()


def normalised(cam: Tensor) -> Tensor:
    """A non-negative map [N, 1, h, w] divided by its own peak, per image; a zero map stays zero."""
    peak = cam.amax((1, 2, 3), keepdim=True)
    return torch.where(peak > EPSILON, cam / peak.clamp(min=EPSILON), torch.zeros_like(cam))


def mask_from_cam(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample a non-negative map to `size`, bilinear; where it is all zero the mask is uniformly 1, per image."""
    mask = F.interpolate(cam, size, mode="bilinear", align_corners=False)
    return torch.where(cam.amax((1, 2, 3), keepdim=True) > EPSILON, mask, torch.ones_like(mask))


def trunk_maps(blocks: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The output of every block, in order."""
    maps = []
    for block in blocks:
        x = block(x)
        maps.append(x)
    return maps


def sizes_of(blocks: Sequence[ConvBlock], size: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) of every block's output for an input of `size`."""
    return [after for _, _, after in _steps(blocks, size)]


def layer_near(blocks: Sequence[ConvBlock], size: tuple[int, int], least: int) -> int:
    """The deepest block whose map still has at least `least` rows (the first block if none has)."""
    rows = [height for height, _ in sizes_of(blocks, size)]
    return max((i for i, height in enumerate(rows) if height >= least), default=0)


def _steps(
    blocks: Sequence[ConvBlock], size: tuple[int, int]
) -> list[tuple[ConvBlock, tuple[int, int], tuple[int, int]]]:
    steps = []
    for block in blocks:
        after = (_after(block.conv, size[0], 0), _after(block.conv, size[1], 1))
        steps.append((block, size, after))
        size = after
    return steps


def _after(conv: nn.Conv2d, length: int, axis: int) -> int:
    return (length + 2 * int(conv.padding[axis]) - conv.kernel_size[axis]) // conv.stride[axis] + 1


def _output_padding(conv: nn.Conv2d, before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    """What a transposed convolution must add so that `after` becomes `before` again."""
    plain = [
        (after[axis] - 1) * conv.stride[axis] - 2 * int(conv.padding[axis]) + conv.kernel_size[axis] for axis in (0, 1)
    ]
    return before[0] - plain[0], before[1] - plain[1]


def _summed_weight(conv: nn.Conv2d, before: tuple[int, int], after: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(sums [h*w, s], weight [O*s, K]) such that alpha = (g.flatten(2) @ sums).flatten(1) @ weight, g [N, O, h, w]."""
    rows, row_of_tap = _distinct_sums(conv, before[0], after[0], 0)
    columns, column_of_tap = _distinct_sums(conv, before[1], after[1], 1)
    weight = torch.einsum("okuv,ru,cv->orck", conv.weight.detach().double(), row_of_tap, column_of_tap)
    return torch.einsum("ry,cx->yxrc", rows, columns).flatten(2).flatten(0, 1).float(), weight.flatten(0, 2).float()


def _distinct_sums(conv: nn.Conv2d, before: int, after: int, axis: int) -> tuple[Tensor, Tensor]:
    """The distinct sets of output positions over the taps: (sets [r, after], which tap uses which [r, taps])."""
    tap = torch.arange(conv.kernel_size[axis])[:, None]
    touched = torch.arange(after)[None] * conv.stride[axis] - int(conv.padding[axis]) + tap
    inside = ((touched >= 0) & (touched < before)).double()
    sets, index = torch.unique(inside, dim=0, return_inverse=True)
    return sets, F.one_hot(index, len(sets)).T.double()
