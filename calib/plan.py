"""Which nodes run in INT8 and which stay in float, and why. Structure only: names and methods play no part.

Kept in float: attention gates and output heads (a rounded sigmoid moves every score), Grad-CAM and score arithmetic,
transposed convolutions (TensorRT has got their weight axis wrong), and convolutions too thin to gain anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import onnx

from calib.graph import Graph, attribute

QdqDialect = Literal["cpu", "tensorrt"]

GATES = {"Sigmoid", "HardSigmoid", "Tanh", "Softmax", "Erf"}
COMPARISONS = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where", "Sign"}
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# What lies between a convolution and its gate or head.
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "PRelu", "Clip", "BatchNormalization"} | {
    "Reshape",
    "DepthToSpace",
}
# Operators that ONNX Runtime carries out on uint8, so that a chain of them never goes back to float.
PASSING = {"Relu", "LeakyRelu", "MaxPool", "Concat", "Resize", "Add"}
# Operators that only move values: their input and output share one scale.
MOVING = {"MaxPool", "Concat", "Resize", "Transpose", "Reshape", "Slice", "Split", "Gather", "Squeeze", "Unsqueeze"}
BEGINNING = {"MaxPool", "Concat"}
LARGE = 1 << 16  # values; reading a smaller weight takes no time
NARROW = 8  # channels; thinner convolutions fill no INT8 vector


@dataclass(frozen=True)
class Plan:
    """`convs`: names of convolutions in INT8. `passing`: names of other nodes in INT8 (cpu dialect only).

    `kept`: weighted nodes left in float -> the reason. `stored`: matrix products among them that compute in float from
    a weight in INT8 (cpu dialect only).
    """

    dialect: QdqDialect
    convs: tuple[str, ...]
    passing: tuple[str, ...]
    kept: dict[str, str]
    stored: tuple[str, ...] = ()


def make_plan(graph: Graph, dialect: QdqDialect, exclude: Collection[str] = (), depthwise: bool = True) -> Plan:
    """Decide for each weighted node. `exclude`: names of nodes to keep in float; `depthwise` false keeps those too."""
    rules = _Rules(graph, exclude, depthwise)
    weighted = [n for n in graph.model.graph.node if n.op_type in WEIGHTED]
    kept = {n.name: reason for n in weighted if (reason := rules.reason(n)) is not None}
    convs = tuple(n.name for n in weighted if n.name not in kept)
    passing = _passing(graph, convs, exclude) if dialect == "cpu" else ()
    stored = tuple(n.name for n in weighted if dialect == "cpu" and rules.may_store(n))
    return Plan(dialect, convs, passing, kept, stored)


def shared_groups(graph: Graph, tensors: Collection[str]) -> dict[str, str]:
    """Tensor -> representative of its group; tensors joined by nodes that only move values need one scale.

    Only the given tensors are joined; each is at least in its own group.
    """
    leader = {t: t for t in tensors}

    def find(tensor: str) -> str:
        while leader[tensor] != tensor:
            tensor = leader[tensor]
        return tensor

    for node in graph.model.graph.node:
        if node.op_type not in MOVING:
            continue
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        present = [t for t in (*sources, *node.output) if t in leader]
        for tensor in present[1:]:
            leader[find(tensor)] = find(present[0])
    return {t: find(t) for t in leader}


def is_depthwise(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a convolution is grouped (depthwise among them): slow or unsupported in INT8 on many GPUs."""
    return node.op_type == "Conv" and attribute(node, "group", 1) > 1


def output_point(graph: Graph, node: onnx.NodeProto) -> str:
    """The tensor at which a node's result is rounded: behind its ReLU where that is all that reads it."""
    output = str(node.output[0])
    readers = graph.readers.get(output, [])
    fused = node.op_type in ("Conv", "Add") and len(readers) == 1 and readers[0].op_type == "Relu"
    return str(readers[0].output[0]) if fused and output not in graph.outputs else output


