"""From ONNX bytes to a TensorRT network, and what is done to a network before it is built."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from edge.engine.graph_file import require_self_contained
from edge.errors import CheckFailed, InputError
from edge.tensorrt.library import Library, Messages, logger_of

MISREAD = re.compile("efaulting to")  # "Defaulting to INT8 instead": a type is read as another, values are clipped
NO_IMPLEMENTATION = re.compile(r"[Cc]ould not find any implementation for node (.+?)(?:\.\s|\.?\)?$|\n)", re.MULTILINE)


@dataclass(frozen=True)
class Network:
    """A parsed network. The parser owns the weights and must live as long as the network."""

    library: Library
    builder: Any
    definition: Any
    parser: Any
    logger: Any

    @property
    def layers(self) -> list[Any]:
        """All layers, in the order of the graph."""
        return [self.definition.get_layer(i) for i in range(self.definition.num_layers)]


def parse_network(library: Library, graph: bytes, messages: Messages, weak: bool = False) -> Network:
    """Parse serialised ONNX, strongly typed where the version can be and `weak` does not ask for the other.

    Raises InputError where the parser refuses the graph, CheckFailed where it reads a type as another.
    """
    require_self_contained(graph, "the graph")
    trt, logger = library.module, logger_of(library, messages)
    builder = trt.Builder(logger)
    if builder is None:
        raise InputError("TensorRT does not start", messages.last(), "run edge-doctor")
    definition = builder.create_network(_creation_flags(library, weak))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(graph):
        errors = "; ".join(_told(parser.get_error(i)) for i in range(parser.num_errors))
        raise InputError(
            f"TensorRT {library.version} refuses the graph", errors or messages.last(), "export or calibrate again"
        )
    if misread := [m for m in messages.all() if MISREAD.search(m)]:
        raise CheckFailed("TensorRT reads a type as another", misread[0], "calibrate again with --target tensorrt")
    return Network(library, builder, definition, parser, logger)


def nodes_without_implementation(messages: Iterable[str]) -> tuple[str, ...]:
    """The nodes that TensorRT has no kernel for, out of its messages; fused ones are given one by one.

    `a + b` and `{ForeignNode[a...b]}` are the two ways in which it writes fused nodes.
    """
    found: list[str] = []
    for message in messages:
        for text in NO_IMPLEMENTATION.findall(message):
            inner = re.sub(r"^\{?\s*ForeignNode\[|\]\s*\}?$", "", text.strip())
            found += [part.strip() for part in re.split(r"\s\+\s|\.\.\.", inner) if part.strip()]
    return tuple(dict.fromkeys(found))


def quantised_layers(network: Network, names: Collection[str] | None = None) -> tuple[str, ...]:
    """Names of the layers that read rounded values; with `names`, those that are meant by them.

    A rounding layer means the layers that read it.
    """
    makers = _makers(network)
    reading = {layer.name: _rounding(layer, makers, network) for layer in network.layers}
    meant = {
        layer: pairs
        for layer, pairs in reading.items()
        if pairs and (names is None or layer in names or any(p.name in names for pair in pairs.values() for p in pair))
    }
    return tuple(meant)


def take_out_rounding(network: Network, names: Collection[str]) -> tuple[str, ...]:
    """Let these layers read the values as they were before Q/DQ; returns those that did read rounded ones.

    The network stays the same function but for the rounding. Q/DQ pairs that nothing reads any more are dropped by the
    builder.
    """
    makers, changed = _makers(network), []
    for layer in network.layers:
        pairs = _rounding(layer, makers, network) if layer.name in names else {}
        for index, (quantise, _) in pairs.items():
            layer.set_input(index, quantise.get_input(0))
        changed += [layer.name] if pairs else []
    return tuple(changed)


def pin_to_single(network: Network, names: Collection[str] = ()) -> int:
    """Weak typing: keep these layers, and all that have no convolution before or none after, in fp32; how many.

    The score's own arithmetic sums thousands of squares and takes differences of close numbers: in half precision it
    overflows, or is nothing but rounding.
    """
    trt, layers = network.library.module, network.layers
    convolutions = [layer for layer in layers if layer.type in _weighted(trt)]
    inner = _reached(layers, convolutions, down=True) & _reached(layers, convolutions, down=False)
    pinned = 0
    for layer in layers:
        fixed = (trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)
        is_float = layer.num_outputs and layer.get_output(0).dtype in (trt.float32, trt.float16)
        if is_float and layer.type not in fixed and (layer.name in names or layer.name not in inner):
            layer.precision = trt.float32
            pinned += 1
    return pinned


def _creation_flags(library: Library, weak: bool) -> int:
    flags = library.module.NetworkDefinitionCreationFlag
    wanted = ["EXPLICIT_BATCH"] + ([] if weak else ["STRONGLY_TYPED"])
    return sum({1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name)})


def _told(error: Any) -> str:
    return f"{error.node_name()}: {error.desc()}"


def _makers(network: Network) -> dict[str, Any]:
    """Tensor -> the layer that makes it."""
    return {layer.get_output(i).name: layer for layer in network.layers for i in range(layer.num_outputs)}


def _rounding(layer: Any, makers: dict[str, Any], network: Network) -> dict[int, tuple[Any, Any]]:
    """Input index -> (Q, DQ) of the pair that this input comes through."""
    kinds, found = network.library.module.LayerType, {}
    if layer.type in (kinds.QUANTIZE, kinds.DEQUANTIZE):
        return {}
    for index in range(layer.num_inputs):
        tensor = layer.get_input(index)
        dequantise = makers.get(tensor.name) if tensor is not None else None
        if dequantise is not None and dequantise.type == kinds.DEQUANTIZE:
            quantise = makers.get(dequantise.get_input(0).name)
            if quantise is not None and quantise.type == kinds.QUANTIZE:
                found[index] = (quantise, dequantise)
    return found


def _weighted(trt: Any) -> tuple[Any, ...]:
    return trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY


def _reached(layers: list[Any], start: list[Any], down: bool) -> set[str]:
    """Names of `start` and of every layer after (`down`) or before them."""
    names, tensors = {layer.name for layer in start}, set[str]()
    for layer in layers if down else reversed(layers):
        inputs = {t.name for i in range(layer.num_inputs) if (t := layer.get_input(i)) is not None}
        outputs = {layer.get_output(i).name for i in range(layer.num_outputs)}
        entering, leaving = (inputs, outputs) if down else (outputs, inputs)
        if layer.name in names or tensors & entering:
            names.add(layer.name)
            tensors |= leaving
    return names
