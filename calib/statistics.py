"""What is remembered of a tensor's values over all frames, and the range that each method draws from it.

Ranges: min-max; percentile; entropy (the threshold whose 128-level rounding loses least information, Kullback-Leibler,
as Migacz described for TensorRT, GTC 2017); MSE (the clip that makes the expected squared rounding error smallest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal["entropy", "percentile", "minmax", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

BINS = 4096  # over [-limit, limit]
SMALLEST_EXPONENT = -60  # values below 2**-60 count as zero: their scale would overflow
PERCENTILE = 99.99
CLIPS = np.linspace(0.3, 1.0, 71)

Floats = NDArray[np.float64]
Range = tuple[float, float]


@dataclass
class TensorStatistics:
    """Extremes and a histogram of one tensor, of fixed size however many values pass.

    The histogram's range doubles when a value falls outside it: bins merge pairwise, so nothing is lost or moved.
    """

    low: float = math.inf
    high: float = -math.inf
    limit: float = 0.0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float32]) -> None:
        """Count `values` (any shape, finite, not empty)."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self._grow(max(abs(self.low), abs(self.high)))
        if self.limit == 0.0:
            self.histogram[BINS // 2] += values.size
            return
        scaled = values.reshape(-1) * np.float32(BINS / 2 / self.limit)
        bins = np.clip(np.floor(scaled, out=scaled), -BINS // 2, BINS // 2 - 1).astype(np.int32) + BINS // 2
        self.histogram += np.bincount(bins, minlength=BINS)

    def copy(self) -> TensorStatistics:
        """An independent copy."""
        return TensorStatistics(self.low, self.high, self.limit, self.histogram.copy())

    def _grow(self, peak: float) -> None:
        if peak <= self.limit:
            return
        wanted = 2.0 ** max(math.ceil(math.log2(peak)), SMALLEST_EXPONENT)
        if self.limit == 0.0:
            self.limit = wanted
        while self.limit < wanted:
            merged = self.histogram.reshape(-1, 2).sum(1)
            self.histogram = np.zeros(BINS, np.int64)
            self.histogram[BINS // 4 : 3 * BINS // 4] = merged
            self.limit *= 2.0

    def centres(self) -> Floats:
        """Centre of each bin."""
        return np.asarray((np.arange(BINS) - BINS / 2 + 0.5) * (2.0 * self.limit / BINS), np.float64)

    def magnitudes(self) -> Floats:
        """Histogram of absolute values over [0, limit], BINS / 2 bins."""
        return np.asarray(self.histogram[BINS // 2 :] + self.histogram[: BINS // 2][::-1], np.float64)


def range_of(statistics: TensorStatistics, method: Method, symmetric: bool) -> Range:
    """(low, high) to be represented; low <= 0 <= high. `symmetric`: int8 with zero-point 0, then low = -high."""
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    peak = max(-low, high)
    if method == "minmax" or peak == 0.0:
        return (-peak, peak) if symmetric else (low, high)
    if method == "entropy":
        peak = _entropy_peak(statistics)
        return (-peak, peak) if symmetric else (max(low, -peak), min(high, peak))
    if method == "percentile":
        return _percentile_range(statistics, symmetric, low, high)
    return _mse_range(statistics, (-peak, peak) if symmetric else (low, high), symmetric)


def _percentile_range(statistics: TensorStatistics, symmetric: bool, low: float, high: float) -> Range:
    share = PERCENTILE / 100.0
    if symmetric:
        peak = min(_quantile(statistics.magnitudes(), share) * statistics.limit, max(-low, high))
        return -peak, peak
    found = [(2.0 * _quantile(statistics.histogram, s) - 1.0) * statistics.limit for s in (1.0 - share, share)]
    return min(max(found[0], low), 0.0), max(min(found[1], high), 0.0)


def _quantile(histogram: NDArray[np.generic], share: float) -> float:
    """Position 0..1 in the histogram below which `share` of its counts lie, linear within a bin."""
    total = np.concatenate(([0.0], np.cumsum(histogram, dtype=np.float64)))
    return float(np.interp(share * total[-1], total, np.linspace(0.0, 1.0, len(total))))


def _mse_range(statistics: TensorStatistics, full: Range, symmetric: bool) -> Range:
    filled = statistics.histogram > 0
    values, counts = statistics.centres()[filled], statistics.histogram[filled]
    low, high = full[0] * CLIPS[:, None], full[1] * CLIPS[:, None]
    step = (high - low) / (254.0 if symmetric else 255.0)
    clipped = np.clip(values, low, high)
    rounded = np.round(clipped / step) * step
    best = int(np.argmin(((rounded - values) ** 2 * counts).sum(1)))
    return full[0] * float(CLIPS[best]), full[1] * float(CLIPS[best])


def _entropy_peak(statistics: TensorStatistics) -> float:
    counts = statistics.magnitudes()
    # An exact zero costs nothing to represent; after a ReLU it would drown everything else.
    counts[0] = counts[1]
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
    step = max(1, (used - 128) // 256)
    candidates = [*range(min(128, used), used, step), used]
    losses = [_information_loss(counts[:used], n) for n in candidates]
    return float(candidates[int(np.argmin(losses))] * statistics.limit / len(counts))


def _information_loss(counts: Floats, kept: int) -> float:
    """Kullback-Leibler divergence of `counts` clipped to its first `kept` bins from the same at 128 levels."""
    clipped = counts[:kept].copy()
    clipped[-1] += counts[kept:].sum()
    level = np.arange(kept) * 128 // kept
    filled = counts[:kept] > 0
    mass = np.bincount(level, counts[:kept], 128)
    share = np.bincount(level, filled, 128)
    coarse = np.where(filled, mass[level] / np.maximum(share[level], 1.0), 0.0)
    if coarse.sum() == 0.0:
        return math.inf
    p, q = clipped / clipped.sum(), coarse / coarse.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))).sum())
