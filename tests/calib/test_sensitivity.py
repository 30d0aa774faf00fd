"""The search keeps as few layers in float as the gate allows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pytest

from calib.evaluate import Frame, damage
from calib.sensitivity import LayerCost, cached_costs, layer_costs, smallest_exclusion
from edge.errors import CheckFailed
from edge.gate import Decided, judge
from edge.golden import Outputs
from edge.manifest import GateResult

SCORES = np.random.default_rng(0).normal(size=50).astype(np.float32)
NOISE = np.random.default_rng(1).normal(size=(6, 50)).astype(np.float32)
LAYERS = tuple(f"layer{i}" for i in range(6))


class FakeTrial:
    """Each layer in INT8 adds its own noise to the scores; the gate passes once the culprits are in float."""

    def __init__(self, culprits: Collection[str]) -> None:
        self.culprits, self.verdicts = set(culprits), 0

    def outputs(self, exclude: Collection[str], frames: Sequence[Frame]) -> Outputs:
        noise = sum((NOISE[i] * (i + 1) for i, n in enumerate(LAYERS) if n not in exclude), np.zeros(50, np.float32))
        scores = SCORES + 0.01 * noise
        return Outputs(scores, scores, np.zeros((50, 2, 2), np.float32))

    def verdict(self, exclude: Collection[str]) -> GateResult:
        self.verdicts += 1
        maps = np.zeros((50, 2, 2))
        scores = SCORES if self.culprits <= set(exclude) else -SCORES
        return judge(Decided(SCORES, maps, 1.0), Decided(scores, maps, 1.0))


def reference() -> Outputs:
    return Outputs(SCORES, SCORES, np.zeros((50, 2, 2), np.float32))


def test_the_noisiest_layer_costs_most() -> None:
    seen = []
    costs = layer_costs(FakeTrial(()), LAYERS, [], reference(), lambda name, done, total: seen.append((done, total)))
    assert costs[0].name == "layer5"
    assert costs[0].gain > costs[-1].gain
    assert seen[-1] == (6, 6)


@pytest.mark.parametrize("culprits", [("layer0",), ("layer2",), ("layer0", "layer5"), ("layer1", "layer3", "layer4")])
def test_the_smallest_set_that_passes_is_found(culprits: tuple[str, ...]) -> None:
    costs = [LayerCost(name, -index) for index, name in enumerate(LAYERS)]
    trial = FakeTrial(culprits)
    assert set(smallest_exclusion(trial, costs, lambda *_: None)) == set(culprits)
    assert trial.verdicts <= 12


def test_it_says_so_when_nothing_passes() -> None:
    with pytest.raises(CheckFailed, match="all 6 convolutions"):
        smallest_exclusion(FakeTrial({"another"}), [LayerCost(n, 0.0) for n in LAYERS], lambda *_: None)


def test_costs_are_measured_once_and_a_damaged_file_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "costs.json", []

    def measured() -> tuple[LayerCost, ...]:
        calls.append(1)
        return (LayerCost("a", 0.5),)

    assert cached_costs(path, measured) == cached_costs(path, measured) == (LayerCost("a", 0.5),)
    path.write_text("{")
    assert cached_costs(path, measured) == (LayerCost("a", 0.5),)
    assert len(calls) == 2


def test_a_shift_that_all_frames_share_is_no_damage() -> None:
    moved = Outputs(SCORES + 3, SCORES, np.zeros((50, 2, 2), np.float32))
    assert damage(reference(), moved) == pytest.approx(0.0, abs=1e-6)
