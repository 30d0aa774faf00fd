"""A graph must hold its own weights, whatever nesting hides the reference to another file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge.engine.graph_file import require_self_contained
from edge.errors import InputError
from tests.edge.tiny_bundle import tiny_graph


def external(tensor: TensorProto) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def weight() -> TensorProto:
    return numpy_helper.from_array(np.ones(4, np.float32), "w")


def model(*, initializer: bool = False, constant: bool = False, nested: bool = False) -> bytes:
    inner = helper.make_graph([], "inner", [], [], [external(weight())] if nested else [])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
    nodes.append(helper.make_node("Constant", [], ["k"], value=external(weight()) if constant else weight()))
    graph = helper.make_graph(nodes, "g", [], [], [external(weight()) if initializer else weight()])
    return bytes(helper.make_model(graph).SerializeToString())


def test_a_self_contained_graph_passes() -> None:
    require_self_contained(tiny_graph(), "tiny")
    require_self_contained(model(), "plain")


@pytest.mark.parametrize("place", ["initializer", "constant", "nested"])
def test_weights_in_another_file_are_refused(place: str) -> None:
    with pytest.raises(InputError, match="keeps weights in another file"):
        require_self_contained(model(**{place: True}), "g")


def test_only_the_location_flag_is_enough_to_refuse() -> None:
    tensor = weight()
    tensor.data_location = TensorProto.EXTERNAL
    graph = onnx.ModelProto(graph=helper.make_graph([], "g", [], [], [tensor]))
    with pytest.raises(InputError):
        require_self_contained(graph.SerializeToString(), "g")


@given(st.binary(max_size=200))
def test_garbage_ends_in_a_clear_error_or_passes(data: bytes) -> None:
    try:
        require_self_contained(data, "garbage")
    except InputError as error:
        assert "garbage" in str(error)


def test_a_truncated_graph_is_refused() -> None:
    with pytest.raises(InputError, match="not an ONNX graph"):
        require_self_contained(tiny_graph()[:-7], "cut")
