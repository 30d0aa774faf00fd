"""What the GANs' training steps share: the discriminator's loss, the weighted sum of the generator's, one Adam each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from train.method import MethodConfig, adam


def believed(logit: Tensor) -> Tensor:
    """-log D, the mean over the batch: small where the discriminator takes all for real."""
    return F.softplus(-logit).mean()


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)) from logits, means over the batch: what a discriminator minimises."""
    return believed(real) + F.softplus(fake).mean()


def weighted_sum(losses: Mapping[str, Tensor], config: MethodConfig) -> Tensor:
    """Each loss times the option of its name."""
    return torch.stack([config.number(name) * value for name, value in losses.items()]).sum()


def numbers(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """The losses as Method.step returns them."""
    return {name: float(value.detach()) for name, value in losses.items()}


def adam_for_each(networks: Mapping[str, nn.Module] | nn.ModuleDict, config: MethodConfig) -> dict[str, Optimizer]:
    """Adam for each network, at the option learning_rate."""
    return {name: adam(network, config.number("learning_rate")) for name, network in networks.items()}
