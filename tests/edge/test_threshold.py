"""The threshold's stated rate holds on frames that the fit never saw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edge.errors import InputError
from edge.threshold import (
    _beta_quantile,
    _student_quantile,
    fit_threshold,
    frames_needed,
    frames_per_independent,
    rate_interval,
    score_statistics,
)

LAWS = {"normal": stats.norm(), "gamma": stats.gamma(2.0), "lognormal": stats.lognorm(0.5), "heavy": stats.t(3)}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("count", "rate"), [(12, 0.05), (60, 0.01), (300, 0.01), (300, 0.001), (3000, 0.002)])
def test_interval_covers_the_true_rate_and_the_rate_is_met_on_average(name: str, count: int, rate: float) -> None:
    law, random = LAWS[name], np.random.default_rng(7)
    fits = [fit_threshold(law.rvs(count, random_state=random), rate) for _ in range(100)]
    true = np.array([law.sf(f.value) for f in fits])
    low, high = np.array([f.rate_interval for f in fits]).T
    assert np.mean((low <= true) & (true <= high)) >= 0.9
    if count * rate >= 3:
        assert rate / 1.3 < true.mean() < rate * 1.3
    elif count >= 60:
        assert rate / 2 < true.mean() < rate * 3


scores = st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=60)


@given(scores, st.floats(1e-5, 0.999), st.floats(1e-5, 0.999))
def test_a_rarer_alarm_never_has_a_lower_threshold(values: list[float], first: float, second: float) -> None:
    rare, often = sorted((first, second))
    assert fit_threshold(values, rare).value >= fit_threshold(values, often).value - 1e-9


@settings(deadline=None)
@given(st.integers(2, 300), st.floats(0.01, 100.0), st.floats(-50.0, 50.0), st.sampled_from([0.3, 0.05, 0.01, 1e-4]))
def test_threshold_follows_scale_and_shift(count: int, scale: float, shift: float, rate: float) -> None:
    values = np.random.default_rng(count).gamma(2.0, size=count)
    moved = fit_threshold(scale * values + shift, rate)
    expected = scale * fit_threshold(values, rate).value + shift
    assert moved.value == pytest.approx(expected, rel=1e-6, abs=1e-6 * (scale + abs(shift)))


@given(scores, st.floats(1e-6, 0.5))
def test_any_finite_scores_give_a_finite_threshold(values: list[float], rate: float) -> None:
    fit = fit_threshold(values, rate)
    assert np.isfinite(fit.value)
    assert 0.0 <= fit.rate_interval[0] <= fit.rate_interval[1] <= 1.0
    assert fit.frames == len(values)


def test_the_same_scores_give_the_same_threshold_in_any_order() -> None:
    values = np.random.default_rng(0).normal(size=200)
    assert fit_threshold(values, 0.01) == fit_threshold(values[::-1], 0.01)


def test_constant_scores_raise_no_alarm_and_say_so() -> None:
    fit = fit_threshold([3.5] * 40, 0.01)
    assert (fit.value, fit.fit) == (3.5, "constant")


def test_nearly_constant_scores_with_one_outlier_work() -> None:
    assert np.isfinite(fit_threshold([1.0] * 99 + [2.0], 0.01).value)


def test_a_hundred_thousand_scores_are_fitted() -> None:
    values = np.random.default_rng(1).normal(size=100_000)
    fit = fit_threshold(values, 1e-4)
    assert fit.value == pytest.approx(stats.norm.isf(1e-4), abs=0.15)
    assert fit.rate_interval[0] < 1e-4 < fit.rate_interval[1] * 1.2


@pytest.mark.parametrize(
    ("count", "rate", "name"), [(2, 0.01, "normal-prediction"), (50, 0.5, "empirical"), (50, 0.01, "gpd-tail")]
)
def test_the_estimator_is_named(count: int, rate: float, name: str) -> None:
    assert fit_threshold(np.random.default_rng(0).normal(size=count), rate).fit == name


def test_two_frames_ask_for_a_wide_margin() -> None:
    assert fit_threshold([1.0, 1.1], 0.001).value > 10.0


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_scores_that_cannot_be_fitted_are_refused(bad: list[float]) -> None:
    with pytest.raises(InputError):
        fit_threshold(bad, 0.01)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(InputError):
        fit_threshold([1.0, 2.0], rate)


@pytest.mark.parametrize(("exceeding", "frames"), [(0, 5), (0, 1000), (3, 100), (500, 1000), (7, 7), (1000, 100_000)])
def test_interval_is_the_exact_binomial_one(exceeding: int, frames: int) -> None:
    exact = stats.binomtest(exceeding, frames).proportion_ci(0.95, "exact")
    assert rate_interval(exceeding, frames, 0.95) == pytest.approx((exact.low, exact.high), rel=1e-8)


@pytest.mark.parametrize(("survival", "freedom"), [(0.001, 1), (0.01, 12), (0.3, 5), (0.9, 3), (0.5, 2), (1e-6, 18)])
def test_quantiles_are_those_of_the_textbook(survival: float, freedom: int) -> None:
    assert _student_quantile(survival, freedom) == pytest.approx(stats.t.isf(survival, freedom), rel=1e-7)
    assert _beta_quantile(survival, freedom, 7.5) == pytest.approx(stats.beta.ppf(survival, freedom, 7.5), rel=1e-7)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_frames_needed_are_just_enough(rate: float) -> None:
    count = frames_needed(rate)
    assert rate_interval(int(rate * count), count, 0.95)[1] <= 2.05 * rate
    assert rate_interval(int(rate * count / 2), count // 2, 0.95)[1] > 2 * rate


def test_statistics_are_the_named_quantiles() -> None:
    found = score_statistics(np.arange(101.0))
    assert found.quantiles == pytest.approx((0, 1, 5, 25, 50, 75, 95, 99, 100))
    assert found.mean == pytest.approx(50.0)


def _parts(random: np.random.Generator, count: int, views: int, alike: float) -> np.ndarray:
    """Normal scores of `count` frames, `views` of each part in turn, correlated by `alike` within a part."""
    part = np.repeat(random.normal(size=-(-count // views)), views)[:count]
    return np.sqrt(alike) * part + np.sqrt(1 - alike) * random.normal(size=count)


@pytest.mark.parametrize(("count", "views", "alike"), [(102, 12, 0.7), (102, 30, 0.9), (300, 12, 0.6)])
def test_the_interval_holds_where_neighbours_show_the_same_part(count: int, views: int, alike: float) -> None:
    random = np.random.default_rng(3)
    scores = [_parts(random, count, views, alike) for _ in range(60)]
    covered = {}
    for in_order in (False, True):
        fits = [fit_threshold(s, 0.01, in_order=in_order) for s in scores]
        covered[in_order] = np.mean([f.rate_interval[0] <= stats.norm.sf(f.value) <= f.rate_interval[1] for f in fits])
    assert covered[True] >= 0.93 and covered[False] < 0.9
    rates = [np.mean([stats.norm.sf(fit_threshold(s, 0.01, in_order=o).value) for s in scores]) for o in (False, True)]
    assert rates[1] < rates[0]


def test_independent_frames_count_in_full_and_copies_once() -> None:
    random = np.random.default_rng(0)
    assert np.mean([frames_per_independent(random.gamma(2.0, size=100)) for _ in range(200)]) < 1.1
    copies = np.repeat(random.normal(size=50), 8)
    assert 6.0 < frames_per_independent(copies) < 12.0
    assert frames_per_independent([2.0] * 30) == 1.0
    in_turn = np.repeat(random.normal(size=(20, 1, 2)), 6, axis=1).ravel()  # two parts' six pictures take turns
    assert frames_per_independent(in_turn) > 4.0


@given(scores)
def test_a_frame_is_never_worth_less_than_its_share_of_one(values: list[float]) -> None:
    together = frames_per_independent(values)
    assert 1.0 <= together <= len(values)
    assert together == pytest.approx(frames_per_independent(values[::-1]))
    fit = fit_threshold(values, 0.01, in_order=True)
    assert np.isfinite(fit.value) and 0.0 <= fit.rate_interval[0] <= fit.rate_interval[1] <= 1.0
