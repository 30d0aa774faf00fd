"""The variants that need no calibration: fp32, and fp16 and bf16, each with a threshold and a gate of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto

from edge.bundle import array_bytes
from edge.engine.onnxruntime import OnnxGraph
from edge.errors import EdgeError, InputError
from edge.gate import Decided, GateLimits, failures, judge
from edge.golden import Infers, Outputs, differences, run_frames
from edge.manifest import GateResult, Golden, Precision, Threshold, Variant
from edge.threshold import fit_threshold, score_statistics
from export.fp16 import half_from_single
from export.frames import Frames

# Smallest golden tolerance; engines of one precision differ by their order of sums, TensorRT's fp32 by TF32's 10 bits.
LEAST_TOLERANCE: dict[str, float] = {"fp32": 2e-3, "fp16": 1e-2, "bf16": 3e-2}


@dataclass(frozen=True)
class Frameset:
    """What variants are judged on: held-out normal frames [n, H, W, C], and the golden ones.

    `overviews`: what the camera's health is judged by, uint8 [h, w, C] each.
    """

    normal: Frames
    golden: Frames
    false_alarm_rate: float
    overviews: list[Frames] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    """A variant with the members that it brings, and what it said of the frames."""

    row: Variant
    members: dict[str, bytes]
    normal: Outputs
    golden: Outputs


@dataclass(frozen=True)
class LeftOut:
    """A precision that is not in the bundle, and why."""

    precision: Precision
    reason: str


def single(graph: ModelProto, frames: Frameset, threads: int = 0) -> Made:
    """fp32, the reference, scored by ONNX Runtime."""
    data = graph.SerializeToString()
    engine = OnnxGraph(data, "fp32", threads=threads)
    return _made("fp32", engine, frames, {"graphs/fp32.onnx": data}, None)


def half(graph: ModelProto, reference: Made, frames: Frameset, threads: int = 0) -> Made | LeftOut:
    """fp16: weights and types in the graph; scored by ONNX Runtime, which stores in half and adds up in single."""
    try:
        data = half_from_single(graph).SerializeToString()
        engine = OnnxGraph(data, "fp16", threads=threads)
        return _passed(_made("fp16", engine, frames, {"graphs/fp16.onnx": data}, reference))
    except EdgeError as error:
        return LeftOut("fp16", str(error))


def brain(graph: ModelProto, reference: Made, frames: Frameset, threads: int = 0) -> Made | LeftOut:
    """bf16: the fp32 graph, computed in bfloat16 by OpenVINO, where this machine's CPU has it."""
    try:
        from edge.engine.openvino import OpenVinoGraph

        engine = OpenVinoGraph(graph.SerializeToString(), "bf16", "bf16", threads=threads)
        return _passed(_made("bf16", engine, frames, {}, reference))
    except ImportError:
        return LeftOut("bf16", "its threshold needs OpenVINO: pip install 'edge-anomaly[openvino]'")
    except EdgeError as error:
        return LeftOut("bf16", str(error))


def _made(
    precision: Precision, engine: Infers, frames: Frameset, members: dict[str, bytes], reference: Made | None
) -> Made:
    normal, golden = run_frames(engine, frames.normal), run_frames(engine, frames.golden)
    threshold = fit_threshold(normal.score, frames.false_alarm_rate, in_order=True)
    tolerance = LEAST_TOLERANCE[precision]
    if reference is not None:
        tolerance = max(tolerance, 3 * max(differences(golden, reference.golden).values()))
    where = _golden(precision, tolerance)
    row = Variant(
        precision=precision,
        dialect="plain",
        graph="graphs/fp16.onnx" if precision == "fp16" else "graphs/fp32.onnx",
        threshold=threshold,
        normal_scores=score_statistics(normal.score),
        golden=where,
        gate=None if reference is None else _gate(reference, normal, golden, threshold),
    )
    expected = {where.score: golden.score, where.masked_error: golden.masked_error, where.heatmap: golden.heatmap}
    return Made(row, members | {name: array_bytes(array) for name, array in expected.items()}, normal, golden)


def _gate(reference: Made, normal: Outputs, golden: Outputs, threshold: Threshold) -> GateResult:
    """On held-out normal frames and the golden ones, half of which are damaged."""
    before = _decided(reference.normal, reference.golden, reference.row.threshold)
    return judge(before, _decided(normal, golden, threshold), GateLimits())


def _decided(normal: Outputs, golden: Outputs, threshold: Threshold) -> Decided:
    scores = np.concatenate([normal.score, golden.score])
    return Decided(scores, np.concatenate([normal.heatmap, golden.heatmap]), threshold.value)


def _passed(made: Made) -> Made:
    """`made`, or InputError with the limits that its gate broke."""
    gate = made.row.gate
    if gate is not None and not gate.passed:
        raise InputError(
            f"{made.row.precision} failed its gate against fp32", "; ".join(failures(gate)), "fp32 is kept"
        )
    return made


def _golden(precision: str, tolerance: float) -> Golden:
    stem = f"golden/{precision}"
    return Golden(
        score=f"{stem}-score.npy",
        masked_error=f"{stem}-masked_error.npy",
        heatmap=f"{stem}-heatmap.npy",
        relative_tolerance=tolerance,
    )
