"""A depth-wise separable convolution of very few channels (the first, of the picture) becomes one plain convolution.

There is nothing between its two halves, so their product is one kernel: 3x3, C -> O. It costs 9 C O multiplications
instead of 18 C + 2 C O, which pays only where C is so small that the halves wait for memory.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from export.editor import Array, Editor, attribute

MOST_CHANNELS = 4


def plain_first(graph: ModelProto) -> ModelProto:
    """Merge depth-wise and 1x1 convolution where the input has at most MOST_CHANNELS channels, duplicated or not."""
    edit = Editor(graph)
    for pointwise in [n for n in edit.nodes if n.op_type == "Conv"]:
        depthwise = edit.maker(pointwise.input[0])
        if depthwise is None or not _is_pair(edit, depthwise, pointwise):
            continue
        source, times = _source(edit, depthwise.input[0])
        if edit.shape(source)[1] > MOST_CHANNELS:
            continue
        weight, bias = merged(edit, depthwise, pointwise, times)
        out = pointwise.output[0]
        inputs = [source, edit.add_weight(f"{out}_weight", weight), edit.add_weight(f"{out}_bias", bias)]
        pads = attribute(depthwise, "pads", [0, 0, 0, 0])
        edit.replace([depthwise, pointwise], [edit.node("Conv", inputs, out, pads=pads)])
    edit.remove_unused()
    return edit.model


def merged(edit: Editor, depthwise: NodeProto, pointwise: NodeProto, times: int) -> tuple[Array, Array]:
    """(weight [O, C, k, k], bias [O]) of the product, in double precision; input channel j*C+c of the first is c."""
    first = edit.array(depthwise.input[1]).astype(np.float64)[:, 0]
    second = edit.array(pointwise.input[1]).astype(np.float64)[:, :, 0, 0]
    product = np.einsum("oc,cuv->ocuv", second, first)
    product = product.reshape(len(second), times, -1, *first.shape[1:]).sum(1)
    bias = second @ _bias(edit, depthwise, len(first)) + _bias(edit, pointwise, len(second))
    return product.astype(np.float32), bias.astype(np.float32)


def _bias(edit: Editor, node: NodeProto, size: int) -> Array:
    return edit.array(node.input[2]).astype(np.float64) if len(node.input) > 2 else np.zeros(size)


def _source(edit: Editor, tensor: str) -> tuple[str, int]:
    """What is duplicated along the channels, and how often."""
    maker = edit.maker(tensor)
    if maker is None or maker.op_type != "Concat" or attribute(maker, "axis") != 1 or len(set(maker.input)) > 1:
        return tensor, 1
    return maker.input[0], len(maker.input)


def _is_pair(edit: Editor, depthwise: NodeProto, pointwise: NodeProto) -> bool:
    if depthwise.op_type != "Conv" or edit.only_reader(depthwise.output[0]) is None:
        return False
    names = (depthwise.input[1], pointwise.input[1])
    if any(name not in edit.weights for name in names):
        return False
    first, second = edit.shape(names[0]), edit.shape(names[1])
    is_depthwise = first[1] == 1 and attribute(depthwise, "group", 1) == first[0]
    plain = all(attribute(n, "strides", [1, 1]) == [1, 1] for n in (depthwise, pointwise))
    is_pointwise = second[2:] == (1, 1) and not any(attribute(pointwise, "pads", [0, 0, 0, 0]))
    return is_depthwise and is_pointwise and plain and attribute(pointwise, "group", 1) == 1
