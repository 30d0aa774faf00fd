"""The gate counts decisions that changed, not numbers that differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from edge.errors import InputError
from edge.gate import Decided, GateLimits, auroc, failures, heatmap_iou, judge, rank_correlation

RANDOM = np.random.default_rng(3)
SCORES = RANDOM.normal(size=200)
MAPS = RANDOM.random((200, 8, 8))


def test_the_same_outputs_pass() -> None:
    result = judge(Decided(SCORES, MAPS, 2.0), Decided(SCORES, MAPS, 2.0), labels=list(SCORES > 1))
    assert result.passed
    assert (result.flipped, result.rank_correlation, result.heatmap_iou) == (0, pytest.approx(1.0), 1.0)
    assert result.auroc == result.auroc_fp32 == 1.0


def test_a_shift_followed_by_its_threshold_moves_no_decision() -> None:
    result = judge(Decided(SCORES, MAPS, 1.0), Decided(SCORES * 3 + 5, MAPS, 8.0))
    assert result.passed
    assert result.flipped == 0
    assert result.score_shift_median > 1.0
    assert result.auroc is None


def test_flips_are_counted_on_both_sides_and_named() -> None:
    moved = SCORES.copy()
    order = np.argsort(SCORES)
    moved[order[0]], moved[order[-1]] = SCORES.max(), SCORES.min()
    result = judge(Decided(SCORES, MAPS, 1.0), Decided(moved, MAPS, 1.0))
    assert (result.flipped, result.flipped_fraction, result.passed) == (2, 0.01, False)
    assert failures(result) == ("2 of 200 decisions moved, allowed 0.50%",)


def test_a_limit_can_be_widened() -> None:
    moved = np.where(SCORES > 2.0, -SCORES, SCORES)
    limits = GateLimits(flipped=0.1, rank_correlation=0.5)
    assert judge(Decided(SCORES, MAPS, 2.0), Decided(moved, MAPS, 2.0), limits).passed


@pytest.mark.parametrize(
    ("variant", "named"),
    [
        (Decided(-SCORES, MAPS, 9.0), "score order"),
        (Decided(SCORES, MAPS[::-1], 9.0), "heatmaps overlap"),
        (Decided(np.where(SCORES > 0.5, SCORES - 1, SCORES), MAPS, 9.0), "AUROC fell"),
    ],
)
def test_what_is_broken_is_named(variant: Decided, named: str) -> None:
    result = judge(Decided(SCORES, MAPS, 9.0), variant, labels=list(SCORES > 0.5))
    assert not result.passed
    assert any(named in sentence for sentence in failures(result))


def test_outputs_that_are_not_finite_never_pass() -> None:
    wide = GateLimits(1.0, 1.0, -1.0, 0.0)
    assert not judge(Decided(SCORES, MAPS, 1.0), Decided(SCORES * np.nan, MAPS, 1.0), wide).passed
    assert not judge(Decided(SCORES, MAPS, 1.0), Decided(SCORES, MAPS * np.inf, 1.0), wide).passed


def test_frames_without_a_label_do_not_count_for_the_auroc() -> None:
    labels = [None if i % 2 else bool(s > 0.5) for i, s in enumerate(SCORES)]
    moved = np.where(np.arange(200) % 2 == 1, -SCORES, SCORES)
    result = judge(Decided(SCORES, MAPS, 1.0), Decided(moved, MAPS, 1.0), labels=labels)
    assert result.auroc_fp32 == result.auroc == 1.0


def test_different_frames_are_refused() -> None:
    with pytest.raises(InputError):
        judge(Decided(SCORES, MAPS, 1.0), Decided(SCORES[:5], MAPS[:5], 1.0))
    with pytest.raises(InputError):
        heatmap_iou(MAPS, MAPS[:, :4])


def test_auroc_and_rank_correlation_agree_with_the_libraries_ties_included() -> None:
    scores, other = np.round(SCORES, 1), np.round(SCORES + RANDOM.normal(size=200), 1)
    labels = RANDOM.random(200) > 0.7
    assert auroc(scores[~labels], scores[labels]) == pytest.approx(roc_auc_score(labels, scores))
    assert rank_correlation(scores, other) == pytest.approx(stats.spearmanr(scores, other).statistic)
    assert auroc(scores, []) is None


def test_constant_scores_and_maps_are_told_apart_from_lost_ones() -> None:
    assert rank_correlation([1, 1, 1], [2, 2, 2]) == 1.0
    assert rank_correlation([1, 2, 3], [2, 2, 2]) == 0.0
    assert heatmap_iou(np.ones((2, 4, 4)), np.ones((2, 4, 4))) == 1.0
    assert heatmap_iou(MAPS, np.ones_like(MAPS)) == 0.0
