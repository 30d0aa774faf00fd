"""Which layers run in INT8 follows from the graph's structure alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from calib.graph import Graph, multiply_accumulates, named_model
from calib.plan import make_plan, output_point, shared_groups
from edge.errors import InputError
from tests.calib.making import Net, gradient_product, scoring_net


def test_gates_heads_and_thin_layers_stay_in_float(graph: Graph) -> None:
    plan = make_plan(graph, "tensorrt")
    assert plan.convs == ("depthwise", "pointwise", "deep", "deeper", "merge")
    assert plan.kept == {
        "first": "fewer than 8 channels",
        "gate": "attention gate or output head",
        "head": "attention gate or output head",
    }
    assert plan.passing == ()


def test_depthwise_can_be_left_out_and_any_layer_excluded(graph: Graph) -> None:
    plan = make_plan(graph, "tensorrt", exclude=["deep"], depthwise=False)
    assert plan.convs == ("pointwise", "deeper", "merge")
    assert (plan.kept["depthwise"], plan.kept["deep"]) == ("depthwise", "excluded")


def test_on_the_cpu_whole_chains_run_on_integers(graph: Graph) -> None:
    kinds = [graph.nodes[n].op_type for n in make_plan(graph, "cpu").passing]
    assert sorted(set(kinds)) == ["Concat", "LeakyRelu", "MaxPool", "Relu", "Resize"]


def test_a_node_that_only_moves_values_may_begin_a_chain(graph: Graph) -> None:
    """The max-pool lies between the float gate and a convolution; read by a float node as well, it stays in float."""
    pool = next(n.name for n in graph.nodes.values() if n.op_type == "MaxPool")
    assert pool in make_plan(graph, "cpu").passing
    assert pool not in make_plan(graph, "cpu", exclude=["deep"]).passing


def test_what_concat_joins_shares_one_scale(graph: Graph) -> None:
    merge = next(n for n in graph.nodes.values() if n.op_type == "Concat" and len(set(n.input)) == 2)
    resize = next(n for n in graph.nodes.values() if n.op_type == "Resize")
    joined = (*merge.input, *merge.output, resize.input[0])
    groups = shared_groups(graph, [*joined, "unrelated"])
    assert len({groups[t] for t in joined}) == 1
    assert groups["unrelated"] == "unrelated"


def test_the_result_is_rounded_behind_its_relu(graph: Graph) -> None:
    assert output_point(graph, graph.nodes["merge"]) != "merge_out"
    assert output_point(graph, graph.nodes["deep"]) == "deep_out"  # a leaky ReLU is not part of a convolution


def test_grad_cam_and_what_follows_it_stays_in_float() -> None:
    net = Net()
    x = net.add("Transpose", [net.add("Cast", ["frame"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    a = net.conv(net.conv(x, "a", (16, 1, 3, 3)), "b", (16, 16, 3, 3))
    positive = net.add("Greater", [a, net.constant(np.float32(0))])
    gradient = net.add("Where", [positive, a, net.constant(np.float32(0))])
    g = net.conv(gradient, "gradient", (16, 16, 3, 3))
    last = net.conv(net.conv(a, "c", (16, 16, 3, 3)), "last", (16, 16, 3, 3))
    both = net.add("ReduceMean", [net.add("Mul", [g, last])], axes=[1], keepdims=0)
    net.add("ReduceMean", [both], axes=[1, 2], keepdims=0, output="score")
    net.add("ReduceMean", [both], axes=[1, 2], keepdims=0, output="masked_error")
    net.add("Identity", [both], output="heatmap")
    plan = make_plan(Graph(named_model(net.model().SerializeToString(), "net")), "tensorrt")
    assert plan.convs == ("b", "c")
    assert plan.kept["gradient"] == "Grad-CAM or score arithmetic"
    assert plan.kept["last"] == "output head"


def test_of_grad_cam_the_large_weight_is_stored_in_int8_on_the_cpu() -> None:
    graph = gradient_product(4096, 32)
    assert make_plan(graph, "cpu").stored == ("alpha",)
    assert make_plan(graph, "cpu", exclude=["alpha"]).stored == ()
    assert make_plan(graph, "tensorrt").stored == ()
    assert make_plan(gradient_product(1024, 32), "cpu").stored == ()


def test_multiply_accumulates_are_counted_per_group(graph: Graph) -> None:
    assert multiply_accumulates(graph, graph.nodes["depthwise"]) == 32 * 32 * 32 * 9
    assert multiply_accumulates(graph, graph.nodes["merge"]) == 32 * 32 * 16 * 32 * 9


def test_a_transposed_convolution_stays_in_float() -> None:
    model = scoring_net()
    for node in model.graph.node:
        if node.name == "deeper":
            node.op_type = "ConvTranspose"
    plan = make_plan(Graph(named_model(model.SerializeToString(), "net")), "tensorrt")
    assert plan.kept["deeper"] == "ConvTranspose stays in float"


def test_nodes_without_a_name_get_one() -> None:
    model = scoring_net()
    for node in model.graph.node:
        node.name = ""
    assert len(Graph(named_model(model.SerializeToString(), "net")).nodes) == len(model.graph.node)


def test_what_is_no_fp32_graph_is_refused(graph: Graph) -> None:
    with pytest.raises(InputError, match="not a valid ONNX graph"):
        named_model(b"nonsense", "graphs/fp32.onnx")
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    zero = onnx.helper.make_tensor("zero", TensorProto.INT8, [], [0])
    scale = onnx.helper.make_tensor("scale", TensorProto.FLOAT, [], [1.0])
    model.graph.initializer.extend([zero, scale])
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["score", "scale", "zero"], ["q"]))
    with pytest.raises(InputError, match="quantised already"):
        named_model(model.SerializeToString(), "graphs/fp32.onnx")
