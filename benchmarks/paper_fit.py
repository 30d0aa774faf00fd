"""Train a method on pictures in memory, as edge-train does it on a folder, but faster on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from train.data import ArrayFrames, Known
from train.loop import Loop, Plan
from train.method import Method
from train.processes import open_fabric


def fit(method: Method, images: NDArray[np.uint8], known: Known | None, plan: Plan, device: str) -> None:
    """Train `method` on images uint8 [n, H, W, C], of which the first tenth is held out and only looked at.

    Afterwards its networks are on the CPU and in eval mode.
    """
    method.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    held = max(2, len(images) // 10)
    frames = ArrayFrames(images[held:]), ArrayFrames(images[:held]), known
    Loop(method, plan, frames, fabric_of(device), lambda loop: None).run()
    method.networks.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    method.networks.cpu().eval()


def fabric_of(device: str) -> Fabric:
    """As edge-train's, but mixed precision on processors that have it as well: with channels last, twice as fast."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return open_fabric(device, "bf16")
    return open_fabric(device)
