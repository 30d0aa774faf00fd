"""OpenVINO on x86 and Arm CPUs. The arithmetic is always named: left alone it takes bfloat16 where the CPU has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engine import no_telemetry
from edge.engine.base import Scores
from edge.engine.checks import checked_frame, checked_scores
from edge.engine.graph_file import require_self_contained
from edge.engine.machine import usable_cpus
from edge.errors import EngineFault, InputError, MissingError

ov = no_telemetry.openvino()
OUTPUTS = ("score", "masked_error", "heatmap")
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}  # precision of what is not quantised


class OpenVinoEngine:
    """One variant of a bundle on the CPU. `threads` 0 means one per usable CPU."""

    def __init__(self, bundle: Bundle, variant: str, *, threads: int = 0) -> None:
        row = bundle.manifest.variants[variant]
        self._graph = OpenVinoGraph(bundle.read(row.graph), row.graph, row.precision, threads=threads)
        self._variant = variant

    @property
    def description(self) -> str:
        version = ov.get_version().split("-")[0]
        return f"openvino {version}, {self._variant}, {self._graph.hint} arithmetic, {self._graph.threads} threads"

    @property
    def variant(self) -> str:
        return self._variant

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        return self._graph.infer(frame)

    def close(self) -> None:
        self._graph.close()


class OpenVinoGraph:
    """A scoring graph from its serialised bytes; input and output buffers are allocated once.

    Raises MissingError if the CPU lacks `precision`, InputError if the graph cannot be compiled.
    """

    def __init__(self, graph: bytes, name: str, precision: str, *, threads: int = 0) -> None:
        require_self_contained(graph, name)
        self.threads, self.hint = threads or usable_cpus(), _hint(precision)
        self._request: Any = _compiled(graph, name, self.hint, self.threads).create_infer_request()
        shape = tuple(self._request.get_input_tensor(0).shape)
        self._input = np.zeros(shape, np.uint8)
        self._request.set_input_tensor(0, ov.Tensor(self._input, shared_memory=True))
        self._outputs = [self._request.get_tensor(output).data for output in OUTPUTS]

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        """Score one frame, uint8 [H, W, C]. Raises EngineFault when the run fails or an output is not finite."""
        if self._request is None:
            raise EngineFault("openvino engine was used after close", "it holds no graph", "open it again")
        np.copyto(self._input[0], checked_frame(frame, self._input.shape[1:]))
        try:
            self._request.infer()
        except RuntimeError as error:
            raise EngineFault("openvino failed on a frame", str(error), "open the engine again") from error
        return checked_scores(*self._outputs)

    def close(self) -> None:
        """Release the request and its memory; a second call does nothing."""
        self._request, self._outputs = None, []


def _hint(precision: str) -> str:
    hint = HINTS.get(precision)
    if hint is None:
        raise InputError(f"openvino does not run {precision}", f"it runs {', '.join(HINTS)}", "name another precision")
    able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if hint == "bf16" and "BF16" not in able:
        raise MissingError("this CPU has no bfloat16", f"OpenVINO lists {', '.join(able)}", "use --precision fp32")
    return hint


def _compiled(graph: bytes, name: str, hint: str, threads: int) -> Any:
    core = ov.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    try:
        return core.compile_model(core.read_model(graph), "CPU", settings)
    except RuntimeError as error:
        raise InputError(f"openvino cannot load {name}", str(error), "export the bundle again") from error
