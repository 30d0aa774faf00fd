"""The decision gate: do two graphs of one model decide alike on the same frames? Pure numpy.

Tensors that differ a little are no harm; a part that changes side is. So the gate counts decisions, each graph judged
by its own threshold, and asks whether order (rank correlation, AUROC) and place (heatmap) survived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.errors import InputError
from edge.manifest import GateResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GateLimits:
    """What a variant may lose against fp32.

    `flipped`: largest fraction of frames whose decision may change. `auroc_drop`: largest loss of image AUROC (judged
    where labels are known). `rank_correlation` (Spearman) and `heatmap_iou` (mean over frames): smallest allowed.
    """

    flipped: float = 0.005
    auroc_drop: float = 0.005
    rank_correlation: float = 0.9
    heatmap_iou: float = 0.5


@dataclass(frozen=True)
class Decided:
    """What one graph said of the frames. `scores` [n]; `heatmaps` [n, h, w]; ALARM when score > `threshold`."""

    scores: ArrayLike
    heatmaps: ArrayLike
    threshold: float


def judge(
    reference: Decided,
    variant: Decided,
    limits: GateLimits | None = None,
    labels: Sequence[bool | None] | None = None,
) -> GateResult:
    """Compare `variant` with `reference` (fp32) on the same n >= 2 frames, in the same order.

    `labels` [n]: true for anomalous, false for normal, None for frames that do not count for the AUROC; all may be
    absent. `score_shift_median` is the median of the change of
    score in interquartile ranges of the reference. Heatmaps are compared where each is among its highest 5 %.
    Raises InputError if shapes differ; outputs of `variant` that are not finite never pass.
    """
    limits = limits or GateLimits()
    before, after = _scores(reference), _scores(variant)
    if before.shape != after.shape or before.size < 2:
        raise InputError(
            "cannot compare two graphs", f"{before.size} and {after.size} frames", "give the same two or more frames"
        )
    flipped = int(np.count_nonzero((before > reference.threshold) != (after > variant.threshold)))
    finite = bool(np.isfinite(after).all() and np.isfinite(variant.heatmaps).all())
    known = np.array([label is not None for label in labels or [None] * before.size])
    truth = np.array([label for label in labels or () if label is not None], bool)
    areas = [auroc(scores[known][~truth], scores[known][truth]) if finite else None for scores in (before, after)]
    result = GateResult(
        frames=before.size,
        flipped=flipped,
        flipped_fraction=flipped / before.size,
        score_shift_median=_shift(before, after),
        rank_correlation=rank_correlation(before, after) if finite else 0.0,
        heatmap_iou=heatmap_iou(reference.heatmaps, variant.heatmaps) if finite else 0.0,
        auroc_fp32=areas[0],
        auroc=areas[1],
        limits=asdict(limits),
        passed=False,
    )
    return result.model_copy(update={"passed": finite and not failures(result)})


def failures(result: GateResult) -> tuple[str, ...]:
    """One sentence for each limit that `result` breaks, with what was found and what is allowed."""
    limits = GateLimits(**result.limits)
    found = []
    if result.flipped_fraction > limits.flipped:
        found.append(f"{result.flipped} of {result.frames} decisions moved, allowed {limits.flipped:.2%}")
    if result.auroc_fp32 is not None and result.auroc is not None:
        drop = result.auroc_fp32 - result.auroc
        if drop > limits.auroc_drop:
            found.append(f"AUROC fell by {drop:.4f}, allowed {limits.auroc_drop}")
    if result.rank_correlation < limits.rank_correlation:
        found.append(f"score order correlates {result.rank_correlation:.3f}, wanted {limits.rank_correlation}")
    if result.heatmap_iou < limits.heatmap_iou:
        found.append(f"heatmaps overlap {result.heatmap_iou:.3f}, wanted {limits.heatmap_iou}")
    return tuple(found)


def auroc(normal: ArrayLike, anomalous: ArrayLike) -> float | None:
    """Probability that an anomalous value is above a normal one (ties count half); None if either is missing.

    By ranks (Mann and Whitney), which for the pixels of a test set takes a tenth of a curve's time.
    """
    low, high = np.sort(np.asarray(normal), axis=None), np.asarray(anomalous).ravel()
    if not low.size or not high.size:
        return None
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.mean() / 2 / low.size)


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's correlation of [n] and [n], ties at their mean rank; equal constants give 1, one constant gives 0."""
    first, second = _mean_ranks(np.asarray(a, np.float64)), _mean_ranks(np.asarray(b, np.float64))
    first, second = first - first.mean(), second - second.mean()
    power = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if power == 0.0:
        return float(bool((first == second).all()))
    return float((first * second).sum()) / power


def heatmap_iou(a: ArrayLike, b: ArrayLike, share: float = 0.05) -> float:
    """Mean over frames of intersection over union of the highest `share` of pixels of each map; [n, h, w] each.

    Two constant maps agree (1). Raises InputError if the shapes differ.
    """
    first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if first.shape != second.shape or first.ndim != 3:
        raise InputError(
            "cannot compare heatmaps", f"shapes {first.shape} and {second.shape}", "give [n, h, w] of the same model"
        )
    return float(np.mean([_iou(_highest(x, share), _highest(y, share)) for x, y in zip(first, second, strict=True)]))


def _scores(decided: Decided) -> Floats:
    return np.asarray(decided.scores, np.float64).reshape(-1)


def _shift(before: Floats, after: Floats) -> float:
    low, high = np.quantile(before, (0.25, 0.75))
    shift = float(np.median(after - before))
    return shift / float(high - low) if high > low else shift


def _mean_ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[where.reshape(-1)], np.float64)


def _highest(heatmap: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    return np.asarray(heatmap > np.quantile(heatmap, 1.0 - share))


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
