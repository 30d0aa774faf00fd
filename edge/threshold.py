"""The decision threshold: fitted on scores of held-out normal frames for a stated false-alarm rate. Pure numpy.

Tail: generalised Pareto over the highest scores (Pickands, "Statistical inference using extreme order statistics",
1975), fitted by probability-weighted moments (Hosking and Wallis, "Parameter and quantile estimation for the
generalized Pareto distribution", 1987). Interval: exact binomial (Clopper and Pearson, 1934), which supposes nothing
about the scores. Neighbours that show the same part or second count as less than one frame each (Kish, "Survey
Sampling", 1965: design effect), by the correlation of the scores along their order.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.errors import InputError
from edge.manifest import ScoreStatistics, Threshold

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
SMALLEST_TAIL = 10  # excesses; with fewer than twice as many frames a tail fit says nothing
TAIL_SHARE = 0.2
# A shape seen in few excesses is mostly noise: it is drawn towards a slightly heavy tail, weighing so many excesses.
PRIOR_SHAPE, PRIOR_WEIGHT = 0.1, 10.0
SHAPE_RANGE = (-0.4, 0.9)

Floats = NDArray[np.float64]


def fit_threshold(
    scores: ArrayLike, false_alarm_rate: float, confidence: float = 0.95, *, in_order: bool = False
) -> Threshold:
    """Threshold that unseen normal frames exceed at `false_alarm_rate`, in expectation.

    `scores`: [n] finite scores of held-out normal frames, n >= 2, high = anomalous. Both rates lie in (0, 1).
    `in_order` says that neighbours in `scores` were neighbours in time or by name; `frames_per_independent` of them
    then count as one. `rate_interval` holds the true rate at the threshold with the given confidence. `fit` names the
    estimator: "gpd-tail", "empirical" (the rate lies inside the data), "normal-prediction" (fewer than 20 frames) or
    "constant".
    Raises InputError for fewer than two scores, scores that are not finite, or a rate outside (0, 1).
    """
    values = _checked(scores, 2)
    ordered, together = np.sort(values), frames_per_independent(values) if in_order else 1.0
    _check_rate("false-alarm rate", false_alarm_rate)
    _check_rate("confidence", confidence)
    value, fit = _estimate(ordered, false_alarm_rate, together)
    exceeding = int(np.count_nonzero(ordered > value))
    return Threshold(
        value=value,
        false_alarm_rate=false_alarm_rate,
        rate_interval=rate_interval(exceeding / together, len(ordered) / together, confidence),
        confidence=confidence,
        frames=len(ordered),
        fit=fit,
    )


def score_statistics(scores: ArrayLike) -> ScoreStatistics:
    """Mean, standard deviation and quantiles of [n] finite scores, n >= 1. Raises InputError otherwise."""
    values = _checked(scores, 1)
    quantiles = tuple(float(q) for q in np.quantile(values, QUANTILES))
    return ScoreStatistics(mean=float(values.mean()), std=float(values.std()), quantiles=quantiles)


def frames_per_independent(scores: ArrayLike) -> float:
    """How many neighbouring frames tell as much as one independent frame, 1 to n: 1 + 2 x the sum of autocorrelations.

    `scores`: [n >= 2] finite scores in the order of time or name. Ranks are correlated, so that one outlier hides
    nothing. Lags are added in pairs (Geyer, "Practical Markov chain Monte Carlo", 1992), which sees two parts whose
    pictures take turns, until a pair is no larger than chance makes it. Raises InputError.
    """
    values = _checked(scores, 2)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]  # ties share their mean rank
    ranks -= ranks.mean()
    power, count = float(ranks @ ranks), len(values)
    total = 1.0
    for lag in range(1, count // 2 - 1 if power else 0, 2):
        pair = sum(float(ranks[:-k] @ ranks[k:]) for k in (lag, lag + 1)) / power
        if pair <= 2.0 / math.sqrt(count):
            break
        total += 2.0 * pair
    return min(total, float(count))


def frames_needed(false_alarm_rate: float, confidence: float = 0.95, factor: float = 2.0) -> int:
    """How many normal frames make the upper end of the interval at most `factor` times the stated rate.

    About 8 / rate at 95 % and factor 2. Raises InputError for a rate outside (0, 1).
    """
    _check_rate("false-alarm rate", false_alarm_rate)
    _check_rate("confidence", confidence)
    limit, tail = min(factor * false_alarm_rate, 1.0), (1.0 - confidence) / 2.0
    low, high = 1, 1
    while not _upper_end_is_below(limit, false_alarm_rate, high, tail):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _upper_end_is_below(limit, false_alarm_rate, middle, tail) else (middle, high)
    return high


def rate_interval(exceeding: float, frames: float, confidence: float) -> tuple[float, float]:
    """Exact binomial interval of a rate when `exceeding` of `frames` independent frames exceeded, 0 <= that <= frames.

    Neither need be whole: frames that are not independent count as fewer.
    """
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if exceeding == 0 else _beta_quantile(tail, exceeding, frames - exceeding + 1)
    high = 1.0 if exceeding == frames else _beta_quantile(1.0 - tail, exceeding + 1, frames - exceeding)
    return low, high


def _estimate(ordered: Floats, rate: float, together: float) -> tuple[float, str]:
    """Threshold and the estimator's name; `ordered` is ascending, `together` of them count as one."""
    count = len(ordered)
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), "constant"
    if count < 2 * SMALLEST_TAIL:
        return _normal_prediction_bound(ordered, rate), "normal-prediction"
    tail = _tail_size(count)
    # expected exceedance of the order statistic below which the tail begins
    tail_rate = (tail + together) / (count + together)
    if rate >= tail_rate:
        return _order_statistic(ordered, rate, together), "empirical"
    start = float(ordered[count - tail - 1])
    return start + _pareto_quantile(ordered[count - tail :] - start, rate / tail_rate, together), "gpd-tail"


