"""Where the attention network begins: what it learnt on drawn worlds (train.head_start) comes with the code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train.models.attention_net import FIRST, AttentionNet

FILE = Path(__file__).with_suffix(".npz")


def begin(network: AttentionNet, kept: float, file: Path = FILE) -> bool:
    """Mix `kept` (0..1) of what was learnt into the random weights of `network`, of which the less is left the more is
    kept: 0.3 beside 0.5. False, and nothing is changed, if it has another width.

    Learnt weights are shrunk and perturbed (Ash and Adams, NeurIPS 2020): begun with as they are, a network learns
    faster but ends worse. The file's network saw pictures in colour: one that sees grey adds up what the three colours'
    weights do, and redraws their mean.
    """
    own = network.state_dict()
    with np.load(file, allow_pickle=False) as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    fitted = {name: _fitted(name, value, own[name]) for name, value in found.items()}
    if any(value.shape != own[name].shape for name, value in fitted.items()):
        return False
    fresh = fresh_share(kept)
    mixed = {name: kept * value + fresh * own[name] if value.ndim == 4 else value for name, value in fitted.items()}
    network.load_state_dict(mixed)
    return True


def fresh_share(kept: float) -> float:
    """Share of the random weights beside `kept` of what was learnt; 0.9 - 1.2 `kept`, as both pairs that were tried."""
    return max(0.0, 0.9 - 1.2 * kept)


def _fitted(name: str, value: Tensor, own: Tensor) -> Tensor:
    value = value.to(own.dtype)
    if name == "stem.0.0.weight" and own.shape[1] == 1:
        return value.sum(1, keepdim=True)
    if name == "stem.1.0.weight":  # drawn worlds have nothing that is usual: train.models.attention_usual
        return torch.cat([value[:, :FIRST], value.new_zeros(len(value), own.shape[1] - FIRST, 3, 3)], 1)
    if name.startswith("redraw.") and value.shape == (3 * len(own), *own.shape[1:]):
        return value.reshape(3, *own.shape).mean(0)
    return value
