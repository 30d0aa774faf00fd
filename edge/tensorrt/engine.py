"""A plan as an engine: edge-build checks a new one through it, the station opens proven ones (edge.engine.tensorrt)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engine.base import Scores
from edge.engine.checks import checked_frame
from edge.errors import EngineFault
from edge.tensorrt.cuda import CudaDriver
from edge.tensorrt.library import Library
from edge.tensorrt.runner import Face, PlanRunner


class PlanEngine:
    """`plan` of `what` (bundle, variant) on the GPU; an Engine."""

    def __init__(self, library: Library, driver: CudaDriver, plan: bytes, what: tuple[Bundle, str]) -> None:
        bundle, self._variant = what
        spec = bundle.manifest.preprocessing
        self._shape = (spec.height, spec.width, spec.channels)
        self._runner = PlanRunner(library, driver, plan, Face((1, *self._shape), (1, *bundle.manifest.heatmap_shape)))
        self._description = f"tensorrt {library.version}, {self._variant}, {self._runner.gpu.name}"
        self._closed = False

    @property
    def description(self) -> str:
        return self._description

    @property
    def variant(self) -> str:
        return self._variant

    @property
    def device_ms(self) -> dict[str, float]:
        """Milliseconds of the last frame on the device by stage: h2d, compute, d2h."""
        return self._runner.stage_ms

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        if self._closed:
            raise EngineFault("the TensorRT engine was used after close", "it holds no plan", "open it again")
        return self._runner.infer(checked_frame(frame, self._shape))

    def close(self) -> None:
        self._closed = True
        self._runner.close()
