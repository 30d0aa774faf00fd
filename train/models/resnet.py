"""ResNet-18's convolutions (He et al., CVPR 2016) under torchvision's names, from scratch or from a local state dict.

Nothing is downloaded. torchvision's weights are for RGB; frames here are BGR or grey, so the first kernel's planes are
turned around, or summed: on a grey picture the sum is exactly what the three equal planes would have given.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge.errors import InputError
from train.models.blocks import BatchNorm2d, DepthwiseSeparable

STEM = "conv1.weight"
MEAN = (0.406, 0.456, 0.485)  # of ImageNet's pictures in 0..1, blue, green, red
DEVIATION = (0.225, 0.224, 0.229)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; plain, or (light) depth-wise separable."""

    def __init__(self, channels: int, out_channels: int, stride: int, separable: bool) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, out_channels, stride, separable)
        self.bn1 = BatchNorm2d(out_channels)
        self.conv2 = _conv3(out_channels, out_channels, 1, separable)
        self.bn2 = BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != out_channels:
            shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H / stride, W / stride]."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet18(nn.Module):
    """All of it but the last pooling and the classifier; `base_width` 64 is the original's.

    `pooled`: with the stem's max-pooling, as published, stride 32. Without it the stride is 16, the weights the same.
    """

    def __init__(self, channels: int, base_width: int, separable: bool, pooled: bool = True) -> None:
        super().__init__()
        w, self.pooled = base_width, pooled
        self.conv1 = nn.Conv2d(channels, w, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm2d(w)
        self.layer1 = _layer(w, w, 1, separable)
        self.layer2 = _layer(w, 2 * w, 2, separable)
        self.layer3 = _layer(2 * w, 4 * w, 2, separable)
        self.layer4 = _layer(4 * w, 8 * w, 2, separable)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, 8 w, H / stride, W / stride], sides divisible by the stride."""
        x = F.relu(self.bn1(self.conv1(x)))
        if self.pooled:
            x = F.max_pool2d(x, 3, 2, 1)
        out: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return out


class ImageNetScale(nn.Module):
    """Images in 0..1, BGR or grey -> what ImageNet's networks were trained on: mean 0, deviation 1."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            planes = torch.tensor(values).view(1, 3, 1, 1)
            kept = planes if channels == 3 else planes.mean(1, keepdim=True)
            self.register_buffer(name, kept, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return (x - self.mean) / self.deviation


def load_imagenet(net: ResNet18, state: Mapping[str, Tensor]) -> None:
    """Copy torchvision's ResNet-18 weights into `net`, whose pictures are BGR or grey; keys it lacks are left out.

    Raises InputError that names the first tensor that is missing or of another shape; `net` is then unchanged.
    """
    wanted = net.state_dict()
    taken: dict[str, Tensor] = {}
    for name, here in wanted.items():
        there = state.get(name)
        if there is None and name.endswith("num_batches_tracked"):  # older files have none, and nothing reads it
            there = here
        if there is None:
            raise _unfit(name, "is missing")
        if name == STEM and there.ndim == 4 and there.shape[1] == 3:
            there = there.flip(1) if here.shape[1] == 3 else there.sum(1, keepdim=True)
        if there.shape != here.shape:
            raise _unfit(name, f"is {list(there.shape)} and should be {list(here.shape)}")
        taken[name] = there
    net.load_state_dict(taken)


def _unfit(name: str, why: str) -> InputError:
    fix = "give torchvision's resnet18 state dict, --width 64, and a model that is not light"
    return InputError("these weights do not fit", f"{name} {why}", fix)


def _layer(channels: int, out_channels: int, stride: int, separable: bool) -> nn.Sequential:
    first = BasicBlock(channels, out_channels, stride, separable)
    return nn.Sequential(first, BasicBlock(out_channels, out_channels, 1, separable))


def _conv3(channels: int, out_channels: int, stride: int, separable: bool) -> nn.Module:
    if separable:
        return DepthwiseSeparable(channels, out_channels, stride=stride)
    return nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
