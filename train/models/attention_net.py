"""The attention network: a light residual U-Net that says where an image is not normal, and redraws it as normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.augment.normal import WHOLE, Part
from train.models.attention_usual import shown
from train.models.blocks import BatchNorm2d

STRIDE = 8  # image pixels per cell of the attention map, along each axis
MULTIPLE = 32  # the image's sides are multiples of it
FAINT = 0.02  # deviation, of -1..1, of a picture that is nearly blank: its noise is not blown up
FIRST = 8  # channels at stride 2; two small convolutions see a hair line that one large one blurs
RARE = -3.0  # the attention logits' first bias: defects are rare


@dataclass(frozen=True)
class Seen:
    """What the network makes of images [N, C, H, W].

    `logits` [N, 1, H/8, W/8] and `coarse` [N, 1, H/16, W/16], positive where anomalous; `kinds` [N, K, H/8, W/8], class
    scores of what was done to the image; `redrawn` [N, C, H/4, W/4], the normal image, normalised like the input;
    `middle` [N, 4w, H/16, W/16] and `deep` [N, 4w, H/32, W/32], features that describe a place and its surroundings.
    """

    logits: Tensor
    coarse: Tensor
    kinds: Tensor
    redrawn: Tensor
    middle: Tensor
    deep: Tensor


class AttentionNet(nn.Module):
    """Widths w, 2w, 4w, 4w at strides 4, 8, 16, 32, back up to stride 8 by sums; plain convolutions.

    Beside the picture it sees by how much each place is not as usual (train.models.attention_usual).
    """

    place: Tensor

    def __init__(self, channels: int, base_width: int, size: tuple[int, int], kinds: int) -> None:
        super().__init__()
        w = base_width
        self.stem = nn.Sequential(_conv(channels, FIRST, stride=2), _conv(FIRST + channels, w, stride=2))
        self.fine = _conv(w, w)
        self.level8 = nn.Sequential(Residual(w + 2, 2 * w, 2), Residual(2 * w, 2 * w))
        self.level16 = nn.Sequential(Residual(2 * w, 4 * w, 2), Residual(4 * w, 4 * w))
        self.level32 = nn.Sequential(Residual(4 * w, 4 * w, 2), Residual(4 * w, 4 * w))
        self.side16, self.up16 = nn.Conv2d(4 * w, 4 * w, 1), _conv(4 * w, 4 * w)
        self.narrow, self.side8 = nn.Conv2d(4 * w, 2 * w, 1), nn.Conv2d(2 * w, 2 * w, 1)
        self.up8 = nn.Sequential(_conv(2 * w, 2 * w), _conv(2 * w, 2 * w))
        self.attention, self.coarse = nn.Conv2d(2 * w, 1, 1), nn.Conv2d(4 * w, 1, 1)
        self.kinds, self.redraw = nn.Conv2d(2 * w, kinds, 1), nn.Conv2d(2 * w, 4 * channels, 1)
        for head in (self.attention, self.coarse):
            nn.init.constant_(head.bias, RARE)  # type: ignore[arg-type]
        self.register_buffer("place", _place(size[0] // 4, size[1] // 4), persistent=False)

    def forward(self, x: Tensor, odd: Tensor, parts: Sequence[Part] = (WHOLE,)) -> Seen:
        """[N, C, h, w] from `normalised` and [N, C, h/2, w/2] from `Usual` -> Seen. `parts`: what each x is of its
        picture, or one for all."""
        x = self.stem[1](torch.cat([self.stem[0](x), odd], 1))
        x = x + self.fine(x)
        place = shown(self.place, parts, 4).to(x.dtype).expand(x.shape[0], -1, -1, -1)
        level8 = self.level8(torch.cat([x, place], 1))
        level16 = self.level16(level8)
        deep = self.level32(level16)
        middle = self.up16(_doubled(deep) + self.side16(level16))
        fine = self.up8(_doubled(self.narrow(middle)) + self.side8(level8))
        redrawn = F.pixel_shuffle(self.redraw(fine), 2)
        return Seen(self.attention(fine), self.coarse(middle), self.kinds(fine), redrawn, middle, deep)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; ReLU after the sum."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _conv(channels, out_channels, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), BatchNorm2d(out_channels)
        )
        self.shortcut: nn.Identity | nn.Sequential = nn.Identity()
        if stride > 1 or channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False), BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H/stride, W/stride]."""
        return F.relu(self.second(self.first(x)) + self._beside(x), inplace=True)

    def _beside(self, x: Tensor) -> Tensor:
        """The shortcut. In training the pixels that a stride leaves out are left out first, which is the same.

        For less than 16 input channels, an odd batch and two threads, torch 2.13's gradient of a 1x1 convolution with
        stride 2 in channels-last memory writes past its end, in float32 as in bfloat16.
        """
        if not self.training or isinstance(self.shortcut, nn.Identity):
            return self.shortcut(x)  # type: ignore[no-any-return]
        conv, norm = self.shortcut
        assert isinstance(conv, nn.Conv2d)
        rows, columns = conv.stride
        thinned: Tensor = norm(F.conv2d(x[:, :, ::rows, ::columns], conv.weight))
        return thinned


def light_of(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each channel [N, C, 1, 1] and deviation over all channels and pixels [N, 1, 1, 1], at least FAINT.

    Small blocks first, then their means: an engine that adds 65536 numbers one after the other loses two digits, and
    all that follows hangs on these two numbers.
    """
    mean = _blocks(images).mean((2, 3), keepdim=True)
    return mean, (_blocks((images - mean) ** 2).mean((1, 2, 3), keepdim=True) + FAINT**2).sqrt()


def _blocks(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, STRIDE)


def normalised(images: Tensor, light: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """[N, C, H, W] in -1..1, minus each channel's mean, over the picture's deviation; or by another picture's `light`.

    So neither the scores nor the threshold hang on how bright, how tinted or how harsh the light is.
    """
    mean, deviation = light or light_of(images)
    return (images - mean) / deviation


def _conv(channels: int, out_channels: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out_channels, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _place(height: int, width: int) -> Tensor:
    """Where a cell lies, [1, 2, height, width] in -1..1: parts in a fixture look the same at the same place."""
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width)[None].expand(height, width)
    return torch.stack([y, x])[None]
