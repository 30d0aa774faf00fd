"""Metrics on cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.gate import auroc
from edge.threshold import fit_threshold
from train.metrics import (
    aupro,
    balanced_accuracy,
    intersection_over_union,
    pixel_auroc,
    threshold_interval,
)


def grid(rows: list[list[float]]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def marks(rows: list[list[int]]) -> NDArray[np.bool_]:
    return np.array(rows, bool)


def test_auroc_counts_pairs_and_halves_ties() -> None:
    assert auroc([0, 1], [2, 3]) == 1.0
    assert auroc([0, 2], [1, 2]) == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert auroc([1], []) is None


def test_balanced_accuracy_weighs_the_classes_alike() -> None:
    assert balanced_accuracy([0, 0, 0, 9], [5, 0], 1.0) == pytest.approx((0.75 + 0.5) / 2)
    assert balanced_accuracy([1.0], [1.0], 1.0) == 0.5  # at the threshold is not above it
    assert balanced_accuracy([], [1.0], 0.0) is None


def test_iou_over_defective_images_only() -> None:
    heat = grid([[1, 1], [0, 0]])
    assert intersection_over_union([heat, heat], [marks([[1, 0], [1, 0]]), marks([[0, 0], [0, 0]])], 0.5) == 1 / 3
    assert intersection_over_union([heat], [marks([[0, 0], [0, 0]])], 0.5) is None


def test_pixel_auroc() -> None:
    assert pixel_auroc([grid([[4, 3], [2, 1]])], [marks([[1, 1], [0, 0]])]) == 1.0
    assert pixel_auroc([], []) is None


def test_perfect_map_has_aupro_one_and_constant_map_the_diagonal() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:4, 2:4] = True
    assert aupro([mask.astype(np.float32)], [mask]) == pytest.approx(1.0)
    # One threshold only: the curve is the line from (0, 0) to (1, 1); up to 0.3 its area is 0.3 * 0.3 / 2.
    assert aupro([np.ones((10, 10), np.float32)], [mask]) == pytest.approx(0.15)


def test_regions_weigh_alike_whatever_their_size() -> None:
    """A region of 8 pixels found at once, one of 1 pixel never before the last threshold; 11 normal pixels."""
    mask = np.zeros((4, 5), bool)
    mask[:2, :4] = True
    mask[3, 4] = True
    heat = np.zeros((4, 5), np.float32)
    heat[:2, :4] = 1.0
    # Curve: (0, 0) -> (0, 1/2) -> (1, 1). Up to 0.3: mean height of 0.5 and 0.65.
    assert aupro([heat], [mask]) == pytest.approx((0.5 + 0.65) / 2)


def test_touching_corners_are_one_region() -> None:
    mask = np.eye(4, dtype=bool)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1.0
    # One region of four pixels, a quarter of it found before any false alarm: 0.25 rising to 1 at rate 1.
    assert aupro([heat], [mask]) == pytest.approx((0.25 + (0.25 + 0.75 * 0.3)) / 2)


def test_no_defect_no_figure() -> None:
    assert aupro([np.ones((4, 4), np.float32)], [np.zeros((4, 4), bool)]) is None


def test_threshold_interval_holds_the_threshold_and_narrows_with_more_images() -> None:
    random, widths = np.random.default_rng(1), []
    for count in (50, 800):
        scores = random.normal(size=count)
        threshold = fit_threshold(scores, 0.05, in_order=True)
        found = threshold_interval(scores, threshold)
        assert found is not None and found == threshold_interval(scores, threshold)
        assert found[0] <= threshold.value <= found[1]
        widths.append(found[1] - found[0])
    assert widths[1] < widths[0] / 2


def test_threshold_interval_is_wider_where_neighbours_are_alike() -> None:
    parts = np.random.default_rng(2).normal(size=60)
    repeated = np.repeat(parts, 6)
    threshold = fit_threshold(repeated, 0.05)
    alike, apart = (threshold_interval(scores, threshold) for scores in (repeated, np.tile(parts, 6)))
    assert alike is not None and apart is not None
    assert alike[1] - alike[0] > 1.3 * (apart[1] - apart[0])


def test_threshold_interval_needs_twenty_scores() -> None:
    scores = np.arange(19.0)
    assert threshold_interval(scores, fit_threshold(scores, 0.05)) is None
