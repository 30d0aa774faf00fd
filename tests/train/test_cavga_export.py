"""Every form of CAVGA becomes a scoring graph that onnxruntime agrees with and TensorRT builds."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from edge.preprocess import Preprocessing
from export.graph import graph_from_scorer
from export.rewrites.table import rewritten
from tests.tensorrt_gate import build
from tests.train.helpers import random_frames, trained
from train.methods import METHODS

ROWS = [name for name in METHODS if name.startswith("cavga")]
GREY = Preprocessing(height=32, width=32, colour="grey")


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in ROWS), ("cavga-d-w", {"map_of": "anomalous"})])
def test_the_graph_gives_what_autograd_gives(name: str, options: dict[str, str]) -> None:
    method = trained(name, 3, **options)
    final = rewritten(graph_from_scorer(method.scorer(), GREY)).SerializeToString()
    session = onnxruntime.InferenceSession(final, providers=["CPUExecutionProvider"])
    frames = random_frames(3, seed=9)
    with torch.no_grad():
        expected = method.reference_scorer()(frames)
    found = [session.run(None, {"frame": frame[None].numpy()}) for frame in frames]
    for index, wanted in enumerate(expected):
        ours = np.concatenate([one[index] for one in found])
        assert np.abs(ours - wanted.numpy()).max() < 1e-4 * max(1e-2, float(wanted.abs().max()))


@pytest.mark.parametrize("name", ["cavga-d", "cavga-r-w-light"])
def test_tensorrt_parses_and_builds_it(name: str) -> None:
    graph = rewritten(graph_from_scorer(trained(name, 2).scorer(), GREY))
    plan, messages = build(graph.SerializeToString())
    assert len(plan) > 10_000
    assert messages == []


def test_tensorrt_takes_the_score_of_the_largest_errors() -> None:
    graph = rewritten(graph_from_scorer(trained("cavga-d-light", 2, top=0.05).scorer(), GREY))
    assert build(graph.SerializeToString())[1] == []
