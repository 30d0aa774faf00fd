"""Writes Q/DQ nodes into an fp32 graph, in the dialect that the engine reads. The ranges come from outside.

`tensorrt`: int8, zero-point 0, weights per output channel as float with a Q/DQ pair, biases in float, and only the
inputs of convolutions are rounded: everything else reads the tensor as it was.
`cpu`: uint8 activations with zero-point, int8 weights per output channel, int32 biases, outputs rounded as well, so
that ONNX Runtime and OpenVINO carry whole chains out in integers.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from calib.graph import Graph
from calib.plan import Plan, output_point
from calib.ranges import Ranges
from calib.statistics import Range

SMALLEST_SCALE = float(np.finfo(np.float32).tiny) * 1e6


def quantised(graph: Graph, plan: Plan, ranges: Ranges) -> onnx.ModelProto:
    """A new model with Q/DQ nodes as `plan` says; `ranges` must hold the tensors of `ranges.tensors_to_watch`."""
    writer = _Writer(graph, plan, ranges)
    for name in plan.convs:
        writer.quantise_convolution(name)
    for name in plan.passing:
        writer.quantise_passing(name)
    for name in plan.stored:
        writer.store_weight(name)
    return writer.finished()


def symmetric_scale(limits: Range) -> float:
    """Scale of int8 with zero-point 0 for a range."""
    return max(max(-limits[0], limits[1]) / 127.0, SMALLEST_SCALE)


def asymmetric_scale(limits: Range) -> tuple[float, int]:
    """(scale, zero-point) of uint8 for a range low <= 0 <= high; zero is represented exactly."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = max((high - low) / 255.0, SMALLEST_SCALE)
    return scale, int(np.clip(round(-low / scale), 0, 255))


def weight_scales(weight: NDArray[np.generic]) -> NDArray[np.float32]:
    """Symmetric int8 scale per output channel (axis 0) of a weight [O, I, ...]."""
    peaks = np.abs(weight.reshape(weight.shape[0], -1)).max(1)
    return np.asarray(np.maximum(peaks / 127.0, SMALLEST_SCALE), np.float32)


