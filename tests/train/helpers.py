"""Tiny methods and frames for the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from train.method import Batch, Method, MethodConfig, Minimise, Option
from train.methods import build
from train.noise import Noise


def random_frames(count: int, size: tuple[int, int] = (32, 32), channels: int = 1, seed: int = 0) -> Tensor:
    """uint8 [count, H, W, C] with large soft structures, so that networks have something to see."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    fine = torch.rand(count, channels, *size, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return ((0.85 * smooth + 0.15 * fine) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def known_frames(count: int, size: tuple[int, int] = (32, 32), channels: int = 1, seed: int = 0) -> Tensor:
    """Like random_frames, with bright stripes over the upper half: what a known anomaly looks like here."""
    frames = random_frames(count, size, channels, seed + 1000)
    frames[:, : size[0] // 2 : 2] = 255
    return frames


def tiny(name: str, size: tuple[int, int] = (32, 32), channels: int = 1, **options: Option) -> Method:
    """An untrained method of width 4."""
    torch.manual_seed(0)
    return build(name, MethodConfig(*size, channels, 4, options))


def minimiser(method: Method) -> Minimise:
    """What the loop does with a loss, without processes and precision."""
    optimisers = method.optimisers()

    def minimise(name: str, loss: Tensor) -> None:
        optimiser = optimisers[name]
        optimiser.zero_grad()
        loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
        optimiser.step()

    return minimise


def batch_of(method: Method, count: int = 8, seed: int = 0) -> Batch:
    """Normal frames, and known anomalies with half of their masks unknown."""
    size, channels = (method.config.height, method.config.width), method.config.channels
    known = known_frames(count, size, channels, seed)
    masks = torch.zeros(count, *size, dtype=torch.uint8)
    masks[:, : size[0] // 2] = 1
    masks[count // 2 :] = 255
    return Batch(random_frames(count, size, channels, seed), Noise(seed), known, masks)


def trained(
    name: str, steps: int = 6, size: tuple[int, int] = (32, 32), channels: int = 1, **options: Option
) -> Method:
    """A method after a few steps of each phase: weights and running statistics have moved."""
    method = tiny(name, size, channels, **options)
    minimise = minimiser(method)
    for phase in method.phases:
        method.networks.train()
        for index in range(steps):
            method.step(phase.name, batch_of(method, seed=index), minimise)
    method.networks.eval()
    return method
