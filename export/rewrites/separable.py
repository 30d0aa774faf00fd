"""A separable convolution of the picture itself becomes a plain one: three channels fill no vector, one at a time.

Nothing lies between its depth-wise and its 1x1 half, so their product is one 3x3 convolution with the same result.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from export.editor import Array, Editor, attribute

WIDEST = 4  # input channels; above it the plain convolution has more to multiply than it saves in memory traffic


def plain_first(graph: ModelProto) -> ModelProto:
    """Concat(x, x) -> depth-wise -> 1x1, x of at most WIDEST channels: one plain convolution of x."""
    edit = Editor(graph)
    for node in edit.nodes:
        pointwise = edit.only_reader(node.output[0]) if _is_depthwise(edit, node) else None
        copies = edit.maker(node.input[0]) if pointwise is not None else None
        if pointwise is None or copies is None or not _is_pointwise(edit, pointwise) or not _copies_one(edit, copies):
            continue
        weight, bias = _product(edit, node, pointwise, len(copies.input))
        stem = pointwise.output[0]
        inputs = [copies.input[0], edit.add_weight(f"{stem}_weight", weight), edit.add_weight(f"{stem}_bias", bias)]
        kept = {a.name: attribute(node, a.name) for a in node.attribute if a.name != "group"}
        edit.replace([node, pointwise], [edit.node("Conv", inputs, stem, **kept)])
    edit.remove_unused()
    return edit.model


def _is_depthwise(edit: Editor, node: NodeProto) -> bool:
    """One kernel for each channel, constant."""
    constant = node.op_type == "Conv" and all(name in edit.weights for name in node.input[1:])
    return constant and edit.shape(node.input[1])[:2] == (attribute(node, "group", 1), 1)


def _is_pointwise(edit: Editor, node: NodeProto) -> bool:
    constant = node.op_type == "Conv" and all(name in edit.weights for name in node.input[1:])
    plain = all(set(attribute(node, name, [default])) == {default} for name, default in _PLAIN.items())
    return constant and plain and attribute(node, "group", 1) == 1 and edit.shape(node.input[1])[2:] == (1, 1)


_PLAIN = {"strides": 1, "pads": 0, "dilations": 1}


def _copies_one(edit: Editor, node: NodeProto) -> bool:
    """A concatenation, along the channels, of one narrow tensor with itself."""
    if node.op_type != "Concat" or attribute(node, "axis") != 1 or len(set(node.input)) > 1:
        return False
    return edit.shape(node.input[0])[1] <= WIDEST


def _product(edit: Editor, depthwise: NodeProto, pointwise: NodeProto, copies: int) -> tuple[Array, Array]:
    """Weight [O, C, kh, kw] and bias [O], from the depth-wise [copies*C, 1, kh, kw] and the 1x1 [O, copies*C, 1, 1]."""
    kernels = edit.array(depthwise.input[1])[:, 0].astype(np.float64)
    mixing = edit.array(pointwise.input[1])[:, :, 0, 0].astype(np.float64)
    weight = np.einsum("oi,iuv->oiuv", mixing, kernels)
    weight = weight.reshape(len(mixing), copies, -1, *kernels.shape[1:]).sum(1)
    inner, outer = (_bias(edit, node) for node in (depthwise, pointwise))
    return weight.astype(np.float32), (outer + mixing @ inner).astype(np.float32)


def _bias(edit: Editor, node: NodeProto) -> Array:
    if len(node.input) > 2:
        return edit.array(node.input[2]).astype(np.float64)
    return np.zeros(edit.shape(node.input[1])[0])
