"""Run a scorer over many frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from train.data import FrameSource

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """A scorer's outputs over n frames: [n], [n] and [n, h, w], float32."""

    score: Array
    masked_error: Array
    heatmap: Array


def score_frames(
    scorer: nn.Module, frames: FrameSource, device: torch.device | str = "cpu", batch_size: int = 16
) -> Scored:
    """Outputs of `scorer` over all `frames`, in order. Each image is scored as if it were alone."""
    parts: list[tuple[torch.Tensor, ...]] = []
    scorer = scorer.to(device)
    with torch.no_grad():
        for start in range(0, len(frames), batch_size):
            batch = frames.take(range(start, min(start + batch_size, len(frames)))).to(device)
            parts.append(tuple(out.detach().float().cpu() for out in scorer(batch)))
    score, error, heatmap = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return Scored(score, error, heatmap)
