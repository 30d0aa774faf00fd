"""What an engine is, and the table of back ends. Nothing here imports a back end until it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scores:
    """What the scoring graph says of one frame.

    `score`: the method's own anomaly score, high = anomalous, unbounded. `masked_error`: ||c*(x-x_hat)||^2 / ||c||^2
    (ADDA eq. 5, first term). `heatmap`: float32 [h, w], where the anomaly is, high = anomalous; owned by the caller.
    """

    score: float
    masked_error: float
    heatmap: NDArray[np.float32]


class Engine(Protocol):
    """One scoring graph ready to run. Used by one thread at a time; `close` is idempotent."""

    @property
    def description(self) -> str:
        """One line: back end with version, precision, dialect, threads or device."""
        ...

    @property
    def variant(self) -> str:
        """Key in `manifest.variants` of what runs; its threshold is the one to decide by."""
        ...

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        """Score `frame`, uint8 [H, W, C] as edge.preprocess makes it. Raises EngineFault if the engine failed."""
        ...

    def close(self) -> None:
        """Release the engine; a second call does nothing."""
        ...


Candidate = tuple[str, str]  # (back end, key in manifest.variants)

# name -> "module:class"; each class has `__init__(bundle: Bundle, variant: str, *, threads: int)`.
BACKENDS: dict[str, str] = {
    "onnxruntime": "edge.engine.onnxruntime:OnnxRuntimeEngine",
    "openvino": "edge.engine.openvino:OpenVinoEngine",
    "tensorrt": "edge.engine.tensorrt:TensorRtEngine",
}
