"""fp16: half where the networks are, single where scores are made, refused where a weight does not fit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from edge.engine.onnxruntime import OnnxGraph
from edge.errors import CheckFailed
from edge.golden import differences, run_frames
from export.fp16 import full_precision_nodes, half_from_single
from export.rewrites.table import rewritten
from tests.export.conftest import pictures


@pytest.fixture(scope="module")
def half(graph: ModelProto) -> ModelProto:
    return half_from_single(rewritten(graph))


def types(graph: ModelProto) -> dict[str, int]:
    values = (*graph.graph.value_info, *graph.graph.output, *graph.graph.input)
    return {v.name: v.type.tensor_type.elem_type for v in values}


def test_scores_are_close(graph: ModelProto, half: ModelProto) -> None:
    frames = pictures(4)
    before = run_frames(OnnxGraph(graph.SerializeToString(), "g", threads=1), frames)
    after = run_frames(OnnxGraph(half.SerializeToString(), "h", threads=1), frames)
    found = differences(after, before)
    assert 0 < found["score"] < 5e-3 and found["masked_error"] < 5e-3 and found["heatmap"] < 2e-2


def test_networks_are_half_and_scores_single(half: ModelProto) -> None:
    found = types(half)
    by_op = {n.name: n for n in half.graph.node}
    convolutions = [n for n in half.graph.node if n.op_type == "Conv" and "heatmap" not in n.name]
    assert all(found[n.output[0]] == TensorProto.FLOAT16 for n in convolutions)
    assert found["score"] == found["masked_error"] == found["heatmap"] == TensorProto.FLOAT
    blur = next(n for name, n in by_op.items() if name.startswith("/heatmap") and n.op_type == "Conv")
    assert found[blur.output[0]] == TensorProto.FLOAT


def test_a_tensor_is_cast_only_where_precision_changes(half: ModelProto) -> None:
    made = {o: n for n in half.graph.node for o in n.output}
    casts = [n for n in half.graph.node if n.op_type == "Cast"]
    assert all(made[n.input[0]].op_type != "Cast" for n in casts if n.input[0] in made)
    assert len({(n.input[0], n.attribute[0].i) for n in casts}) == len(casts)


def test_sizes_of_resize_stay_single(half: ModelProto) -> None:
    scales = {name for n in half.graph.node if n.op_type == "Resize" for name in n.input[1:] if name}
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    assert scales and all(kinds[name] == TensorProto.FLOAT for name in scales)


def test_no_constant_is_infinite_or_lost_in_subnormals(half: ModelProto) -> None:
    for tensor in half.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor)
            assert np.isfinite(values).all()
            assert not ((values != 0) & (np.abs(values) < 2.0**-24)).any()


def altered(graph: ModelProto, value: float) -> ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    node = next(n for n in other.graph.node if n.name == "/generator/down.2/second/pointwise/Conv")
    weight = next(t for t in other.graph.initializer if t.name == node.input[1])
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = value
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return other


@pytest.mark.parametrize("value", [1e5, np.inf, np.nan])
def test_a_weight_out_of_range_is_refused(graph: ModelProto, value: float) -> None:
    with pytest.raises(CheckFailed, match="out of range"):
        half_from_single(altered(graph, value))


def test_a_tiny_weight_becomes_zero(graph: ModelProto) -> None:
    half_from_single(altered(graph, 1e-12))


def test_score_arithmetic_is_found_by_structure(graph: ModelProto) -> None:
    kept = full_precision_nodes(graph)
    assert not any("pointwise" in name or "blocks" in name for name in kept)
    producers = {o: n.name for n in graph.graph.node for o in n.output}
    assert {producers["score"], producers["masked_error"], producers["heatmap"]} <= kept
