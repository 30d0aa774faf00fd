"""Building blocks shared by the models, each as its paper has it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose training statistics cover the batch of all processes (on CPU as well as on GPU).

    torch's SyncBatchNorm needs a GPU; without it, two processes of 32 images would not train like one of 64.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        if self.training and _world() > 1:
            return self._over_processes(input)
        return super().forward(input)

    def _over_processes(self, x: Tensor) -> Tensor:
        count = x.numel() // x.shape[1] * _world()
        mean = _sum_over_processes(x.sum((0, 2, 3))) / count
        centred = x - mean[None, :, None, None]
        variance = _sum_over_processes((centred * centred).sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scaled: Tensor = centred * torch.rsqrt(variance + self.eps)[None, :, None, None]
        return scaled * self.weight[None, :, None, None] + self.bias[None, :, None, None]

    def _remember(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        momentum = 0.1 if self.momentum is None else self.momentum
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


class ConvBlock(nn.Module):
    """Convolution, batch norm (optional), leaky ReLU (`slope` 0: ReLU): the unit that Grad-CAM can walk through."""

    def __init__(self, conv: nn.Conv2d, norm: bool, slope: float) -> None:
        super().__init__()
        self.conv, self.slope = conv, slope
        self.norm = BatchNorm2d(conv.out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, h, w]."""
        return F.leaky_relu(self.norm(self.conv(x)), self.slope)

    def norm_scale(self) -> Tensor:
        """d(norm output)/d(norm input) in eval mode, [O]."""
        if not isinstance(self.norm, nn.BatchNorm2d):
            return torch.ones(self.conv.out_channels, device=self.conv.weight.device)
        assert self.norm.running_var is not None
        return self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)


class DepthwiseSeparable(nn.Module):
    """Depth-wise 3x3 with a multiplier, then 1x1, both with bias, nothing between (SmaAt-UNet, kernels_per_layer 2).

    With `kernel` 4 and `stride` 2 it halves even sides, as DCGAN's convolutions do.
    """

    def __init__(self, channels: int, out_channels: int, multiplier: int = 2, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels * multiplier, kernel, stride, 1, groups=channels)
        self.pointwise = nn.Conv2d(channels * multiplier, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H / stride, W / stride]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class DuplicatedDepthwise(nn.Module):
    """The same function as a DepthwiseSeparable, from copies of its weights, without a channel multiplier.

    Engines run a grouped convolution with a multiplier on a path an order of magnitude slower than multiplier 1. So
    the input is repeated, and the weights are reordered: the grouped form's output c*m+j becomes j*C+c.
    """

    def __init__(self, source: DepthwiseSeparable) -> None:
        super().__init__()
        old = source.depthwise
        channels, wide = old.in_channels, old.out_channels
        self.times = wide // channels
        order = torch.arange(wide).view(channels, self.times).T.flatten()
        self.depthwise = nn.Conv2d(wide, wide, old.kernel_size, old.stride, 1, groups=wide)  # type: ignore[arg-type]
        self.pointwise = nn.Conv2d(wide, source.pointwise.out_channels, 1)
        self.depthwise.load_state_dict({k: v[order] for k, v in old.state_dict().items()})
        weight, bias = source.pointwise.weight[:, order], source.pointwise.bias
        self.pointwise.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        """As the source."""
        out: Tensor = self.pointwise(self.depthwise(torch.cat([x] * self.times, 1)))
        return out


class DoubleConv(nn.Module):
    """Two 3x3 convolutions (separable or plain, with bias), each followed by batch norm and ReLU."""

    def __init__(self, channels: int, middle: int, out_channels: int, separable: bool) -> None:
        super().__init__()
        self.first, self.second = _conv3(channels, middle, separable), _conv3(middle, out_channels, separable)
        self.norm1, self.norm2 = BatchNorm2d(middle), BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H, W]."""
        return F.relu(self.norm2(self.second(F.relu(self.norm1(self.first(x))))))


class Cbam(nn.Module):
    """Convolutional block attention (Woo et al.): channel attention by a shared MLP, then spatial by a 7x7 conv."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape, each value scaled by two attentions in 0..1."""
        channel = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        x = x * channel[:, :, None, None]
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        out: Tensor = x * torch.sigmoid(self.norm(self.spatial(pooled)))
        return out


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of every process's `x`; `x` itself where there is one. Not for tensors with a gradient."""
    return _summed(x) / _world() if _world() > 1 else x


def snapshot(module: M) -> M:
    """A frozen copy in eval mode with the same weights and the same graph."""
    return copy.deepcopy(module).eval().requires_grad_(False)


def exportable(module: M) -> M:
    """A snapshot in which every depth-wise multiplier is written as channel duplication; exact."""
    copied = snapshot(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DepthwiseSeparable):
                setattr(parent, name, DuplicatedDepthwise(child).eval().requires_grad_(False))
    return copied


def init_dcgan(module: nn.Module) -> None:
    """DCGAN's start: convolutions N(0, 0.02), batch norm scale N(1, 0.02), biases 0. Use with `module.apply`."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _conv3(channels: int, out_channels: int, separable: bool) -> nn.Module:
    if separable:
        return DepthwiseSeparable(channels, out_channels)
    return nn.Conv2d(channels, out_channels, 3, padding=1)


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(x: Tensor) -> Tensor:
    total = x.clone()
    dist.all_reduce(total)
    return total


def accumulate(sums: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Add each part, summed over all processes, to the buffer that it stands beside: (buffer, part)."""
    for buffer, part in sums:
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(part)
        buffer += part
