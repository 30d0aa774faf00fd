"""Runs frames through the fp32 graph with its inner tensors exposed, each also with a defect; keeps the statistics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from calib.defects import with_defect
from calib.graph import Graph
from calib.plan import Plan, output_point, shared_groups
from calib.statistics import Method, Range, TensorStatistics, range_of
from edge.engine import no_telemetry
from edge.errors import CheckFailed

ort = no_telemetry.onnxruntime()
Ranges = dict[str, Range]


@dataclass(frozen=True)
class Collected:
    """Statistics per tensor after `frames` frames, and as they were after `earlier_frames`."""

    statistics: Mapping[str, TensorStatistics]
    frames: int
    earlier: Mapping[str, TensorStatistics]
    earlier_frames: int

    def ranges(self, graph: Graph, method: Method, symmetric: bool) -> Ranges:
        """Range per tensor; tensors that only move values between one another get one common range."""
        return _shared(graph, {t: range_of(s, method, symmetric) for t, s in self.statistics.items()})

    def movement(self, method: Method) -> float:
        """Mean relative change of the scales since `earlier_frames`: small means that more frames change little."""
        now = [_width(range_of(s, method, symmetric=True)) for s in self.statistics.values()]
        then = [_width(range_of(self.earlier[t], method, symmetric=True)) for t in self.statistics]
        moved = [abs(a - b) / a for a, b in zip(now, then, strict=True) if a > 0.0]
        return float(np.mean(moved)) if moved else 0.0

    def convergence(self, method: Method) -> str:
        """The movement as a sentence."""
        later = self.frames - self.earlier_frames
        return f"{self.frames} frames: scales moved {self.movement(method):.1%} over the last {later}"


def tensors_to_watch(graph: Graph, plans: Iterable[Plan]) -> tuple[str, ...]:
    """Inputs and outputs of every node that any plan quantises, in graph order."""
    wanted: dict[str, None] = {}
    for plan in plans:
        for name in (*plan.convs, *plan.passing):
            node = graph.nodes[name]
            inputs = node.input if node.op_type in ("Concat", "Add") else node.input[:1]
            wanted.update(dict.fromkeys((*inputs, output_point(graph, node))))
    return tuple(wanted)


def collect(
    model: onnx.ModelProto,
    tensors: Collection[str],
    frames: Collection[NDArray[np.uint8]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collected:
    """Statistics of `tensors` over `frames` (uint8 [H, W, C] each) and a defective copy of each, one at a time.

    Raises CheckFailed if a tensor takes a value that is not finite.
    """
    session = _session_exposing(model, tensors)
    statistics = {t: TensorStatistics() for t in tensors}
    earlier, earlier_frames = statistics, max(1, 3 * len(frames) // 4)
    for done, pair in enumerate(_with_defects(frames), 1):
        for frame in pair:
            values = session.run(list(tensors), {"frame": frame[None]})
            for tensor, value in zip(tensors, values, strict=True):
                _add(statistics[tensor], value, tensor)
        if done == earlier_frames:
            earlier = {t: s.copy() for t, s in statistics.items()}
        progress(done, len(frames))
    return Collected(statistics, len(frames), earlier, earlier_frames)


def _with_defects(frames: Collection[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    last: NDArray[np.uint8] | None = None
    for number, frame in enumerate(frames):
        yield frame, with_defect(frame, frame if last is None else last, number)
        last = frame


def _session_exposing(model: onnx.ModelProto, tensors: Collection[str]) -> Any:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    present = {o.name for o in model.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors if t not in present)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _add(statistics: TensorStatistics, value: NDArray[np.float32], tensor: str) -> None:
    if not np.isfinite(value).all():
        raise CheckFailed(f"tensor {tensor} is not finite", "the fp32 graph itself overflows", "train the model again")
    statistics.add(value)


def _shared(graph: Graph, ranges: Ranges) -> Ranges:
    group_of = shared_groups(graph, ranges)
    common: Ranges = {}
    for tensor, (low, high) in ranges.items():
        other = common.get(group_of[tensor], (low, high))
        common[group_of[tensor]] = (min(low, other[0]), max(high, other[1]))
    return {t: common[group_of[t]] for t in ranges}


def _width(limits: Range) -> float:
    return limits[1] - limits[0]
