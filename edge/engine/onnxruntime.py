"""ONNX Runtime on the CPU: the reference engine, available everywhere."""

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
from edge.errors import EngineFault, InputError

ort = no_telemetry.onnxruntime()
OUTPUTS = ("score", "masked_error", "heatmap")


class OnnxRuntimeEngine:
    """One variant of a bundle on the CPU. `threads` 0 means one per usable CPU."""

    def __init__(self, bundle: Bundle, variant: str, *, threads: int = 0) -> None:
        row = bundle.manifest.variants[variant]
        self._graph = OnnxGraph(bundle.read(row.graph), row.graph, threads=threads)
        self._variant = variant

    @property
    def description(self) -> str:
        return f"onnxruntime {ort.__version__}, {self._variant}, {self._graph.threads} threads"

    @property
    def variant(self) -> str:
        return self._variant

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        return self._graph.infer(frame)

    def close(self) -> None:
        self._graph.close()


class OnnxGraph:
    """A scoring graph from its serialised bytes. Input and output buffers are allocated once and bound."""

    def __init__(self, graph: bytes, name: str, *, threads: int = 0) -> None:
        require_self_contained(graph, name)
        self.threads = threads or usable_cpus()
        self._session: Any = _session(graph, name, self.threads)
        shape = self._session.get_inputs()[0].shape
        if shape[0] != 1 or not all(isinstance(side, int) for side in shape):
            raise InputError(f"{name} has input shape {shape}", "a bundle's graphs are static, batch 1", "export again")
        self._input = np.zeros(shape, np.uint8)
        self._outputs = {o.name: np.zeros(o.shape, np.float32) for o in self._session.get_outputs()}
        self._binding = self._bind(self._session)

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        """Score one frame, uint8 [H, W, C]. Raises EngineFault when the run fails or an output is not finite."""
        if self._session is None:
            raise EngineFault("onnxruntime engine was used after close", "it holds no graph", "open it again")
        np.copyto(self._input[0], checked_frame(frame, self._input.shape[1:]))
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
            raise EngineFault("onnxruntime failed on a frame", str(error), "open the engine again") from error
        return checked_scores(*(self._outputs[name] for name in OUTPUTS))

    def close(self) -> None:
        """Release the session; a second call does nothing."""
        self._session = self._binding = None

    def _bind(self, session: Any) -> Any:
        binding = session.io_binding()
        frame = session.get_inputs()[0].name
        binding.bind_input(frame, "cpu", 0, np.uint8, self._input.shape, self._input.ctypes.data)
        for name, buffer in self._outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        return binding


def _session(graph: bytes, name: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Workers may spin inside a run, where it pays; between frames an idle station must not burn a core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"onnxruntime cannot load {name}", str(error), "export the bundle again") from error
