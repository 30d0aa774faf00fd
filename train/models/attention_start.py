"""Where the attention network begins: what it learnt on drawn worlds (train.head_start) comes with the code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from train.models.attention_net import AttentionNet

FILE = Path(__file__).with_suffix(".npz")
KEPT, FRESH = 0.25, 0.6  # shares of what was learnt and of the network's own random weights


def begin(network: AttentionNet, file: Path = FILE) -> bool:
    """Mix what was learnt into the random weights of `network`; False, and nothing is changed, if it has another width.

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
    network.load_state_dict(
        {name: KEPT * value + FRESH * own[name] if value.ndim == 4 else value for name, value in fitted.items()}
    )
    return True


def _fitted(name: str, value: Tensor, own: Tensor) -> Tensor:
    value = value.to(own.dtype)
    if name == "stem.0.0.weight" and own.shape[1] == 1:
        return value.sum(1, keepdim=True)
    if name.startswith("redraw.") and value.shape == (3 * len(own), *own.shape[1:]):
        return value.reshape(3, *own.shape).mean(0)
    return value
