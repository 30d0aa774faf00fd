"""Every method that can be exported, in every precision, through the device's own build code and the real builder."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import pytest
import torch

from calib.graph import Graph, named_model
from calib.plan import make_plan
from calib.qdq import quantised
from calib.ranges import collect, tensors_to_watch
from edge.preprocess import Preprocessing
from edge.tensorrt.build import Job, build_plan
from edge.tensorrt.library import library_of
from export.fp16 import half_from_single
from export.graph import graph_from_scorer
from export.rewrites.table import rewritten
from tests.tensorrt_gate import require_tensorrt
from tests.train.helpers import random_frames
from train.method import MethodConfig
from train.methods import METHODS, build

SIZE, WIDTH = 64, 16  # wide enough that something becomes INT8
EXPORTED = [name for name, row in METHODS.items() if not row.no_export]
PRECISIONS = ("fp32", "fp16", "int8-tensorrt", "int8-nodw-tensorrt")
FAST = {("sagan", "int8-tensorrt"), ("attention", "fp16")}
CASES = [
    pytest.param(name, precision, marks=() if (name, precision) in FAST else pytest.mark.slow)
    for name in EXPORTED
    for precision in PRECISIONS
]


@lru_cache(maxsize=1)
def exported(name: str) -> onnx.ModelProto:
    """The method's scoring graph as edge-export writes it, with untrained weights."""
    torch.manual_seed(0)
    method = build(name, MethodConfig(SIZE, SIZE, 1, WIDTH))
    method.networks.eval()
    return rewritten(graph_from_scorer(method.scorer(), Preprocessing(height=SIZE, width=SIZE, colour="grey")))


def in_precision(name: str, precision: str) -> tuple[bytes, int]:
    """The graph in `precision`, and how many convolutions are INT8 in it."""
    model = exported(name)
    if precision == "fp32":
        return model.SerializeToString(), 0
    if precision == "fp16":
        return half_from_single(model).SerializeToString(), 0
    graph = Graph(named_model(model.SerializeToString(), name))
    plan = make_plan(graph, "tensorrt", depthwise=precision == "int8-tensorrt")
    frames = [np.asarray(frame) for frame in random_frames(3, (SIZE, SIZE))]
    ranges = collect(graph.model, tensors_to_watch(graph, [plan]), frames).ranges(graph, "mse", symmetric=True)
    return quantised(graph, plan, ranges).SerializeToString(), len(plan.convs)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_the_real_builder_takes_it(name: str, precision: str) -> None:
    library = library_of(require_tensorrt())
    data, rounded = in_precision(name, precision)
    built = build_plan(library, Job(data, int8="int8" in precision, target="SM86"))
    assert len(built.plan) > 10_000
    assert built.kept_float == ()
    assert not [warning for warning in built.warnings if "efaulting" in warning]
    assert rounded > 0 or not precision.startswith("int8")
