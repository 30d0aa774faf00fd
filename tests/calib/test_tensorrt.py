"""The TensorRT dialect passes TensorRT's own parser and builder; what they reject is what the gate catches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calib.graph import Graph
from calib.plan import QdqDialect, make_plan
from calib.qdq import quantised
from calib.ranges import collect, tensors_to_watch
from tests.calib.making import SIZE
from tests.tensorrt_gate import build, require_tensorrt


@pytest.fixture(scope="module")
def models(graph: Graph) -> dict[str, onnx.ModelProto]:
    require_tensorrt()
    random = np.random.default_rng(0)
    frames = [random.integers(0, 255, (SIZE, SIZE, 1)).astype(np.uint8) for _ in range(4)]
    dialects: tuple[QdqDialect, ...] = ("tensorrt", "cpu")
    plans = {d: make_plan(graph, d) for d in dialects}
    collected = collect(graph.model, tensors_to_watch(graph, plans.values()), frames)
    made = {d: quantised(graph, plans[d], collected.ranges(graph, "mse", d == "tensorrt")) for d in dialects}
    nodw = quantised(
        graph, make_plan(graph, "tensorrt", depthwise=False), collected.ranges(graph, "mse", symmetric=True)
    )
    return {**made, "nodw": nodw, "fp32": graph.model}


@pytest.mark.parametrize("name", ["fp32", "tensorrt", "nodw"])
def test_the_graph_is_parsed_and_built(models: dict[str, onnx.ModelProto], name: str) -> None:
    plan, _ = build(models[name].SerializeToString())
    assert len(plan) > 1000


def test_the_cpu_dialect_is_not_for_tensorrt(models: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(pytest.fail.Exception, match="TensorRT refuses"):
        build(models["cpu"].SerializeToString())


def test_unsigned_values_that_would_be_clipped_fail_the_gate(models: dict[str, onnx.ModelProto]) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(models["tensorrt"])
    for constant in model.graph.initializer:
        if constant.name.endswith("_zero") and "weight" not in constant.name:
            constant.CopyFrom(numpy_helper.from_array(np.uint8(0), constant.name))
    with pytest.raises(pytest.fail.Exception, match="reads a type as another"):
        build(model.SerializeToString())
