"""TensorRT on a Jetson: runs the engines that edge-build made and proved. It never builds: that takes minutes."""

from __future__ import annotations

import pycuda.driver  # both belong to this back end: without either of them it is not installed
import tensorrt

from edge.bundle import Bundle
from edge.tensorrt.cache import EngineCache, place_of
from edge.tensorrt.cuda import PycudaDriver, gpu_facts
from edge.tensorrt.engine import PlanEngine
from edge.tensorrt.library import library_of


class TensorRtEngine(PlanEngine):
    """One variant of a bundle on the GPU, from the engine cache. `threads` plays no part.

    Raises MissingError if edge-build made no engine for this machine, CheckFailed if its plan is damaged.
    """

    def __init__(self, bundle: Bundle, variant: str, *, threads: int = 0) -> None:
        library, driver = library_of(tensorrt), PycudaDriver(pycuda.driver)
        _, plan = EngineCache().open(bundle, variant, place_of(library, gpu_facts(driver)))
        super().__init__(library, driver, plan, (bundle, variant))
