"""CBAM's channel attention: one network over two vectors, and the sum of both, as one network over the joined vector.

W2 relu(W1 a + b1) + b2 + W2 relu(W1 b + b1) + b2 is a two-layer network of [a, b]: W1 twice along the diagonal, W2
twice side by side. Four nodes instead of seven, and of matrices this small it is the node that costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from export.editor import Editor, attribute


@dataclass(frozen=True)
class _Branch:
    """`nodes` compute second(relu(first(source)))."""

    source: str
    nodes: tuple[NodeProto, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        return (*self.nodes[0].input[1:], *self.nodes[2].input[1:])


def shared_mlp(graph: ModelProto) -> ModelProto:
    """Gemm(Relu(Gemm(a))) + Gemm(Relu(Gemm(b))) of the same weights -> Gemm(Relu(Gemm(Concat(a, b))))."""
    edit = Editor(graph)
    for node in [n for n in edit.nodes if n.op_type == "Add"]:
        branches = [_branch(edit, name) for name in node.input]
        left, right = branches if len(branches) == 2 else (None, None)
        if left is not None and right is not None and left.weights == right.weights and left.source != right.source:
            edit.replace([node, *left.nodes, *right.nodes], _joined(edit, left, right, node.output[0]))
    edit.remove_unused()
    return edit.model


def _joined(edit: Editor, left: _Branch, right: _Branch, out: str) -> list[NodeProto]:
    first, first_bias, second, second_bias = (edit.array(name) for name in left.weights)
    diagonal = np.kron(np.eye(2, dtype=first.dtype), first)
    pair, hidden, active = (edit.fresh(f"{out}_{part}") for part in ("pair", "hidden", "active"))
    below = [edit.add_weight(f"{out}_first", diagonal), edit.add_weight(f"{out}_b1", np.tile(first_bias, 2))]
    above = [edit.add_weight(f"{out}_second", np.tile(second, 2)), edit.add_weight(f"{out}_b2", 2 * second_bias)]
    return [
        edit.node("Concat", [left.source, right.source], pair, axis=1),
        edit.node("Gemm", [pair, *below], hidden, transB=1),
        edit.node("Relu", [hidden], active),
        edit.node("Gemm", [active, *above], out, transB=1),
    ]


def _branch(edit: Editor, tensor: str) -> _Branch | None:
    """The two layers that make `tensor`, if nothing else reads what lies between."""
    second = _layer(edit, tensor)
    relu = edit.maker(second.input[0]) if second is not None else None
    first = _layer(edit, relu.input[0]) if relu is not None and relu.op_type == "Relu" else None
    if first is None or second is None or relu is None:
        return None
    inner = all(edit.only_reader(name) is not None for name in (tensor, relu.output[0], first.output[0]))
    return _Branch(first.input[0], (first, relu, second)) if inner else None


def _layer(edit: Editor, tensor: str) -> NodeProto | None:
    """The plain Gemm with weight and bias, [out, in], that makes `tensor`."""
    node = edit.maker(tensor)
    if node is None or node.op_type != "Gemm" or len(node.input) != 3:
        return None
    factors = (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0))
    layout = (attribute(node, "transA", 0), attribute(node, "transB", 0))
    constant = all(name in edit.weights for name in node.input[1:])
    return node if factors == (1.0, 1.0) and layout == (0, 1) and constant else None
