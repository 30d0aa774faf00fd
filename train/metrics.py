"""Figures of merit on labelled test images. Pure functions of arrays; no threshold is chosen here."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.gate import auroc
from edge.manifest import Threshold
from edge.threshold import fit_threshold, frames_per_independent

Floats = NDArray[np.float64]
FPR_LIMIT = 0.3
LEAST_DRAWN = 20


def balanced_accuracy(normal: ArrayLike, anomalous: ArrayLike, threshold: float) -> float | None:
    """Mean of the shares decided rightly among normal and anomalous images; ALARM when score > threshold."""
    low, high = np.asarray(normal, np.float64), np.asarray(anomalous, np.float64)
    if not low.size or not high.size:
        return None
    return float(((low <= threshold).mean() + (high > threshold).mean()) / 2)


def threshold_interval(scores: ArrayLike, threshold: Threshold, draws: int = 200) -> tuple[float, float] | None:
    """Where the threshold might have come to lie with other normal images: the interval of its stated confidence.

    `scores`: [n] of the held-out normal images it was fitted on, in order; they are drawn again and again, in runs as
    long as neighbours resemble each other (Kuensch, Annals of Statistics, 1989), and each draw is fitted anew. None for
    fewer than 20 scores. Always the same for the same scores.
    """
    values = np.asarray(scores, np.float64)
    if len(values) < LEAST_DRAWN:
        return None
    random, run = np.random.default_rng(0), max(1, round(frames_per_independent(values)))
    steps = np.arange(run)
    found = []
    for _ in range(draws):
        starts = random.integers(0, len(values), -(-len(values) // run))
        drawn = values[(starts[:, None] + steps).ravel()[: len(values)] % len(values)]
        found.append(fit_threshold(drawn, threshold.false_alarm_rate, in_order=True).value)
    tail = (1 - threshold.confidence) / 2
    low, high = np.quantile(found, (tail, 1 - tail))
    return float(low), float(high)


def pixel_auroc(heatmaps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]) -> float | None:
    """AUROC over all pixels of all images with a known mask (normal images: an empty one); shapes [H, W] alike."""
    if not masks:
        return None
    values, truth = np.stack(heatmaps).ravel(), np.stack(masks).ravel()
    return auroc(values[~truth], values[truth])


def intersection_over_union(
    heatmaps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]], threshold: float
) -> float | None:
    """Pixels marked rightly over pixels marked by either, over all images that have a defect; marked: > threshold."""
    with_defect = [(h > threshold, m) for h, m in zip(heatmaps, masks, strict=True) if m.any()]
    if not with_defect:
        return None
    both = sum(int((marked & mask).sum()) for marked, mask in with_defect)
    either = sum(int((marked | mask).sum()) for marked, mask in with_defect)
    return both / either


def aupro(
    heatmaps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]], limit: float = FPR_LIMIT
) -> float | None:
    """Area under the per-region overlap curve up to a false-positive rate of `limit`, divided by `limit`.

    Bergmann et al., MVTec AD (IJCV 2021): at each threshold the overlap is the mean over connected defect regions
    (8-neighbourhood) of the share of the region that is marked. Exact over all thresholds.
    """
    shares = [_region_shares(mask) for mask in masks]
    regions = sum(count for _, count in shares)
    if regions == 0:
        return None
    values = np.concatenate([h.ravel() for h in heatmaps]).astype(np.float64)
    truth = np.concatenate([m.ravel() for m in masks])
    gain = np.concatenate([share.ravel() for share, _ in shares]) / regions
    if truth.all():
        return None
    rate, overlap = _curve(values, ~truth / (~truth).sum(), gain)
    return _area_up_to(rate, overlap, limit) / limit


def _region_shares(mask: NDArray[np.bool_]) -> tuple[Floats, int]:
    """Per pixel 1 / size of its defect region, 0 outside; and the number of regions."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    weight = np.zeros(count)
    weight[1:] = 1 / sizes[1:]
    return np.asarray(weight[labels], np.float64), count - 1


def _curve(values: Floats, false_weight: Floats, true_weight: Floats) -> tuple[Floats, Floats]:
    """(false-positive rate, overlap) as the threshold falls past each distinct value, from (0, 0)."""
    order = np.argsort(-values, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(values[order])), len(values) - 1]
    rate, overlap = np.cumsum(false_weight[order])[ends], np.cumsum(true_weight[order])[ends]
    return np.r_[0.0, rate], np.r_[0.0, overlap]


def _area_up_to(x: Floats, y: Floats, limit: float) -> float:
    kept = x <= limit
    at_limit = float(np.interp(limit, x, y))
    xs, ys = np.r_[x[kept], limit], np.r_[y[kept], at_limit]
    return float(np.sum((xs[1:] - xs[:-1]) * (ys[1:] + ys[:-1]) / 2))
