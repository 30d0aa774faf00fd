"""Runs a plan. One thread owns context, stream and buffers; buffers are made once; the tensors API moves the data."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.engine.base import Scores
from edge.engine.checks import checked_scores
from edge.errors import CheckFailed, EngineFault
from edge.tensorrt.cuda import ALIGNMENT, CudaDriver, GpuFacts, Pinned
from edge.tensorrt.library import Library, Messages, logger_of
from edge.tensorrt.owner import Owner

INPUT, OUTPUTS = "frame", ("score", "masked_error", "heatmap")
OPEN_TIMEOUT_S, RUN_TIMEOUT_S = 120.0, 10.0
STAGES = ("h2d", "compute", "d2h")
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Face:
    """The shapes that the plan must have: `frame` uint8 [1, H, W, C] in, `heatmap` float32 [1, h, w] out."""

    frame: tuple[int, ...]
    heatmap: tuple[int, ...]

    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Tensor -> (type, shape)."""
        return {
            INPUT: ("uint8", self.frame),
            "score": ("float32", (1,)),
            "masked_error": ("float32", (1,)),
            "heatmap": ("float32", self.heatmap),
        }


class PlanRunner:
    """A plan, opened. Used from any one thread at a time; after an EngineFault it must be closed and opened again."""

    def __init__(self, library: Library, driver: CudaDriver, plan: bytes, face: Face) -> None:
        self._device = _Device(library, driver, face)
        self._owner = Owner("tensorrt")
        self._fault: EngineFault | None = None
        try:
            self.gpu: GpuFacts = self._owner.call(lambda: self._device.open(plan), OPEN_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of the last frame on the device: h2d (0 where the GPU reads the CPU's memory), compute, d2h."""
        return dict(self._device.stage_ms)

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        """Score `frame`, uint8 [H, W, C] of the face's size. Raises EngineFault, from then on at every call."""
        if self._fault is not None:
            raise EngineFault("the engine failed before", self._fault.why, "open the engine again")
        try:
            return self._owner.call(lambda: self._device.infer(frame), RUN_TIMEOUT_S)
        except EngineFault as fault:
            self._fault = fault
            raise

    def close(self) -> None:
        """Give everything back, in reverse order; never raises, a second call does nothing."""
        try:
            self._owner.call(self._device.close, RUN_TIMEOUT_S)
        except EngineFault as fault:
            if "closed" not in fault.what:
                LOG.warning("closing the engine: %s", fault)
        if not self._owner.end(RUN_TIMEOUT_S):
            LOG.warning("closing the engine: its thread still waits for the GPU and is left behind")


class _Device:
    """The part that lives in the owning thread."""

    def __init__(self, library: Library, driver: CudaDriver, face: Face) -> None:
        self._library, self._driver, self._face = library, driver, face
        self._made = ExitStack()  # undone in reverse: execution context, engine, runtime, buffers, events, stream, CUDA
        self._host: dict[str, Pinned] = {}
        self._address: dict[str, int] = {}
        self._copied: dict[str, int] = {}  # outputs and, unless mapped, the input: tensor -> device address
        self._stream = 0
        self._events: list[int] = []
        self._objects: dict[str, Any] = {}
        self._messages = Messages()
        self.stage_ms: dict[str, float] = {}

    def open(self, plan: bytes) -> GpuFacts:
        """Make everything; on an error what was made is undone by `close`."""
        driver = self._driver
        gpu = driver.retain()
        self._undo(driver.release)
        self._stream = driver.make_stream()
        self._undo(lambda: driver.destroy_stream(self._stream))
        for _ in range(len(STAGES) + 1):
            event = driver.make_event()
            self._events.append(event)
            self._undo(lambda event=event: driver.destroy_event(event))  # type: ignore[misc]
        self._make_buffers(gpu)
        self._make_engine(plan)
        return gpu

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        """One frame: copy in, compute, copy out, wait."""
        context = self._objects.get("context")
        if context is None:
            raise EngineFault("the TensorRT engine was used after close", "it holds no plan", "open it again")
        driver, stream = self._driver, self._stream
        np.copyto(self._host[INPUT].array, frame.reshape(-1))
        driver.record(self._events[0], stream)
        if INPUT in self._copied:
            driver.copy_to_device(self._copied[INPUT], self._host[INPUT].array, stream)
        driver.record(self._events[1], stream)
        if not context.execute_async_v3(stream):
            raise EngineFault("TensorRT failed on a frame", self._messages.last(), "open the engine again")
        driver.record(self._events[2], stream)
        for name in OUTPUTS:
            driver.copy_from_device(self._host[name].array, self._copied[name], stream)
        driver.record(self._events[3], stream)
        driver.synchronize(stream)
        self._take_times()
        return checked_scores(*(self._output(name) for name in OUTPUTS))

    def close(self) -> None:
        """Undo everything that was made; each step is tried, whatever the others say."""
        self._made.close()

    def _make_buffers(self, gpu: GpuFacts) -> None:
        for name, (kind, shape) in self._face.tensors().items():
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            mapped = name == INPUT and gpu.zero_copy
            pinned = self._driver.pin(size, mapped)
            self._undo(lambda pinned=pinned: self._driver.unpin(pinned))  # type: ignore[misc]
            self._host[name] = pinned
            self._address[name] = self._mapped_address(pinned) if mapped else self._device_memory(name, size)
            if self._address[name] % ALIGNMENT:
                raise EngineFault(
                    f"the buffer of {name} is not aligned", f"address {self._address[name]:#x}", "report it"
                )

    def _mapped_address(self, pinned: Pinned) -> int:
        if pinned.device_address is None:
            raise EngineFault("CUDA failed", "mapped memory has no device address", "open the engine again")
        return pinned.device_address

    def _device_memory(self, name: str, size: int) -> int:
        address = self._driver.allocate(size)
        self._undo(lambda: self._driver.free(address))
        self._copied[name] = address
        return address

    def _make_engine(self, plan: bytes) -> None:
        runtime = self._object(
            "runtime", lambda: self._library.module.Runtime(logger_of(self._library, self._messages))
        )
        engine = self._object("engine", lambda: runtime.deserialize_cuda_engine(plan))
        _check_face(engine, self._face, self._library)
        context = self._object("context", lambda: engine.create_execution_context())
        for name, address in self._address.items():
            if not context.set_tensor_address(name, address):
                raise EngineFault(f"TensorRT does not take the buffer of {name}", self._messages.last(), "report it")

    def _object(self, name: str, make: Callable[[], Any]) -> Any:
        """A TensorRT object; it is destroyed with its last reference, which is kept here only."""
        made = make()
        if made is None:
            raise CheckFailed(
                f"TensorRT {self._library.version} cannot open the plan",
                f"no {name}: {self._messages.last()}",
                "it may be of another TensorRT or GPU; build it again with edge-build",
            )
        self._objects[name] = made
        self._undo(lambda: self._objects.pop(name))
        return made

    def _take_times(self) -> None:
        pairs = zip(STAGES, self._events, self._events[1:], strict=False)
        self.stage_ms = {stage: self._driver.elapsed_ms(start, end) for stage, start, end in pairs}

    def _output(self, name: str) -> NDArray[np.float32]:
        return self._host[name].array.view(np.float32).reshape(self._face.tensors()[name][1])

    def _undo(self, step: Callable[[], object]) -> None:
        def tried() -> None:
            try:
                step()
            except EngineFault as fault:  # after a fault CUDA refuses to free; the context takes the rest with it
                LOG.warning("closing the engine: %s", fault)

        self._made.callback(tried)


def _check_face(engine: Any, face: Face, library: Library) -> None:
    """Raise CheckFailed unless the plan has exactly the scoring graph's inputs and outputs."""
    types = {getattr(library.module, kind): kind for kind in ("uint8", "float32")}
    found = {}
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        kind = types.get(engine.get_tensor_dtype(name), "another type")
        found[name] = (kind, tuple(engine.get_tensor_shape(name)))
    if found != face.tensors():
        raise CheckFailed(
            "the plan is not of this bundle",
            f"expected {face.tensors()}, found {found}",
            "build it again with edge-build",
        )
