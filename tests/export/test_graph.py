"""The exported graph keeps its contract, and parity names what is wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from edge.errors import CheckFailed
from export.graph import OPSET, OUTPUTS, checked, graph_from_scorer, shape_of
from export.parity import check_parity, first_divergence, torch_outputs
from tests.export.conftest import SIDE, SPEC, pictures
from train.method import Method


def test_the_graph_has_the_face_of_every_scoring_graph(graph: ModelProto) -> None:
    assert [o.name for o in graph.graph.output] == list(OUTPUTS)
    assert shape_of(graph, "frame") == (1, SIDE, SIDE, 3)
    assert shape_of(graph, "score") == shape_of(graph, "masked_error") == (1,)
    assert graph.opset_import[0].version == OPSET
    assert graph.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_the_frame_is_cast_before_it_is_moved(graph: ModelProto) -> None:
    (first,) = [n for n in graph.graph.node if "frame" in n.input]
    assert first.op_type == "Cast"  # TensorRT transposes no uint8


def test_batch_norms_are_folded(graph: ModelProto) -> None:
    assert "BatchNormalization" not in {n.op_type for n in graph.graph.node}


def test_three_computations_agree(graph: ModelProto, method: Method) -> None:
    parity = check_parity(method.scorer(), method.reference_scorer(), graph, pictures(3))
    assert parity.frames == 3
    assert parity.worst[2] < 1e-5


@pytest.mark.parametrize("layer", ["down.0/second/depthwise", "down.3/first/pointwise", "up.2/second/depthwise"])
def test_the_first_inner_tensor_that_differs_is_named(graph: ModelProto, method: Method, layer: str) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    (node,) = [n for n in broken.graph.node if n.name == f"/generator/{layer}/Conv"]
    (weight,) = [t for t in broken.graph.initializer if t.name == node.input[1]]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.5), weight.name))
    with pytest.raises(CheckFailed, match=f"first inner tensor to differ is /generator/{layer}/") as told:
        check_parity(method.scorer(), method.reference_scorer(), broken, pictures(1))
    assert told.value.exit_code == 4


def test_a_scorer_that_is_not_its_reference_is_told(graph: ModelProto, method: Method) -> None:
    class Shifted(nn.Module):
        def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
            score, masked_error, heatmap = method.reference_scorer()(frame)
            return score * 1.01, masked_error, heatmap

    with pytest.raises(CheckFailed, match="scorer and reference disagree on score"):
        check_parity(method.scorer(), Shifted(), graph, pictures(1))


def test_an_error_in_the_scores_own_arithmetic_is_told(graph: ModelProto, method: Method) -> None:
    told = first_divergence(method.scorer(), graph, pictures(1)[0:1], 1e-4)
    assert "inner tensors that torch knows agree" in told


def test_torch_outputs_are_scored_one_by_one(method: Method) -> None:
    both = torch_outputs(method.scorer(), pictures(2))
    single = torch_outputs(method.scorer(), pictures(2)[1:])
    assert both.score[1] == single.score[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda g: setattr(g.opset_import[0], "version", 18), "expected opset 17"),
        (lambda g: setattr(g.graph.output[0], "name", "other"), "other names"),
        (lambda g: g.graph.node.append(onnx.helper.make_node("RandomUniform", [], ["r"], shape=[1])), "RandomUniform"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(graph: ModelProto, change, told: str) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    change(other)
    with pytest.raises(CheckFailed, match=told):
        checked(other)


def test_a_frame_of_free_size_is_refused(graph: ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    other.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    with pytest.raises(CheckFailed, match="not static"):
        checked(other)


def test_grey_frames_export_too() -> None:
    from train.method import MethodConfig
    from train.methods import build

    grey = build("sagan", MethodConfig(32, 48, 1, 4))
    grey.networks.eval()
    spec = SPEC.model_copy(update={"width": 48, "colour": "grey"})
    exported = graph_from_scorer(grey.scorer(), spec)
    assert shape_of(exported, "frame") == (1, 32, 48, 1)
    assert shape_of(exported, "heatmap")[0] == 1
