"""fp32's threshold on a variant's scale."""

from __future__ import annotations

import numpy as np
import pytest

from calib.evaluate import carried_over
from edge.threshold import fit_threshold

SCORES = np.random.default_rng(0).gamma(2.0, 1.0, 120).astype(np.float32)
THRESHOLD = fit_threshold(SCORES, 0.01, in_order=True)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.9, 0.3), (2.0, -1.0)])
def test_a_scale_and_a_shift_are_followed_exactly(slope: float, shift: float) -> None:
    found = carried_over(THRESHOLD, SCORES, slope * SCORES + np.float32(shift))
    assert found.value == pytest.approx(slope * THRESHOLD.value + shift, rel=1e-5)
    assert found.rate_interval == THRESHOLD.rate_interval
    assert (found.frames, found.false_alarm_rate) == (120, 0.01)
    assert found.fit == f"{THRESHOLD.fit}, carried over"


def test_rounding_moves_it_less_than_a_tail_fitted_anew() -> None:
    random = np.random.default_rng(1)
    scores = random.gamma(2.0, 1.0, 300).astype(np.float32)
    threshold = fit_threshold(scores, 0.01, in_order=True)
    noisy = [scores + random.normal(0, 0.05, scores.size).astype(np.float32) for _ in range(60)]
    carried = [carried_over(threshold, scores, after).value for after in noisy]
    fitted = [fit_threshold(after, 0.01, in_order=True).value for after in noisy]
    assert np.std(carried) < 0.6 * np.std(fitted)
    assert abs(np.mean(carried) - threshold.value) < 0.01


def test_equal_scores_shift_it() -> None:
    same = np.full(30, 2.0, np.float32)
    assert carried_over(fit_threshold(same, 0.01), same, same + 1).value == pytest.approx(3.0)
