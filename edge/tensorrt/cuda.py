"""The few things that the runner asks of CUDA, and pycuda as the one that does them.

All calls are made by one thread, which owns the context. Handles are plain integers, so that nothing outlives its
context by being referenced somewhere. pycuda's memory from the driver is 256-byte aligned, as TensorRT wants it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineFault, MissingError
from edge.tensorrt.owner import Owner

ALIGNMENT, FACTS_TIMEOUT_S = 256, 60.0
COHERENT_SINCE = (7, 2)  # Xavier: pinned memory is cached by the CPU there, before it is not


@dataclass(frozen=True)
class GpuFacts:
    """`capability`: such as (8, 7). `integrated`: CPU and GPU share one memory. `cuda`: of the driver, such as 12.6."""

    name: str
    capability: tuple[int, int]
    integrated: bool
    maps_host_memory: bool
    cuda: str
    free_bytes: int

    @property
    def zero_copy(self) -> bool:
        """Whether the GPU should read the picture where the CPU wrote it, instead of from a copy."""
        return self.integrated and self.maps_host_memory and self.capability >= COHERENT_SINCE


@dataclass(frozen=True)
class Pinned:
    """Page-locked memory of the CPU: its bytes, and the address the GPU knows it by (None: not mapped)."""

    handle: int
    array: NDArray[np.uint8]
    device_address: int | None


class CudaDriver(Protocol):
    """Every method raises EngineFault if CUDA fails, and belongs to the thread that called `retain`."""

    def retain(self) -> GpuFacts:
        """Retain the primary context of GPU 0 and make it current."""
        ...

    def release(self) -> None:
        """Give the context back; everything made in it must be gone by then."""
        ...

    def allocate(self, size: int) -> int:
        """Device memory of `size` bytes; its address, 256-byte aligned."""
        ...

    def free(self, address: int) -> None:
        """Free device memory."""
        ...

    def pin(self, size: int, mapped: bool) -> Pinned:
        """Page-locked memory of `size` bytes, mapped into the GPU's address space if asked."""
        ...

    def unpin(self, pinned: Pinned) -> None:
        """Free page-locked memory."""
        ...

    def make_stream(self) -> int:
        """A stream that is not the default one (on which TensorRT would add synchronisation)."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        ...

    def synchronize(self, stream: int) -> None:
        """Wait until all work of the stream is done; other Python threads run meanwhile."""
        ...

    def make_event(self) -> int:
        """An event that takes the time."""
        ...

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Let the stream note the time when it comes here."""
        ...

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two events that have happened."""
        ...

    def copy_to_device(self, address: int, source: NDArray[np.uint8], stream: int) -> None:
        """Copy page-locked bytes to the device, asynchronously."""
        ...

    def copy_from_device(self, target: NDArray[np.uint8], address: int, stream: int) -> None:
        """Copy from the device into page-locked bytes, asynchronously."""
        ...


class PycudaDriver:
    """CUDA through pycuda. No pycuda.autoinit: it would make a second context, current on one thread only."""

    def __init__(self, pycuda_driver: Any = None) -> None:
        self._cuda = _pycuda_driver() if pycuda_driver is None else pycuda_driver
        self._context: Any = None
        self._kept: dict[int, Any] = {}

    def retain(self) -> GpuFacts:
        cuda = self._cuda
        self._did(lambda: cuda.init())
        device = self._did(lambda: cuda.Device(0))
        self._context = self._did(lambda: device.retain_primary_context())
        try:
            self._did(lambda: self._context.push())
        except EngineFault:
            context, self._context = self._context, None
            with suppress(EngineFault):  # the first error is the one to tell
                self._did(lambda: context.detach())
            raise
        try:
            facts: GpuFacts = self._did(lambda: self._facts(device))
        except EngineFault:
            with suppress(EngineFault):
                self.release()
            raise
        return facts

    def release(self) -> None:
        if self._context is None:
            return
        context, self._context = self._context, None
        self._kept.clear()
        try:
            self._did(lambda: self._cuda.Context.pop())
        finally:
            self._did(lambda: context.detach())

    def allocate(self, size: int) -> int:
        memory = self._did(lambda: self._cuda.mem_alloc(size))
        return self._keep(int(memory), memory)

    def free(self, address: int) -> None:
        memory = self._kept.pop(address)
        self._did(lambda: memory.free())

    def pin(self, size: int, mapped: bool) -> Pinned:
        flags = self._cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        array = self._did(lambda: self._cuda.pagelocked_empty((size,), np.uint8, mem_flags=flags))
        handle = self._keep(array.ctypes.data, array.base)
        try:
            address = self._did(lambda: int(array.base.get_device_pointer())) if mapped else None
        except EngineFault:
            with suppress(EngineFault):
                self._did(self._kept.pop(handle).free)
            raise
        return Pinned(handle, array, address)

    def unpin(self, pinned: Pinned) -> None:
        memory = self._kept.pop(pinned.handle)
        self._did(lambda: memory.free())

    def make_stream(self) -> int:
        stream = self._did(lambda: self._cuda.Stream())
        return self._keep(int(stream.handle), stream)

    def destroy_stream(self, stream: int) -> None:
        del self._kept[stream]  # pycuda destroys it with its last reference

    def synchronize(self, stream: int) -> None:
        self._did(lambda: self._kept[stream].synchronize())

    def make_event(self) -> int:
        event = self._did(lambda: self._cuda.Event())
        return self._keep(id(event), event)

    def destroy_event(self, event: int) -> None:
        del self._kept[event]

    def record(self, event: int, stream: int) -> None:
        self._did(lambda: self._kept[event].record(self._kept[stream]))

    def elapsed_ms(self, start: int, end: int) -> float:
        return float(self._did(lambda: self._kept[end].time_since(self._kept[start])))

    def copy_to_device(self, address: int, source: NDArray[np.uint8], stream: int) -> None:
        self._did(lambda: self._cuda.memcpy_htod_async(address, source, self._kept[stream]))

    def copy_from_device(self, target: NDArray[np.uint8], address: int, stream: int) -> None:
        self._did(lambda: self._cuda.memcpy_dtoh_async(target, address, self._kept[stream]))

    def _facts(self, device: Any) -> GpuFacts:
        kind, version = self._cuda.device_attribute, int(self._cuda.get_driver_version())
        return GpuFacts(
            name=str(device.name()),
            capability=tuple(device.compute_capability()),
            integrated=bool(device.get_attribute(kind.INTEGRATED)),
            maps_host_memory=bool(device.get_attribute(kind.CAN_MAP_HOST_MEMORY)),
            cuda=f"{version // 1000}.{version % 1000 // 10}",
            free_bytes=int(self._cuda.mem_get_info()[0]),
        )

    def _keep(self, handle: int, what: Any) -> int:
        self._kept[handle] = what
        return handle

    def _did(self, work: Any) -> Any:
        """The result of `work`, or EngineFault. pycuda's errors share the base pycuda.driver.Error."""
        try:
            return work()
        except self._cuda.Error as error:
            raise EngineFault("CUDA failed", str(error) or type(error).__name__, "open the engine again") from error


def _pycuda_driver() -> Any:
    try:
        import pycuda.driver
    except ImportError as error:
        fix = "it is built on the device: PATH=/usr/local/cuda/bin:$PATH pip install 'pycuda>=2025.1.2', or edge-doctor"
        raise MissingError("pycuda is not installed", str(error), fix) from error
    return pycuda.driver


def gpu_facts(driver: CudaDriver) -> GpuFacts:
    """What GPU this is. In a thread of its own, so that the caller's thread never held a context."""
    owner = Owner("gpu-facts")

    def ask() -> GpuFacts:
        facts = driver.retain()
        driver.release()
        return facts

    try:
        return owner.call(ask, FACTS_TIMEOUT_S)
    finally:
        owner.end(FACTS_TIMEOUT_S)
