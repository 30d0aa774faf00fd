"""Scoring module (torch) -> ONNX scoring graph: static shapes, batch 1, the opset that every target reads."""

from __future__ import annotations

import io
import warnings

import onnx
import onnxsim
import torch
from onnx import ModelProto, TensorProto
from torch import nn

from edge.errors import CheckFailed
from edge.preprocess import Preprocessing
from export.rewrites.cast_first import cast_first
from export.rewrites.means import means_in_steps

OPSET = 17  # the newest that TensorRT 8.5 (JetPack 5) reads
OUTPUTS = ("score", "masked_error", "heatmap")
# The operators that may not be in a scoring graph: control flow, random numbers, training.
FORBIDDEN = {"If", "Loop", "Scan", "Dropout", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def graph_from_scorer(scorer: nn.Module, spec: Preprocessing, batch: int = 1) -> ModelProto:
    """The simplified, checked ONNX graph of `scorer`: `frame` uint8 [batch, H, W, C] -> OUTPUTS, float32.

    Raises CheckFailed if the exporter returns another opset, dynamic shapes, or an operator that may not be there.
    """
    frame = torch.zeros((batch, spec.height, spec.width, spec.channels), dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every constant it meets, and that dynamo is the default
        torch.onnx.export(
            scorer,
            (frame,),
            buffer,  # type: ignore[arg-type]  # torch's annotation leaves out what its documentation allows
            dynamo=False,  # the new exporter returns opset 18 whatever is asked for
            opset_version=OPSET,
            input_names=["frame"],
            output_names=list(OUTPUTS),
        )
    graph = checked(cast_first(simplified(onnx.load_from_string(buffer.getvalue()))))
    return checked(means_in_steps(graph))


def simplified(graph: ModelProto) -> ModelProto:
    """The graph after onnxsim; raises CheckFailed if onnxsim's own comparison with the original fails."""
    simple, same = onnxsim.simplify(graph)
    if not same:
        raise CheckFailed("onnxsim changed the graph's results", "its own check says so", "report the model's config")
    return simple


def checked(graph: ModelProto) -> ModelProto:
    """`graph` if it keeps the contract of a scoring graph, with shapes inferred for every tensor."""
    complaint = _complaint(graph)
    if complaint:
        raise CheckFailed("the exported graph breaks the scoring contract", complaint, "report the model's config")
    onnx.checker.check_model(graph, full_check=True)
    graph.graph.ClearField("value_info")
    return onnx.shape_inference.infer_shapes(graph, strict_mode=True)


def shape_of(graph: ModelProto, tensor: str) -> tuple[int, ...]:
    """Static shape of a graph input, output or inferred inner tensor."""
    values = (*graph.graph.input, *graph.graph.output, *graph.graph.value_info)
    value = next(v for v in values if v.name == tensor)
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _complaint(graph: ModelProto) -> str:
    opsets = {o.domain: o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")}
    if list(opsets.values()) != [OPSET]:
        return f"expected opset {OPSET}, found {opsets}"
    forbidden = sorted({n.op_type for n in graph.graph.node} & FORBIDDEN)
    if forbidden:
        return f"it holds {', '.join(forbidden)}"
    if tuple(o.name for o in graph.graph.output) != OUTPUTS or [i.name for i in graph.graph.input] != ["frame"]:
        return "inputs or outputs have other names"
    if graph.graph.input[0].type.tensor_type.elem_type != TensorProto.UINT8:
        return "frame is not uint8"
    dims = [d for v in (*graph.graph.input, *graph.graph.output) for d in v.type.tensor_type.shape.dim]
    return "" if all(d.dim_value > 0 for d in dims) else "a shape is not static"