def _tail_size(count: int) -> int:
    """A fifth of the scores, and a falling share of many: more would bend the tail, fewer would make it noisy."""
    return max(SMALLEST_TAIL, int(min(TAIL_SHARE * count, 4.0 * count**0.6)))


def _order_statistic(ordered: Floats, rate: float, together: float) -> float:
    """The score that has expected exceedance `rate`: the one with j scores above it has (j + 1) / (n + 1).

    Where `together` scores count as one, both j and n are that much smaller.
    """
    above = min(max(rate * (len(ordered) + together) - together, 0.0), len(ordered) - 1.0)
    return float(np.interp(len(ordered) - 1.0 - above, np.arange(len(ordered)), ordered))


def _pareto_quantile(excesses: Floats, survival: float, together: float) -> float:
    """Excess that a generalised Pareto distribution fitted to ascending `excesses` (>= 0) exceeds with `survival`."""
    mean, count = float(excesses.mean()), len(excesses)
    if mean == 0.0:
        return 0.0
    above = (count - 1.0 - np.arange(count)) / (count - 1.0)
    half_gini = float((above * excesses).mean())  # E[X (1 - F(X))]
    shape = 2.0 - mean / max(mean - 2.0 * half_gini, 1e-12 * mean)
    weight = count / together
    shape = (min(max(shape, SHAPE_RANGE[0]), SHAPE_RANGE[1]) * weight + PRIOR_SHAPE * PRIOR_WEIGHT) / (
        weight + PRIOR_WEIGHT
    )
    scale = mean * (1.0 - shape)
    if abs(shape) < 1e-9:
        return -scale * math.log(survival)
    return scale * math.expm1(-shape * math.log(survival)) / shape


def _normal_prediction_bound(values: Floats, rate: float) -> float:
    """Upper bound that one more draw from the same normal distribution exceeds with probability `rate`."""
    count = len(values)
    spread = float(values.std(ddof=1)) * math.sqrt(1.0 + 1.0 / count)
    return float(values.mean()) + _student_quantile(rate, count - 1) * spread


def _student_quantile(survival: float, freedom: int) -> float:
    """t with P(T > t) = survival for Student's T, by the incomplete beta function."""
    if survival > 0.5:
        return -_student_quantile(1.0 - survival, freedom)
    if survival == 0.5:
        return 0.0
    share = _beta_quantile(2.0 * survival, freedom / 2.0, 0.5)  # freedom / (freedom + t^2)
    return math.sqrt(freedom * (1.0 - share) / max(share, 1e-300))


def _upper_end_is_below(limit: float, rate: float, frames: int, tail: float) -> bool:
    exceeding = rate * frames
    return limit >= 1.0 or _beta_distribution(limit, exceeding + 1.0, frames - exceeding) >= 1.0 - tail


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """x with I_x(a, b) = probability, by bisection: exact to rounding and never astray."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if _beta_distribution(middle, a, b) < probability else (low, middle)
    return 0.5 * (low + high)


def _beta_distribution(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _beta_distribution_low(1.0 - x, b, a)
    return _beta_distribution_low(x, a, b)


def _beta_distribution_low(x: float, a: float, b: float) -> float:
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + ...))), evaluated from a depth that more than suffices where it is called."""
    value = 1.0
    for m in range(60 + int(3.0 * math.sqrt(max(a, b))), -1, -1):
        even = (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        value = 1.0 + odd / (1.0 + even / value)
    return 1.0 / value


def _checked(scores: ArrayLike, least: int) -> Floats:
    values = np.asarray(scores, np.float64).reshape(-1)
    if len(values) < least:
        raise InputError("too few scores", f"found {len(values)}, need {least} at least", "add normal images")
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise InputError("scores are not finite", f"{bad} of {len(values)}", "look at the model: train it again")
    return values


def _check_rate(name: str, rate: float) -> None:
    if not 0.0 < rate < 1.0:
        raise InputError(f"{name} {rate} is out of range", "it must lie between 0 and 1", "give for example 0.01")
