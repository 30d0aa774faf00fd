"""Does the ONNX graph say what the trained model says? Checked at export, on real frames, before anything is written.

Three computations of the same frames: the scorer that was exported (torch), the reference scorer (torch.autograd
Grad-CAM, convolutions as trained), and the finished graph in ONNX Runtime. On failure the first inner tensor at which
scorer and graph part is named.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from edge.engine import no_telemetry
from edge.engine.onnxruntime import OnnxGraph
from edge.errors import CheckFailed
from edge.golden import Outputs, differences, run_frames

ort = no_telemetry.onnxruntime()
TOLERANCE = 1e-4  # relative; fp32 rounding through some hundred layers is 1e-6
Floats = NDArray[np.float32]
PAIRS = ("scorer and reference", "graph and scorer")


@dataclass(frozen=True)
class Parity:
    """Relative differences (edge.golden) by pair of computations, then by output."""

    frames: int
    tolerance: float
    table: dict[str, dict[str, float]]

    @property
    def worst(self) -> tuple[str, str, float]:
        """Pair, output and size of the largest difference; a difference that is not a number is the largest."""
        cells = [(pair, name, size) for pair, row in self.table.items() for name, size in row.items()]
        return max(cells, key=lambda cell: np.inf if np.isnan(cell[2]) else cell[2])


def check_parity(
    scorer: nn.Module, reference: nn.Module, graph: ModelProto, frames: NDArray[np.uint8], tolerance: float = TOLERANCE
) -> Parity:
    """Compare the three computations on `frames`, uint8 [n, H, W, C].

    Raises CheckFailed with the worst output and, where graph and scorer differ, the first inner tensor that does.
    """
    ours, slow = torch_outputs(scorer, frames), torch_outputs(reference, frames)
    exported = run_frames(OnnxGraph(graph.SerializeToString(), "scoring graph"), frames)
    rows = dict(zip(PAIRS, (differences(ours, slow), differences(exported, ours)), strict=True))
    parity = Parity(len(frames), tolerance, rows)
    pair, output, size = parity.worst
    if not size <= tolerance:
        where = "" if pair == PAIRS[0] else f"; {first_divergence(scorer, graph, frames[:1], tolerance)}"
        raise CheckFailed(
            f"parity: {pair} disagree on {output}",
            f"{size:.2e} relative on {len(frames)} frames, allowed {tolerance:.0e}{where}",
            "nothing was written; report the run's config",
        )
    return parity


def torch_outputs(scorer: nn.Module, frames: NDArray[np.uint8]) -> Outputs:
    """Outputs of a torch scorer, one frame at a time, as the graph will see them."""
    with torch.no_grad():
        said = [scorer(torch.from_numpy(frame[None])) for frame in frames]
    columns = [torch.cat([row[i] for row in said]).detach().numpy().astype(np.float32) for i in range(3)]
    return Outputs(*columns)


def first_divergence(scorer: nn.Module, graph: ModelProto, frame: NDArray[np.uint8], tolerance: float) -> str:
    """Which inner tensor is the first, in the graph's order, at which torch and ONNX Runtime differ; one sentence."""
    known = _paired(scorer, graph, frame)
    inner = _all_tensors(graph, frame, list(known))
    for name, values in known.items():
        distance = min(_distance(inner[name], value) for value in values)
        if not distance <= tolerance:
            return f"first inner tensor to differ is {name}, by {distance:.2e}"
    return f"all {len(known)} inner tensors that torch knows agree, so it is in the score's own arithmetic"


def _distance(found: Floats, expected: Floats) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30))


def _paired(scorer: nn.Module, graph: ModelProto, frame: NDArray[np.uint8]) -> dict[str, list[Floats]]:
    """ONNX tensor -> what torch says it may be, for every module whose output is still in the graph, in graph order."""
    known = _module_outputs(scorer, frame)
    last = {_scope(output): output for node in graph.graph.node for output in node.output}
    order = {output: i for i, node in enumerate(graph.graph.node) for output in node.output}
    pairs = {last[path]: values for path, values in known.items() if path in last}
    return dict(sorted(pairs.items(), key=lambda pair: order[pair[0]]))


def _scope(tensor: str) -> str:
    """Path of the torch module that made an ONNX tensor: "/a/b.0/c/Conv_output_0" -> "a.b.0.c"."""
    return tensor.rsplit("/", 1)[0].strip("/").replace("/", ".")


def _module_outputs(scorer: nn.Module, frame: NDArray[np.uint8]) -> dict[str, list[Floats]]:
    """Output of every module without children that ran once, and of the batch norm after it, which may be folded in."""
    ran: list[tuple[str, nn.Module, Floats]] = []

    def keep(path: str, module: nn.Module, value: object) -> None:
        if isinstance(value, Tensor):
            ran.append((path, module, value.detach().numpy().copy()))

    leaves = [(path, m) for path, m in scorer.named_modules() if not list(m.children())]
    hooks = [m.register_forward_hook(lambda m, _i, out, path=path: keep(path, m, out)) for path, m in leaves]
    try:
        with torch.no_grad():
            scorer(torch.from_numpy(frame))
    finally:
        for hook in hooks:
            hook.remove()
    times = Counter(path for path, _, _ in ran)
    norms = [value if isinstance(module, nn.BatchNorm2d) else None for _, module, value in ran[1:]] + [None]
    pairs = zip(ran, norms, strict=True)
    return {path: [v, *([n] if n is not None else [])] for (path, _, v), n in pairs if times[path] == 1}


def _all_tensors(graph: ModelProto, frame: NDArray[np.uint8], names: list[str]) -> dict[str, Floats]:
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    outputs = {o.name for o in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"frame": frame}), strict=True))
