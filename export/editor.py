"""A small hand for editing ONNX graphs: who makes and reads a tensor, new weights and nodes, tidying up after."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

Array = NDArray[Any]


class Editor:
    """A copy of a graph under change; `model` is the result. Batch and shapes are static throughout."""

    def __init__(self, graph: ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(graph)
        self.weights = {t.name: t for t in self.model.graph.initializer}
        self._names = {n.name for n in self.model.graph.node} | {o for n in self.model.graph.node for o in n.output}
        self._names |= set(self.weights)

    @property
    def nodes(self) -> list[NodeProto]:
        """The nodes, in topological order."""
        return list(self.model.graph.node)

    def maker(self, tensor: str) -> NodeProto | None:
        """The node that makes `tensor`; None for inputs and weights."""
        return next((n for n in self.model.graph.node if tensor in n.output), None)

    def readers(self, tensor: str) -> list[NodeProto]:
        """The nodes that read `tensor`."""
        return [n for n in self.model.graph.node if tensor in n.input]

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The one node that reads `tensor`, if there is just one and the graph does not put it out."""
        readers = self.readers(tensor)
        given_out = any(o.name == tensor for o in self.model.graph.output)
        return readers[0] if len(readers) == 1 and not given_out else None

    def array(self, tensor: str) -> Array:
        """Value of a weight."""
        return np.asarray(numpy_helper.to_array(self.weights[tensor]))

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Static shape of any tensor whose shape was inferred."""
        if tensor in self.weights:
            return tuple(self.weights[tensor].dims)
        graph = self.model.graph
        value = next(v for v in (*graph.value_info, *graph.input, *graph.output) if v.name == tensor)
        return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)

    def add_weight(self, name: str, values: Array) -> str:
        """Add a weight, with a new name if `name` is taken; returns the name."""
        name = self.fresh(name)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        self.weights[name] = self.model.graph.initializer[-1]
        return name

    def fresh(self, name: str) -> str:
        """`name`, or with a number behind it, so that nothing else has it."""
        found, number = name, 1
        while found in self._names:
            found, number = f"{name}_{number}", number + 1
        self._names.add(found)
        return found

    def replace(self, old: list[NodeProto], new: list[NodeProto]) -> None:
        """Put `new` where the last of `old` stood and take all of `old` out."""
        nodes, gone = self.nodes, {o.output[0] for o in old}
        where = max(i for i, n in enumerate(nodes) if n.output[0] in gone)
        kept = [(i, n) for i, n in enumerate(nodes) if n.output[0] not in gone]
        before, after = [n for i, n in kept if i < where], [n for i, n in kept if i > where]
        self.model.graph.ClearField("node")
        self.model.graph.node.extend([*before, *new, *after])

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        """A new node named after its output."""
        return helper.make_node(op, inputs, [output], name=self.fresh(f"{output}/{op}"), **attributes)

    def constants_to_initializers(self) -> None:
        """Turn Constant nodes into weights."""
        for node in [n for n in self.nodes if n.op_type == "Constant"]:
            value = helper.get_attribute_value(node.attribute[0])
            tensor = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
            self.model.graph.initializer.append(numpy_helper.from_array(tensor, node.output[0]))
            self.weights[node.output[0]] = self.model.graph.initializer[-1]
            self.model.graph.node.remove(node)

    def remove_unused(self) -> None:
        """Drop nodes and weights that no output depends on."""
        wanted = {o.name for o in self.model.graph.output}
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        weights = [t for t in self.model.graph.initializer if t.name in wanted]
        self.model.graph.ClearField("node")
        self.model.graph.node.extend(reversed(kept))
        self.model.graph.ClearField("initializer")
        self.model.graph.initializer.extend(weights)
        self.weights = {t.name: t for t in self.model.graph.initializer}


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Value of a node's attribute, or `default`."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
