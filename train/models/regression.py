"""CNN regression, the supervised baseline of SPADER: score = -f(x), no reconstruction."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from train.method import Batch, Explanation, MethodConfig, Minimise, Option, Phase, Scoring, adam, images_from_frames
from train.models.blocks import mean_over_processes, snapshot
from train.models.spade import PIXELS_LOW, Cam, RegressionCnn, autograd_cam, forward_cam, regression_loss
from train.scoring import Heatmap, squared_error


class MeanImage(nn.Module):
    """The mean of all normal images seen so far: what stands in for a reconstruction where there is none."""

    total: Tensor
    count: Tensor

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1, channels, *size))
        self.register_buffer("count", torch.zeros(()))

    def learn(self, x: Tensor) -> None:
        """Take images [N, C, H, W] into the mean."""
        self.total += mean_over_processes(x.detach().mean(0, keepdim=True))
        self.count += 1

    def value(self) -> Tensor:
        """[1, C, H, W]."""
        return self.total / self.count.clamp(min=1)


class RegressionScorer(nn.Module):
    """-f(x); the heatmap is where the CNN sees evidence against normal (the negative part of its CAM)."""

    mean: Tensor

    def __init__(self, net: RegressionCnn, cam: Cam, mean: Tensor) -> None:
        super().__init__()
        self.cam, self.out, self.size, self.heatmap = cam, net.out, net.size, Heatmap(net.size)
        self.register_buffer("mean", mean.detach().clone())

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame, PIXELS_LOW)
        cam, last = self.cam(x)
        f = torch.sigmoid(self.out(last.mean((2, 3))).flatten())
        against = F.interpolate(F.relu(-cam), self.size, mode="bilinear", align_corners=False)
        return -f, squared_error(x, self.mean).mean((1, 2, 3)), self.heatmap(against)

    def explain(self, frame: Tensor) -> Explanation:
        """Where it looked."""
        cam, _ = self.cam(images_from_frames(frame, PIXELS_LOW))
        return Explanation(None, F.interpolate(cam.abs(), self.size, mode="bilinear")[:, 0])


class CnnRegression:
    """The method. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {"learning_rate": 1e-3}

    def __init__(self, config: MethodConfig) -> None:
        self.config, size = config, (config.height, config.width)
        self.cnn, self.mean = RegressionCnn(config.channels, config.base_width, size), MeanImage(config.channels, size)
        self.networks = nn.ModuleDict({"cnn": self.cnn, "mean": self.mean})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("cnn"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam."""
        return {"cnn": adam(self.cnn, self.config.number("learning_rate"), 0.9)}

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """The regression."""
        x = images_from_frames(batch.frames, PIXELS_LOW)
        loss = regression_loss(self.cnn, x, batch)
        minimise("cnn", loss)
        self.mean.learn(x)
        return {"regression": float(loss.detach())}

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean squared distance of f from 1."""
        return float(((1 - torch.sigmoid(self.cnn(images_from_frames(frames, PIXELS_LOW)))) ** 2).mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        return RegressionScorer(snapshot(self.cnn), forward_cam(self.cnn), self.mean.value()).eval()

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method."""
        return RegressionScorer(snapshot(self.cnn), autograd_cam(self.cnn), self.mean.value()).eval()
