"""Both dialects keep to what their engines read, and compute what fp32 computes, but for rounding."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from calib.evaluate import run_graph
from calib.graph import Graph
from calib.plan import QdqDialect, make_plan
from calib.qdq import asymmetric_scale, quantised, symmetric_scale, weight_scales
from calib.ranges import Ranges, collect, tensors_to_watch
from edge.errors import CheckFailed
from edge.gate import rank_correlation
from edge.preprocess import preprocess
from tests.calib.making import SPEC, gradient_product

DIALECTS: tuple[QdqDialect, ...] = ("cpu", "tensorrt")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    ramps = [np.add.outer(np.linspace(20, 150, 40), np.linspace(0, r, 48)) for r in random.uniform(10, 90, 24)]
    return [preprocess((r + random.normal(0, 5, r.shape)).clip(0, 255).astype(np.uint8), SPEC) for r in ramps]


@pytest.fixture(scope="module")
def collected(graph: Graph, frames: list[np.ndarray]):  # -> Collected
    return collect(graph.model, tensors_to_watch(graph, [make_plan(graph, d) for d in DIALECTS]), frames)


def written(graph: Graph, collected, dialect: QdqDialect, exclude: Collection[str] = ()) -> onnx.ModelProto:
    ranges: Ranges = collected.ranges(graph, "mse", dialect == "tensorrt")
    return quantised(graph, make_plan(graph, dialect, exclude), ranges)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_scores_stay_close_to_fp32(graph: Graph, collected, frames: list[np.ndarray], dialect: QdqDialect) -> None:
    before = run_graph(graph.model, "fp32", frames, threads=1)
    after = run_graph(written(graph, collected, dialect), dialect, frames, threads=1)
    assert np.abs(after.score / before.score - 1.0).max() < 0.05
    assert np.abs(after.heatmap - before.heatmap).max() < 0.2 * before.heatmap.max()
    assert rank_correlation(before.score, after.score) > 0.95
    assert not np.array_equal(before.score, after.score)


def test_tensorrt_reads_symmetric_int8_and_float_biases_only(graph: Graph, collected) -> None:
    model = written(graph, collected, "tensorrt")
    constants = {i.name: i for i in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) == 2 * (5 + len({graph.nodes[c].input[0] for c in make_plan(graph, "tensorrt").convs}))
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    assert all(i.data_type != TensorProto.INT32 for i in constants.values())
    merge = next(n for n in model.graph.node if n.name == "merge")
    weight = next(n for n in pairs if n.output[0] == merge.input[1])
    assert constants[weight.input[1]].dims == [16]
    assert merge.input[2] in constants


def test_only_convolutions_read_rounded_values_in_the_tensorrt_dialect(graph: Graph, collected) -> None:
    model = written(graph, collected, "tensorrt")
    rounded = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    readers = [n for n in model.graph.node if rounded & set(n.input)]
    assert sorted(n.name for n in readers) == sorted(make_plan(graph, "tensorrt").convs)


def test_the_cpu_dialect_runs_in_integers(graph: Graph, collected, tmp_path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    model = written(graph, collected, "cpu")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
    assert kinds.count("QLinearConv") == 5
    assert {"QLinearConcat", "QLinearLeakyRelu"} <= set(kinds)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_excluded_layer_is_untouched(graph: Graph, collected, dialect: QdqDialect) -> None:
    model = written(graph, collected, dialect, exclude=["deep"])
    deep = next(n for n in model.graph.node if n.name == "deep")
    assert deep.input[1:] == graph.nodes["deep"].input[1:]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_excluding_everything_gives_fp32_back(
    graph: Graph, collected, frames: list[np.ndarray], dialect: QdqDialect
) -> None:
    model = written(graph, collected, dialect, exclude=make_plan(graph, dialect).convs)
    before = run_graph(graph.model, "fp32", frames[:3], threads=1)
    assert np.array_equal(before.score, run_graph(model, "none", frames[:3], threads=1).score)


def test_the_original_graph_is_left_alone(graph: Graph, collected) -> None:
    before = graph.model.SerializeToString()
    written(graph, collected, "cpu")
    written(graph, collected, "tensorrt")
    assert graph.model.SerializeToString() == before


@given(st.floats(-1e6, 0.0), st.floats(0.0, 1e6))
def test_zero_is_represented_exactly_and_the_ends_within_a_step(low: float, high: float) -> None:
    scale, zero = asymmetric_scale((low, high))
    assert 0 <= zero <= 255
    assert scale > 0.0
    assert (255 - zero) * scale >= high - 0.51 * scale
    assert -zero * scale <= low + 0.51 * scale
    assert 127.0 * symmetric_scale((low, high)) >= 0.999999 * max(-low, high)


def test_a_dead_channel_has_a_scale() -> None:
    weight = np.zeros((3, 2, 3, 3), np.float32)
    weight[1] = 2.54
    assert (weight_scales(weight) > 0).all()
    assert weight_scales(weight)[1] == pytest.approx(0.02)


def test_collecting_again_gives_the_same_ranges(graph: Graph, collected, frames: list[np.ndarray]) -> None:
    again = collect(graph.model, list(collected.statistics), frames)
    assert again.ranges(graph, "mse", True) == collected.ranges(graph, "mse", True)
    assert collected.convergence("mse").startswith("24 frames: scales moved ")
    assert 0.0 <= collected.movement("minmax") < 0.5


def test_a_graph_that_overflows_is_named(graph: Graph, frames: list[np.ndarray]) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    bias = next(i for i in model.graph.initializer if i.name == graph.nodes["deep"].input[2])
    bias.CopyFrom(numpy_helper.from_array(np.full(16, np.inf, np.float32), bias.name))
    with pytest.raises(CheckFailed, match="deep_out is not finite"):
        collect(model, ["deep_out"], frames[:1])


def test_a_stored_weight_is_int8_and_the_product_stays_in_float(frames: list[np.ndarray]) -> None:
    graph = gradient_product(4096, 32)
    model = quantised(graph, make_plan(graph, "cpu"), {})
    product = next(n for n in model.graph.node if n.name == "alpha")
    stored = next(n for n in model.graph.node if n.output[0] == product.input[1])
    weight = next(i for i in model.graph.initializer if i.name == stored.input[0])
    assert (weight.data_type, list(weight.dims)) == (TensorProto.INT8, [4096, 32])
    assert product.input[0] == graph.nodes["alpha"].input[0]
    before, after = (run_graph(m, "g", frames, threads=1) for m in (graph.model, model))
    np.testing.assert_allclose(after.masked_error, before.masked_error, rtol=0.01)
    assert not np.array_equal(after.masked_error, before.masked_error)
