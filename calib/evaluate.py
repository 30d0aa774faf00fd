"""What a graph decides: run on ONNX Runtime, given its own threshold, and held against fp32 by the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edge.engine.onnxruntime import OnnxGraph
from edge.gate import Decided, GateLimits, judge
from edge.golden import Outputs, run_frames
from edge.manifest import GateResult, Threshold
from edge.threshold import fit_threshold, frames_per_independent, rate_interval

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]  # (what is done, how many are, of how many)


@dataclass(frozen=True)
class Court:
    """The frames that judge: held-out normal ones, which thresholds are fitted on, then the labelled test part."""

    frames: Sequence[Frame]
    held_out: int
    labels: tuple[bool | None, ...]
    rate: float
    limits: GateLimits

    def threshold(self, outputs: Outputs) -> Threshold:
        """Threshold fitted on the held-out normal frames for the stated rate."""
        return fit_threshold(outputs.score[: self.held_out], self.rate, in_order=True)

    def carried_threshold(self, reference: Outputs, outputs: Outputs) -> Threshold:
        """fp32's threshold on the scale of `outputs`."""
        normal = slice(self.held_out)
        return carried_over(self.threshold(reference), reference.score[normal], outputs.score[normal])

    def verdict(self, reference: Outputs, outputs: Outputs) -> GateResult:
        """The gate's result, each graph judged by its own threshold."""
        fitted, normal = self.threshold(reference), slice(self.held_out)
        carried = carried_over(fitted, reference.score[normal], outputs.score[normal])
        before = Decided(reference.score, reference.heatmap, fitted.value)
        return judge(before, Decided(outputs.score, outputs.heatmap, carried.value), self.limits, self.labels)


def carried_over(threshold: Threshold, before: Floats, after: Floats) -> Threshold:
    """`threshold` of the scores `before` [n] on the scale of `after` [n], the same frames' scores: by the best line.

    A tail fitted anew would hang on a handful of the highest scores and move by more than rounding moved any of them;
    the line rests on all n. The interval of the rate is that of the new scores.
    """
    old, new = before.astype(np.float64), after.astype(np.float64)
    spread = old - old.mean()
    power = float((spread**2).sum())
    slope = float((spread * new).sum()) / power if power > 0.0 else 1.0
    value = float(new.mean()) + slope * (threshold.value - float(old.mean()))
    together = frames_per_independent(new)
    interval = rate_interval(np.count_nonzero(new > value) / together, len(new) / together, threshold.confidence)
    return threshold.model_copy(
        update={"value": value, "rate_interval": interval, "fit": f"{threshold.fit}, carried over"}
    )


def run_graph(
    model: onnx.ModelProto,
    name: str,
    frames: Sequence[Frame],
    threads: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outputs:
    """Outputs of `model` for `frames`, by the same ONNX Runtime session that a station opens.

    Raises EngineFault if an output is not finite.
    """
    graph = OnnxGraph(model.SerializeToString(), name, threads=threads)
    try:
        return run_frames(graph, _reported(frames, progress))
    finally:
        graph.close()


def run_in_brain(model: onnx.ModelProto, name: str, frames: Sequence[Frame], threads: int = 0) -> Outputs:
    """Outputs of an INT8 `model` on OpenVINO with the rest in bfloat16, as a station runs it.

    Raises ImportError without OpenVINO, MissingError if this CPU has no bfloat16, EngineFault as `run_graph`.
    """
    from edge.engine.openvino import OpenVinoGraph  # only where this variant is made

    graph = OpenVinoGraph(model.SerializeToString(), name, "int8-bf16", threads=threads)
    try:
        return run_frames(graph, iter(frames))
    finally:
        graph.close()


def _reported(frames: Sequence[Frame], progress: Callable[[int, int], None]) -> Iterator[Frame]:
    for done, frame in enumerate(frames, 1):
        yield frame
        progress(done, len(frames))


def median_times_ms(
    models: dict[str, onnx.ModelProto], frame: Frame, threads: int = 0, runs: int = 25
) -> dict[str, float]:
    """Median milliseconds per frame of each model on ONNX Runtime, interleaved so that all meet the same machine."""
    graphs = {name: OnnxGraph(model.SerializeToString(), name, threads=threads) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for turn in range(runs + 5):
        for name, graph in graphs.items():
            start = time.perf_counter()
            graph.infer(frame)
            if turn >= 5:
                times[name].append(1e3 * (time.perf_counter() - start))
    for graph in graphs.values():
        graph.close()
    return {name: float(np.median(values)) for name, values in times.items()}


def damage(reference: Outputs, outputs: Outputs) -> float:
    """How much the scores were disturbed beyond a common shift, in interquartile ranges of the reference, RMS.

    A shift that all frames share is followed by the threshold and harms nobody.
    """
    change = outputs.score.astype(np.float64) - reference.score
    low, high = np.quantile(reference.score, (0.25, 0.75))
    spread = float(high - low) or 1.0
    return float(np.sqrt(np.mean((change - np.median(change)) ** 2))) / spread
