"""Losses of the attention network: the map, the image's verdict, what was done to it, and the redrawn normal image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from train.models.attention_net import STRIDE, Seen

DEFECT_WEIGHT = 5.0  # of a defect's cells against normal ones in the cross entropy
SMOOTH = 5.0  # cells; added to both sides of the overlap, so that images without a defect do not dominate
TOP = 8  # cells with the largest logits that make an image's verdict


@dataclass(frozen=True)
class Truth:
    """`mask` float [N, 1, H, W], 1 = defect; `known` float [N, 1, H, W], 0 where nobody marked the truth; `anomalous`
    float [N]; `kind` int64 [N, h, w] at the map's stride, 0 = none; `normal` float [N, C, H/4, W/4], the image without
    its defects, normalised; `redrawable` float [N], 0 where it is not known."""

    mask: Tensor
    known: Tensor
    anomalous: Tensor
    kind: Tensor
    normal: Tensor
    redrawable: Tensor


def losses(seen: Seen, truth: Truth) -> dict[str, Tensor]:
    """Scalars: map, coarse, image, kinds, redraw."""
    return {
        "map": _map_loss(seen.logits.float(), truth, STRIDE),
        "coarse": _map_loss(seen.coarse.float(), truth, 2 * STRIDE),
        "image": F.binary_cross_entropy_with_logits(verdict(seen.logits.float()), truth.anomalous),
        "kinds": _kinds_loss(seen.kinds.float(), truth.kind),
        "redraw": _redraw_loss(seen.redrawn.float(), truth),
    }


def verdict(logits: Tensor) -> Tensor:
    """One logit for each image: the mean of the TOP largest cells, [N]."""
    cells = logits.flatten(1)
    return cells.topk(min(TOP, cells.shape[1]), 1).values.mean(1)


def cells_of(mask: Tensor, stride: int) -> Tensor:
    """Mask [N, 1, H, W] -> [N, 1, H/stride, W/stride]: 1 where a 4x4 corner of the cell is half covered or more."""
    quarter = F.avg_pool2d(mask, 4)
    return (2 * F.max_pool2d(quarter, stride // 4)).clamp(max=1)


def _map_loss(logits: Tensor, truth: Truth, stride: int) -> Tensor:
    """Weighted cross entropy and half of one minus the overlap (Dice) over the batch."""
    target, weight = cells_of(truth.mask, stride), F.avg_pool2d(truth.known, stride)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * (1 + (DEFECT_WEIGHT - 1) * target) * weight).mean()
    found = torch.sigmoid(logits) * weight
    target = target * weight
    overlap = (2 * (found * target).sum() + SMOOTH) / ((found**2).sum() + (target**2).sum() + SMOOTH)
    return 2 * entropy + 0.5 * (1 - overlap)


def _kinds_loss(scores: Tensor, kind: Tensor) -> Tensor:
    """Cross entropy of what was done, over defective cells; 0 if there are none."""
    target = torch.where(kind > 0, kind - 1, torch.full_like(kind, -100))
    total = F.cross_entropy(scores, target, ignore_index=-100, reduction="sum")
    return total / (kind > 0).sum().clamp(min=1)


def _redraw_loss(redrawn: Tensor, truth: Truth) -> Tensor:
    error = F.smooth_l1_loss(redrawn, truth.normal, beta=0.2, reduction="none").mean((1, 2, 3))
    return (error * truth.redrawable).mean()
