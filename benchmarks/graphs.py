"""Scoring graphs with random weights for the speed benchmarks, and what it takes to run them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calib.graph import Graph
from calib.plan import make_plan
from calib.qdq import quantised
from calib.ranges import collect, tensors_to_watch
from edge.bench import Plan, time_in_turn
from edge.preprocess import Preprocessing
from export.graph import graph_from_scorer
from export.rewrites.table import REWRITES, rewritten
from train.method import Method, MethodConfig
from train.methods import build

Call = Callable[[NDArray[np.uint8]], Any]
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}


class NoCam(nn.Module):
    """ForwardCam's face without the map: what the scoring graph costs when nobody looks."""

    def __init__(self, trunk: nn.ModuleList) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.trunk:
            x = block(x)
        return torch.zeros(x.shape[0], 1, 8, 8), x


@lru_cache
def method(width: int, size: int) -> Method:
    """SAGAN with random weights."""
    return random_method("sagan", MethodConfig(size, size, 3, width))


def random_method(name: str, config: MethodConfig) -> Method:
    """Random weights in a range that keeps activations alive."""
    torch.manual_seed(0)
    made = build(name, config)
    for module in made.networks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    made.networks.eval()
    return made


def graph(width: int, size: int, *, cam: bool = True, batch: int = 1, rewrites: Any = REWRITES) -> onnx.ModelProto:
    """The fp32 scoring graph."""
    scorer: Any = method(width, size).scorer()
    if not cam:
        scorer.cam = NoCam(scorer.cam.blocks)
    spec = Preprocessing(height=size, width=size, colour="bgr")
    return rewritten(graph_from_scorer(scorer, spec, batch), rewrites)


def int8_graph(single: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """The cpu dialect, with ranges from a few random pictures: right for speed, not for scores."""
    wrapped = Graph(single)
    plan = make_plan(wrapped, "cpu")
    seen = collect(single, tensors_to_watch(wrapped, [plan]), list(frames(size, 3)))
    return quantised(wrapped, plan, seen.ranges(wrapped, "minmax", symmetric=False))


def frames(size: int, count: int = 4, batch: int = 1) -> NDArray[np.uint8]:
    """Smooth random pictures, uint8 [count, size, size, 3], or [count, batch, ...] for batches."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count * batch, 8, 8, 3))
    made = np.kron(coarse, np.ones((size // 8, size // 8, 1))).astype(np.uint8)
    return made if batch == 1 else made.reshape(count, batch, size, size, 3)


def onnxruntime_call(model: onnx.ModelProto, threads: int) -> Call:
    """As a station runs it."""
    from edge.engine.onnxruntime import OnnxGraph

    return OnnxGraph(model.SerializeToString(), "bench", threads=threads).infer


def openvino_call(model: onnx.ModelProto, precision: str, threads: int) -> Call:
    """As a station runs it."""
    from edge.engine.openvino import OpenVinoGraph

    return OpenVinoGraph(model.SerializeToString(), "bench", precision, threads=threads).infer


def openvino_batch_call(model: onnx.ModelProto, precision: str, threads: int) -> Call:
    """Any batch: the same settings as OpenVinoGraph, which takes single frames only."""
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    core = ov.Core()
    request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings).create_infer_request()
    return lambda frame: request.infer({0: frame if frame.ndim == 4 else frame[None]})


def eager_call(width: int, size: int, threads: int) -> Call:
    """Eager PyTorch, Grad-CAM by autograd, grouped convolutions as trained."""
    torch.set_num_threads(threads)
    scorer = method(width, size).reference_scorer()
    return lambda frame: scorer(torch.from_numpy(frame[None]))


def in_turn(calls: dict[str, Call], inputs: NDArray[np.uint8], rounds: int, cpu_time: bool) -> dict[str, Any]:
    """Milliseconds per call [rounds] by name; the calls take turns. `cpu_time`: of this process, not of the clock."""
    clock = time.process_time if cpu_time else time.perf_counter
    times = time_in_turn(calls, list(inputs), Plan(frames=rounds, warmup=3), clock)
    return {name: np.array(values) for name, values in times.items()}


def speed(times: dict[str, Any], name: str, reference: str) -> float:
    """How many times faster than `reference`, median over rounds."""
    return float(np.median(times[reference] / times[name]))
