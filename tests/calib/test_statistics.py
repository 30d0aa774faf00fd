"""Histograms of fixed size that forget nothing, and the ranges drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calib.statistics import BINS, METHODS, TensorStatistics, range_of

floats = arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32))


def statistics_of(*parts: np.ndarray) -> TensorStatistics:
    statistics = TensorStatistics()
    for part in parts:
        statistics.add(np.asarray(part, np.float32))
    return statistics


@settings(deadline=None)
@given(st.lists(floats, min_size=1, max_size=6))
def test_every_value_is_counted_once_whatever_the_order(parts: list[np.ndarray]) -> None:
    found, whole = statistics_of(*parts), statistics_of(np.concatenate(parts))
    assert found.histogram.sum() == sum(p.size for p in parts)
    assert (found.low, found.high, found.limit) == (whole.low, whole.high, whole.limit)


def test_growing_merges_bins_in_place() -> None:
    random = np.random.default_rng(0)
    small, large = random.uniform(-1, 1, 10_000), random.uniform(-1, 1, 10_000) * 37
    late, early = statistics_of(small, large), statistics_of(large, small)
    assert np.abs(late.histogram - early.histogram).sum() <= 4
    assert late.limit == 64.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_range_lies_within_the_extremes_and_holds_zero(method: str, symmetric: bool) -> None:
    values = np.random.default_rng(0).normal(0.5, 1.0, 100_000)
    low, high = range_of(statistics_of(values), method, symmetric)
    assert low <= 0.0 <= high
    assert high <= np.abs(values).max() * 1.001
    assert high > 1.5
    assert not symmetric or low == -high


@pytest.mark.parametrize("method", METHODS)
def test_after_a_relu_nothing_is_spent_on_negative_values(method: str) -> None:
    values = np.maximum(np.random.default_rng(0).normal(size=50_000), 0.0)
    assert range_of(statistics_of(values), method, symmetric=False)[0] == 0.0


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
def test_a_lone_outlier_is_clipped(method: str) -> None:
    values = np.append(np.random.default_rng(0).normal(size=200_000), 60.0)
    assert range_of(statistics_of(values), method, symmetric=True)[1] < 45.0
    assert range_of(statistics_of(values), "minmax", symmetric=True)[1] == pytest.approx(60.0)


def test_mse_is_no_worse_than_min_max() -> None:
    values = np.random.default_rng(0).standard_t(3, 100_000)
    statistics = statistics_of(values)

    def error(high: float) -> float:
        step = high / 127.0
        return float(np.mean((np.clip(np.round(values / step), -127, 127) * step - values) ** 2))

    peaks = {method: range_of(statistics, method, symmetric=True)[1] for method in METHODS}
    assert error(peaks["mse"]) <= min(error(peak) for peak in peaks.values()) * 1.02


@pytest.mark.parametrize("method", METHODS)
def test_constant_tensors_have_a_range(method: str) -> None:
    assert range_of(statistics_of(np.zeros(10)), method, symmetric=True) == (0.0, 0.0)
    assert range_of(statistics_of(np.full(10, 3.0)), method, symmetric=False)[1] == pytest.approx(3.0, rel=0.01)


def test_percentile_agrees_with_numpy() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=200_000)).astype(np.float32)
    high = range_of(statistics_of(values), "percentile", symmetric=True)[1]
    assert high == pytest.approx(np.quantile(values, 0.9999), abs=2 * 8.0 / BINS)
