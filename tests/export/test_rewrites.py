"""Every rewrite is exact to fp32 rounding, alone and together, and does what it is named for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge.engine.onnxruntime import OnnxGraph
from edge.golden import differences, run_frames
from export.graph import graph_from_scorer
from export.rewrites.attention import blocked_attention
from export.rewrites.cast_first import cast_first
from export.rewrites.means import means_in_steps
from export.rewrites.mlp import shared_mlp
from export.rewrites.resize import interpolation, resize_by_products
from export.rewrites.table import REWRITES, rewritten
from tests.export.conftest import SPEC, pictures, small_method


@pytest.fixture(scope="module")
def large() -> ModelProto:
    """64x64, so that the attention of the first level is large enough to be rewritten."""
    return graph_from_scorer(small_method(4, 64).scorer(), SPEC.model_copy(update={"height": 64, "width": 64}))


def outputs(graph: ModelProto):
    return run_frames(OnnxGraph(graph.SerializeToString(), "g", threads=1), pictures(2, side=64))


@pytest.mark.parametrize("name", [*REWRITES, "all"])
def test_a_rewrite_changes_nothing_but_rounding(large: ModelProto, name: str) -> None:
    chosen = REWRITES if name == "all" else {name: REWRITES[name]}
    changed = rewritten(large, chosen)
    assert max(differences(outputs(changed), outputs(large)).values()) < 1e-5
    assert [n.op_type for n in changed.graph.node] != [n.op_type for n in large.graph.node]


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_applied_twice_changes_nothing_more(large: ModelProto, name: str) -> None:
    once = rewritten(large, {name: REWRITES[name]})
    twice = rewritten(once, {name: REWRITES[name]})
    assert Counter(n.op_type for n in once.graph.node) == Counter(n.op_type for n in twice.graph.node)


def model(nodes, weights, shapes, opset: int = 17) -> ModelProto:
    """A graph from `x` to `y`, shapes inferred."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes[0])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes[1])]
    tensors = [numpy_helper.from_array(_typed(v), k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, out, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def _typed(value) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)


def run(graph: ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(graph)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(graph.SerializeToString(), options).run(None, {"x": x})[0]


def ops(graph: ModelProto) -> list[str]:
    return [n.op_type for n in graph.graph.node]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("corners", ["align_corners", "half_pixel", "pytorch_half_pixel"])
@pytest.mark.parametrize("sides", [((4, 6), (8, 12)), ((5, 5), (17, 23)), ((8, 8), (4, 3))])
def test_resize_by_products_is_resize(corners: str, sides) -> None:
    (h, w), (height, width) = sides
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode=corners, name="r"
    )
    before = model([node], {"sizes": np.array([1, 2, height, width])}, ([1, 2, h, w], [1, 2, height, width]))
    after = resize_by_products(before)
    assert ops(after) == ["MatMul", "MatMul"]
    x = normal(1, 2, h, w)
    np.testing.assert_allclose(run(after, x), run(before, x), atol=2e-6)


def test_resize_of_many_planes_and_of_nearest_pixels_stays() -> None:
    def resize(mode: str, channels: int) -> ModelProto:
        node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode, name="r")
        return model([node], {"scales": [1, 1, 2, 2]}, ([1, channels, 4, 4], [1, channels, 8, 8]))

    assert ops(resize_by_products(resize("linear", 8))) == ["Resize"]
    assert ops(resize_by_products(resize("nearest", 1))) == ["Resize"]


