"""What a method is: the contract between the training loop, the checkpoint, evaluation and export.

A method owns its networks and knows its losses; the loop owns data order, devices, optimiser steps, time and files.
Nothing here inherits: a method is any class that looks like `Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from train.noise import Noise

Option = float | int | str | bool
Minimise = Callable[[str, Tensor], None]
Scoring = tuple[Tensor, Tensor, Tensor]  # score [N], masked_error [N], heatmap [N, h, w]

UNKNOWN = 255  # mask value of a pixel whose truth nobody marked


@dataclass(frozen=True)
class MethodConfig:
    """What a network is built from; plain values only, stored in the checkpoint and in the bundle's manifest.

    `height`, `width` in pixels, multiples of 16 unless the method says otherwise; `channels` 1 (grey) or 3 (BGR);
    `base_width` the channels of the first layer (64 = the papers); `options` the method's own settings, complete;
    `faced`, whether round parts were turned until they show their face alike (edge.face).
    """

    height: int
    width: int
    channels: int
    base_width: int
    options: Mapping[str, Option] = field(default_factory=dict)
    faced: bool = False

    def number(self, name: str) -> float:
        """Option `name` as a float."""
        return float(self.options[name])

    def flag(self, name: str) -> bool:
        """Option `name` as a bool."""
        return bool(self.options[name])


@dataclass(frozen=True)
class Batch:
    """One step's images, on the training device.

    `frames`: uint8 [N, H, W, C], normal. `known`: uint8 [N, H, W, C], known anomalies drawn anew for each step, as many
    as normals, so that the classes are balanced; None if the run has none. `known_masks`: uint8 [N, H, W] with
    0 normal, 1 anomalous, UNKNOWN where no mask was given. `noise`: random numbers of this step, the same ones however
    many processes share the step. `progress`: share of this phase's epochs or minutes that is over, 0..1.
    """

    frames: Tensor
    noise: Noise
    known: Tensor | None = None
    known_masks: Tensor | None = None
    progress: float = 0.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own step: networks trained one after the other are phases.

    `share` of the epochs or minutes, relative to the other phases. One that only `looks` at the images learns nothing
    by seeing them twice: where epochs are counted, it takes one of its own beside those that were asked for.
    """

    name: str
    share: float = 1.0
    looks: bool = False


@dataclass(frozen=True)
class Explanation:
    """What lies behind a score: uint8 [N, H, W, C] as the network redrew it, float [N, H, W] >= 0 where it looked."""

    reconstruction: Tensor | None
    attention: Tensor | None


class Method(Protocol):
    """One way to learn what normal looks like. `__init__` takes a MethodConfig whose options are complete.

    The class also has `OPTIONS: dict[str, Option]`, a literal of all its options with their defaults.
    """

    config: MethodConfig
    networks: nn.ModuleDict  # everything that is saved; the loop moves it to the device and sets train or eval mode

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases in the order in which they are trained."""
        ...

    def optimisers(self) -> dict[str, Optimizer]:
        """New optimisers by name, for all phases. Called once, after `networks` was moved to its device."""
        ...

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """One training step; returns the losses by name.

        `minimise(name, loss)` takes one step of optimiser `name`: gradients of the scalar `loss` with respect to that
        optimiser's parameters only, averaged over processes. Losses must be means over the batch.
        """
        ...

    def validate(self, phase: str, frames: Tensor) -> float:
        """A figure of merit on held-out normal frames, uint8 [N, H, W, C]; lower is better, a mean over frames.

        Called in eval mode without gradients. It stops nothing and chooses nothing by itself; it is logged.
        """
        ...

    def scorer(self) -> nn.Module:
        """The scoring graph, an eval-mode module: `forward(frame: uint8 [N, H, W, C]) -> Scoring`.

        Scoring is (score [N], masked_error [N], heatmap [N, h, w]), float32. Shapes static, no control flow on values,
        no random numbers, no autograd, each image independent of its neighbours. A snapshot: training on leaves it as
        it is. For reports in torch it also has `explain(frame) -> Explanation`, which is not exported.
        """
        ...

    def reference_scorer(self) -> nn.Module:
        """The same numbers the slow, obvious way: torch.autograd Grad-CAM, grouped convolutions. For parity checks."""
        ...


def images_from_frames(frames: Tensor, low: float = -1.0) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W], 0..255 mapped linearly to `low`..1 (low is -1 or 0)."""
    planes = frames.permute(0, 3, 1, 2).to(torch.float32)
    return planes * ((1.0 - low) / 255.0) + low


def frames_from_images(images: Tensor, low: float = -1.0) -> Tensor:
    """The way back, for pictures in reports: clipped and rounded to uint8 [N, H, W, C]."""
    grey = (images - low) * (255.0 / (1.0 - low))
    return grey.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def adam(module: nn.Module, learning_rate: float, beta1: float = 0.5) -> torch.optim.Adam:
    """Adam with the GAN papers' second beta of 0.999."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(beta1, 0.999))
