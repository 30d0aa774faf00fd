"""Frames with a crude defect: what the ranges are collected from besides normal frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.calibrate import Graph
from calib.defects import KINDS, with_defect
from calib.plan import make_plan
from calib.ranges import _session_exposing, collect, tensors_to_watch


def texture(seed: int, side: int = 48, channels: int = 1, contrast: float = 10.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(120, contrast, (side, side, channels))
    return np.clip(noise, 0, 255).astype(np.uint8)


@given(st.integers(0, 10**6), st.integers(8, 80), st.integers(8, 80), st.sampled_from([1, 3]))
def test_one_patch_changes_and_nothing_else(number: int, height: int, width: int, channels: int) -> None:
    random = np.random.default_rng(1)
    frame, other = random.integers(0, 256, (2, height, width, channels)).astype(np.uint8)
    before = frame.copy()
    found = with_defect(frame, other, number)
    assert found.shape == frame.shape and found.dtype == np.uint8
    assert np.array_equal(frame, before)
    assert np.array_equal(found, with_defect(frame, other, number))
    changed = np.argwhere((found != frame).any(2))
    if len(changed):
        sides = changed.max(0) - changed.min(0) + 1
        assert sides[0] <= max(2, height / 3 + 1) and sides[1] <= max(2, width / 3 + 1)


@pytest.mark.parametrize("kind", range(KINDS))
def test_every_kind_shows(kind: int) -> None:
    frame, other = texture(1), texture(2)
    assert any((with_defect(frame, other, kind + turn * KINDS) != frame).any() for turn in range(3))


def test_a_dull_part_gets_a_dull_defect() -> None:
    """Black or white on it would stretch the ranges until normal frames fill a few steps."""
    change = [
        max(
            int(np.abs(with_defect(texture(1, contrast=c), texture(2, contrast=c), n).astype(int) - 120).max())
            for n in range(60)
        )
        for c in (5.0, 20.0)
    ]
    assert change[0] < 60 < change[1]


def test_ranges_reach_beyond_what_normal_frames_do(graph: Graph) -> None:
    """Ranges of normal frames alone clip the activations by which an anomaly is told."""
    random = np.random.default_rng(3)
    frames = [np.clip(120 + random.normal(0, 4, (32, 32, 1)), 0, 255).astype(np.uint8) for _ in range(12)]
    tensors = list(tensors_to_watch(graph, [make_plan(graph, "cpu")]))
    session = _session_exposing(graph.model, tensors)
    normal = np.array([[value.max() for value in session.run(tensors, {"frame": f[None]})] for f in frames]).max(0)
    found = collect(graph.model, tensors, frames).statistics
    reach = np.array([found[t].high for t in tensors]) / normal
    assert (reach >= 1 - 1e-6).all()
    assert reach.max() > 1.3