class _Writer:
    """Collects new nodes and constants, then puts them into a copy of the model in the right order."""

    def __init__(self, graph: Graph, plan: Plan, ranges: Ranges) -> None:
        self._graph, self._cpu, self._ranges = graph, plan.dialect == "cpu", ranges
        self._model = onnx.ModelProto()
        self._model.CopyFrom(graph.model)
        self._nodes = {n.name: n for n in self._model.graph.node}
        self._pairs: dict[str, list[onnx.NodeProto]] = {}  # tensor -> its Q and DQ
        self._before: dict[str, list[onnx.NodeProto]] = {}  # node -> the weight and bias DQ nodes before it
        self._constants: dict[str, onnx.TensorProto] = {}

    def quantise_convolution(self, name: str) -> None:
        """Round input and weight of a convolution; in the cpu dialect also bias and output."""
        node, original = self._nodes[name], self._graph.nodes[name]
        node.input[0] = self._rounded(original.input[0])
        scales = weight_scales(self._graph.constant(original.input[1]))
        node.input[1] = self._rounded_weight(name, original.input[1], scales)
        if self._cpu:
            if len(original.input) > 2 and original.input[2]:
                node.input[2] = self._rounded_bias(name, original.input[2], original.input[0], scales)
            self._round_output(original)

    def quantise_passing(self, name: str) -> None:
        """Round inputs and output of a node that runs on uint8; a ReLU behind its producer is rounded there."""
        node, original = self._nodes[name], self._graph.nodes[name]
        producer = self._graph.maker.get(original.input[0])
        if producer is not None and output_point(self._graph, producer) == original.output[0]:
            return
        for index in range(len(original.input) if original.op_type in ("Concat", "Add") else 1):
            node.input[index] = self._rounded(original.input[index])
        self._round_output(original)

    def store_weight(self, name: str) -> None:
        """The weight [inputs, outputs] of a matrix product as int8, one scale per output; nothing else is rounded."""
        node, weight = self._nodes[name], self._graph.constant(self._graph.nodes[name].input[1]).astype(np.float32)
        scales = weight_scales(weight.T)
        inputs = [
            self._constant(f"{name}_weight_quantized", np.rint(weight / scales).astype(np.int8)),
            self._constant(f"{name}_weight_scale", scales),
            self._constant(f"{name}_weight_zero", np.zeros(len(scales), np.int8)),
        ]
        node.input[1] = f"{name}_weight_dequantized"
        self._before.setdefault(name, []).append(_dequantize(inputs, node.input[1], axis=1))

    def finished(self) -> onnx.ModelProto:
        """The model, sorted topologically and checked."""
        ordered: list[onnx.NodeProto] = []
        for tensor in (i.name for i in self._model.graph.input):
            ordered += self._pairs.get(tensor, [])
        for node in self._model.graph.node:
            ordered += [*self._before.get(node.name, []), node]
            ordered += [pair for output in node.output for pair in self._pairs.get(output, [])]
        ordered = [_copy(n) for n in ordered]
        del self._model.graph.node[:]
        self._model.graph.node.extend(ordered)
        self._replace_constants()
        onnx.checker.check_model(self._model)
        return self._model

    def _round_output(self, original: onnx.NodeProto) -> None:
        """Every reader of a tensor that was made as uint8 reads the rounded values; graph outputs keep their name."""
        tensor = output_point(self._graph, original)
        rounded = self._rounded(tensor)
        for reader in self._graph.readers.get(tensor, []):
            node = self._nodes[reader.name]
            for index, name in enumerate(reader.input):
                if name == tensor:
                    node.input[index] = rounded

    def _rounded(self, tensor: str) -> str:
        """Name of `tensor` after Q/DQ, which are made once."""
        output = f"{tensor}_dequantized"
        if tensor not in self._pairs:
            limits = self._ranges[tensor]
            scale, zero = asymmetric_scale(limits) if self._cpu else (symmetric_scale(limits), 0)
            kind = np.uint8 if self._cpu else np.int8
            constants = [
                self._constant(f"{tensor}_scale", np.float32(scale)),
                self._constant(f"{tensor}_zero", kind(zero)),
            ]
            self._pairs[tensor] = _pair(tensor, constants, output)
        return output

    def _rounded_weight(self, node: str, weight: str, scales: NDArray[np.float32]) -> str:
        output = f"{node}_weight_dequantized"
        constants = [
            self._constant(f"{node}_weight_scale", scales),
            self._constant(f"{node}_weight_zero", np.zeros(len(scales), np.int8)),
        ]
        if not self._cpu:  # TensorRT 8 takes float weights with a pair of Q and DQ only
            self._before.setdefault(node, []).extend(_pair(weight, constants, output, axis=0, stem=f"{node}_weight"))
            return output
        value = self._graph.constant(weight).astype(np.float32)
        steps = np.clip(np.rint(value / scales.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)
        inputs = [self._constant(f"{node}_weight_quantized", steps), *constants]
        self._before.setdefault(node, []).append(_dequantize(inputs, output, axis=0))
        return output

    def _rounded_bias(self, node: str, bias: str, tensor: str, weights: NDArray[np.float32]) -> str:
        output = f"{node}_bias_dequantized"
        scales = (asymmetric_scale(self._ranges[tensor])[0] * weights.astype(np.float64)).astype(np.float32)
        steps = np.rint(self._graph.constant(bias).astype(np.float64) / scales)
        inputs = [
            self._constant(f"{node}_bias_quantized", np.clip(steps, -(2**31), 2**31 - 1).astype(np.int32)),
            self._constant(f"{node}_bias_scale", scales),
        ]
        self._before.setdefault(node, []).append(_dequantize(inputs, output, axis=0))
        return output

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _replace_constants(self) -> None:
        """Add the new constants and drop those that nothing reads any more."""
        graph = self._model.graph
        graph.initializer.extend(self._constants.values())
        used = {i for n in graph.node for i in n.input} | {o.name for o in graph.output}
        kept = [i for i in graph.initializer if i.name in used]
        copies = [onnx.TensorProto.FromString(i.SerializeToString()) for i in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy that outlives the list it came from."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _pair(
    tensor: str, constants: list[str], output: str, axis: int | None = None, stem: str | None = None
) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear from `tensor` to `output`; `stem` names what lies between them."""
    middle = f"{stem or tensor}_quantized"
    attributes = {} if axis is None else {"axis": axis}
    quantize = helper.make_node("QuantizeLinear", [tensor, *constants], [middle], name=f"{middle}_q", **attributes)
    return [quantize, _dequantize([middle, *constants], output, axis)]


def _dequantize(inputs: list[str], output: str, axis: int | None = None) -> onnx.NodeProto:
    attributes = {} if axis is None else {"axis": axis}
    return helper.make_node("DequantizeLinear", inputs, [output], name=f"{output}_dq", **attributes)
