"""fp32 scoring graph -> fp16. Strongly typed networks (TensorRT 10 and later) take their precision from the graph.

The networks become half precision; what comes before their first weight and after their last (scaling of the picture,
the score's own arithmetic, norms and peaks) stays in fp32, because differences of close numbers and sums of thousands
of squares leave the range or the resolution of half precision. So do the sizes of Resize. Converters in use elsewhere
round every tensor between two fp32 nodes to half and back; here a tensor is cast only where the precision changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from edge.errors import CheckFailed
from export.editor import Array, Editor

LARGEST, SMALLEST = 65504.0, 2.0**-24


def half_from_single(graph: ModelProto) -> ModelProto:
    """A copy of `graph` in fp16 with uint8 input and float32 outputs. Raises CheckFailed for a weight out of range."""
    edit = Editor(graph)
    edit.constants_to_initializers()
    floats = _float_tensors(edit.model)
    half_nodes = {n.name for n in edit.nodes} - full_precision_nodes(edit.model)
    work = _Halving(edit, floats)
    for node in list(edit.nodes):
        work.convert(node, node.name in half_nodes)
    edit.model.graph.ClearField("node")
    edit.model.graph.node.extend(work.nodes)
    edit.remove_unused()
    edit.model.graph.ClearField("value_info")
    onnx.checker.check_model(edit.model, full_check=True)
    return onnx.shape_inference.infer_shapes(edit.model, strict_mode=True)


def full_precision_nodes(graph: ModelProto) -> set[str]:
    """Names of the nodes that no network layer comes before, or none comes after."""
    weights = {t.name: tuple(t.dims) for t in graph.graph.initializer}
    nodes = list(graph.graph.node)
    layers = [n for n in nodes if _is_layer(n, weights)]
    return {n.name for n in nodes} - (_reached(nodes, layers, down=True) & _reached(nodes, layers, down=False))


class _Halving:
    """Rewrites node after node, in order; keeps which tensors are half by now and the casts already made."""

    def __init__(self, edit: Editor, floats: set[str]) -> None:
        self.edit, self.floats, self.nodes = edit, floats, list[NodeProto]()
        self.half: set[str] = set()
        self.made: dict[tuple[str, bool], str] = {}

    def convert(self, node: NodeProto, to_half: bool) -> None:
        """Append `node`, its float inputs in the wanted precision. Outputs of the graph stay fp32."""
        new = NodeProto()
        new.CopyFrom(node)
        for i, name in enumerate(node.input):
            sizes = node.op_type == "Resize" and i > 0
            if name in self.floats and not sizes:
                new.input[i] = self._as(name, to_half)
        self.nodes.append(new)
        self.half |= {name for name in node.output if to_half and name in self.floats}

    def _as(self, name: str, half: bool) -> str:
        if half == (name in self.half):
            return name
        if (name, half) not in self.made:
            self.made[name, half] = f"{name}_{'half' if half else 'single'}"
            self._make(name, half, self.made[name, half])
        return self.made[name, half]

    def _make(self, name: str, half: bool, new: str) -> None:
        if name in self.edit.weights:
            self.edit.add_weight(new, _as_half(name, self.edit.array(name)))
        else:
            to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [name], [new], name=f"{new}_cast", to=to))


def _as_half(name: str, values: Array) -> Array:
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST:
        raise CheckFailed(
            f"fp16: {name} is out of range",
            f"its largest value is {largest:.3g}, half precision ends at {LARGEST:.0f}",
            "train with weight decay, or export without fp16",
        )
    return np.where(np.abs(values) < SMALLEST, 0, values).astype(np.float16)


def _float_tensors(graph: ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {t.name for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT}


def _is_layer(node: NodeProto, weights: dict[str, tuple[int, ...]]) -> bool:
    """Weighted, and not a filter of one plane (the heatmap's blur) nor a product with a small constant (a sum)."""
    shapes = [weights[name] for name in node.input if name in weights]
    if "Conv" in node.op_type:
        return any(len(shape) == 4 and shape[0] * shape[1] > 1 for shape in shapes)
    return node.op_type in ("Gemm", "MatMul") and any(np.prod(shape) > 256 for shape in shapes)


def _reached(nodes: list[NodeProto], layers: Iterable[NodeProto], down: bool) -> set[str]:
    """Names of the layers and of every node after (`down`) or before them."""
    names = {n.name for n in layers}
    tensors: set[str] = set()
    for node in nodes if down else reversed(nodes):
        entering, leaving = (node.input, node.output) if down else (node.output, node.input)
        if node.name in names or tensors & set(entering):
            names.add(node.name)
            tensors |= set(leaving)
    return names