class _Rules:
    """The reasons to keep a weighted node in float, each found once for the whole graph."""

    def __init__(self, graph: Graph, exclude: Collection[str], depthwise: bool) -> None:
        self._graph, self._exclude, self._depthwise = graph, set(exclude), depthwise
        nodes = graph.model.graph.node
        gates = [n for n in nodes if n.op_type in GATES]
        self._gates = graph.reached(gates, graph.upstream, lambda n: n.op_type in GATES | ELEMENTWISE)
        self._gradient = self._after_comparison(nodes)
        self._feeding = self._feeds_a_convolution(nodes)

    def reason(self, node: onnx.NodeProto) -> str | None:
        """Why `node` stays in float; None if it may be quantised."""
        graph = self._graph
        checks = (
            (node.name in self._exclude, "excluded"),
            (node.op_type != "Conv", f"{node.op_type} stays in float"),
            (not graph.is_constant(node.input[1] if len(node.input) > 1 else ""), "its weight is not constant"),
            (node.name in self._gates, "attention gate or output head"),
            (node.name in self._gradient, "Grad-CAM or score arithmetic"),
            (node.name not in self._feeding, "output head"),
            (node.op_type == "Conv" and self._is_vector(node), "works on a 1x1 map"),
            (node.op_type == "Conv" and self._is_narrow(node), f"fewer than {NARROW} channels"),
            (not self._depthwise and is_depthwise(graph, node), "depthwise"),
        )
        return next((text for holds, text in checks if holds), None)

    def may_store(self, node: onnx.NodeProto) -> bool:
        """Whether `node` is Grad-CAM's large product, which takes as long as its weight takes to read."""
        constant = node.op_type == "MatMul" and self._graph.is_constant(node.input[1])
        if not constant or node.name not in self._gradient or node.name in self._exclude:
            return False
        weight = self._graph.constant(node.input[1])
        return weight.ndim == 2 and weight.size >= LARGE

    def _after_comparison(self, nodes: Iterable[onnx.NodeProto]) -> set[str]:
        """Everything that depends on a comparison of something that a convolution made: gradients and their masks."""
        graph = self._graph
        made = graph.reached([n for n in nodes if n.op_type == "Conv"], graph.downstream)
        compared = [n for n in nodes if n.op_type in COMPARISONS and n.name in made]
        return graph.reached(compared, graph.downstream)

    def _feeds_a_convolution(self, nodes: Iterable[onnx.NodeProto]) -> set[str]:
        """Nodes from which another convolution is reached; the rest are heads."""
        graph = self._graph
        before = [m for n in nodes if n.op_type == "Conv" for m in graph.upstream(n)]
        return graph.reached(before, graph.upstream)

    def _is_vector(self, node: onnx.NodeProto) -> bool:
        shape = self._graph.shape(node.output[0])
        return shape is not None and all(side == 1 for side in shape[2:])

    def _is_narrow(self, node: onnx.NodeProto) -> bool:
        shape = self._graph.shape(node.input[1])
        return shape is not None and min(shape[0], shape[1] * attribute(node, "group", 1)) < NARROW


def _passing(graph: Graph, convs: Collection[str], exclude: Collection[str]) -> tuple[str, ...]:
    """Nodes of PASSING that both follow and precede INT8 nodes, found by dropping the others until none is left.

    One that only moves values, and is read by INT8 nodes alone, may also begin a chain: its values are rounded once
    before it instead of behind it, to the same steps, and a duplicate is a copy of bytes.
    """
    running = set(convs)
    candidates = [n for n in graph.model.graph.node if n.op_type in PASSING and n.name not in exclude]
    passing = {n.name for n in candidates if _is_float_tensor(graph, n)}
    while True:
        kept = {
            n.name
            for n in candidates
            if n.name in passing
            and any(m.name in running | passing for m in graph.downstream(n))
            and (
                any(m.name in running | passing for m in graph.upstream(n))
                or (n.op_type in BEGINNING and all(m.name in running | passing for m in graph.downstream(n)))
            )
        }
        if kept == passing:
            return tuple(n.name for n in candidates if n.name in kept)
        passing = kept


def _is_float_tensor(graph: Graph, node: onnx.NodeProto) -> bool:
    """A constant operand (a bias written as Add) is left to float; so is anything but a 4-dimensional map."""
    shape = graph.shape(node.output[0])
    data = node.input if node.op_type in ("Add", "Concat") else node.input[:1]
    return shape is not None and len(shape) == 4 and not any(graph.is_constant(i) for i in data)
