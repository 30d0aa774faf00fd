"""An ONNX graph with what calibration asks of it: who makes a tensor, who reads it, its constants and shapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edge.errors import InputError


class Graph:
    """Read-only view of a model whose nodes all have distinct names (`named_model` sees to that)."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: dict[str, onnx.NodeProto] = {n.name: n for n in model.graph.node}
        self.maker: dict[str, onnx.NodeProto] = {o: n for n in model.graph.node for o in n.output if o}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)
        self.outputs = {o.name for o in model.graph.output}
        self._constants = {i.name: i for i in model.graph.initializer}
        self._shapes = _shapes(model)

    def is_constant(self, tensor: str) -> bool:
        """Whether `tensor` is an initializer."""
        return tensor in self._constants

    def constant(self, tensor: str) -> NDArray[np.generic]:
        """Value of an initializer."""
        return np.asarray(numpy_helper.to_array(self._constants[tensor]))

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Static shape of `tensor`, None where it is not known."""
        return self._shapes.get(tensor)

    def upstream(self, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """The nodes that make the inputs of `node`."""
        return (self.maker[i] for i in node.input if i in self.maker)

    def downstream(self, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """The nodes that read the outputs of `node`."""
        return (reader for o in node.output for reader in self.readers.get(o, ()))

    def reached(
        self,
        start: Iterable[onnx.NodeProto],
        step: Callable[[onnx.NodeProto], Iterable[onnx.NodeProto]],
        passes: Callable[[onnx.NodeProto], bool] = lambda node: True,
    ) -> set[str]:
        """Names of all nodes met from `start` by `step`, going on only through nodes for which `passes`."""
        seen: set[str] = set()
        waiting = list(start)
        while waiting:
            node = waiting.pop()
            if node.name in seen:
                continue
            seen.add(node.name)
            if passes(node):
                waiting += step(node)
        return seen


def named_model(data: bytes, source: str) -> onnx.ModelProto:
    """Parse and check `data`; give nodes without a name one, so that reports and exclusions can speak of them.

    Raises InputError if it is not a valid ONNX model, or is quantised already.
    """
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker share no base class
        raise InputError(f"{source} is not a valid ONNX graph", str(error)[:200], "export the bundle again") from error
    if any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph.node):
        raise InputError(f"{source} is quantised already", "it has Q/DQ nodes", "calibrate the fp32 graph")
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)
    return model


def multiply_accumulates(graph: Graph, node: onnx.NodeProto) -> int:
    """Multiply-accumulates of a convolution for one run of the graph; 0 where shapes are not known."""
    output, weight = graph.shape(node.output[0]), graph.shape(node.input[1])
    if output is None or weight is None:
        return 0
    return int(np.prod(output, dtype=np.int64) * np.prod(weight[1:], dtype=np.int64))


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Integer attribute `name` of `node`."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {i.name: tuple(i.dims) for i in inferred.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        dims = value.type.tensor_type.shape.dim
        if all(d.HasField("dim_value") for d in dims):
            found[value.name] = tuple(d.dim_value for d in dims)
    return found