def test_interpolation_rows_sum_to_one() -> None:
    for corners in (True, False):
        np.testing.assert_allclose(interpolation(5, 13, corners).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("kernel", [5, 7, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_blocked_attention_is_the_same_convolution(kernel: int, bias: bool) -> None:
    weights = {"w": normal(1, 2, kernel, kernel)} | ({"b": [0.5]} if bias else {})
    before = model(
        [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], name="m"),
            helper.make_node("ReduceMax", ["x"], ["n"], axes=[1], name="n"),
            helper.make_node("Concat", ["m", "n"], ["j"], axis=1, name="j"),
            helper.make_node("Conv", ["j", *weights], ["y"], pads=[kernel // 2] * 4, name="c"),
        ],
        weights,
        ([1, 2, 32, 40], [1, 1, 32, 40]),
    )
    after = blocked_attention(before)
    assert ops(after)[2:] == ["SpaceToDepth", "SpaceToDepth", "Concat", "Conv", "DepthToSpace"]
    x = normal(1, 2, 32, 40)
    np.testing.assert_allclose(run(after, x), run(before, x), atol=1e-4)


def mlp(same: bool = True, **layout: object) -> ModelProto:
    """relu-network(mean over pixels) + relu-network(peak over pixels), of the same weights or of others."""
    weights = {"w1": normal(3, 6), "b1": normal(3), "w2": normal(6, 3), "b2": normal(6), "other": normal(6)}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0, name="m"),
        helper.make_node("ReduceMax", ["x"], ["n"], axes=[2, 3], keepdims=0, name="n"),
    ]
    for end, bias in (("m", "b2"), ("n", "b2" if same else "other")):
        nodes.append(helper.make_node("Gemm", [end, "w1", "b1"], [f"{end}h"], transB=1, name=f"{end}1"))
        nodes.append(helper.make_node("Relu", [f"{end}h"], [f"{end}r"], name=f"{end}2"))
        nodes.append(helper.make_node("Gemm", [f"{end}r", "w2", bias], [f"{end}o"], name=f"{end}3", transB=1, **layout))
    nodes.append(helper.make_node("Add", ["mo", "no"], ["y"], name="add"))
    return model(nodes, weights, ([2, 6, 5, 5], [2, 6]))


def test_one_network_over_two_vectors_is_one_over_both() -> None:
    before = mlp()
    after = shared_mlp(before)
    assert ops(after) == ["ReduceMean", "ReduceMax", "Concat", "Gemm", "Relu", "Gemm"]
    x = normal(2, 6, 5, 5)
    np.testing.assert_allclose(run(after, x), run(before, x), atol=1e-5)


def test_networks_of_other_weights_or_with_factors_stay_two() -> None:
    for two in (mlp(same=False), mlp(alpha=0.5)):
        assert ops(shared_mlp(two)) == ops(two)


@pytest.mark.parametrize(("channels", "out", "side"), [(16, 1, 32), (2, 2, 32), (2, 1, 16), (2, 1, 34)])
def test_other_convolutions_are_left_alone(channels: int, out: int, side: int) -> None:
    parts = [helper.make_node("Split", ["x"], [f"p{i}" for i in range(channels)], axis=1, name="s")]
    parts.append(helper.make_node("Concat", [f"p{i}" for i in range(channels)], ["j"], axis=1, name="j"))
    parts.append(helper.make_node("Conv", ["j", "w"], ["y"], pads=[3] * 4, name="c"))
    graph = model(parts, {"w": normal(out, channels, 7, 7)}, ([1, channels, side, side], [1, out, side, side]))
    assert ops(blocked_attention(graph)) == ["Split", "Concat", "Conv"]


def mean(shape: list[int], axes: list[int], keep: int) -> ModelProto:
    out = [1 if axis in axes else side for axis, side in enumerate(shape) if keep or axis not in axes]
    return model([helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=keep, name="m")], {}, (shape, out))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[1, 2, 3], [2, 3]])
def test_a_mean_over_a_large_picture_keeps_its_digits(axes: list[int], keep: int) -> None:
    before = mean([1, 3, 1024, 1024], axes, keep)
    after = means_in_steps(before)
    assert ops(after) == ["ReduceMean", "ReduceMean"]
    x = np.random.default_rng(0).exponential(size=(1, 3, 1024, 1024)).astype(np.float32)
    exact = x.mean(tuple(axes), np.float64, keepdims=bool(keep))
    np.testing.assert_allclose(run(after, x), exact, rtol=5e-6)
    assert ops(means_in_steps(onnx.shape_inference.infer_shapes(after))) == ["ReduceMean", "ReduceMean"]


@pytest.mark.parametrize(
    ("shape", "axes"), [([1, 3, 128, 128], [1, 2, 3]), ([1, 512, 64, 64], [1]), ([1, 1 << 17], [1])]
)
def test_other_means_stay(shape: list[int], axes: list[int]) -> None:
    assert ops(means_in_steps(mean(shape, axes, 0))) == ["ReduceMean"]


def test_cast_first_leaves_a_graph_that_casts_first_alone(graph: ModelProto) -> None:
    assert ops(cast_first(graph)) == ops(graph)
