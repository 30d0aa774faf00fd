"""A stand-in for pycuda.driver that keeps CUDA's rules, so that breaking one fails a test instead of a board.

- Nothing works before init, or on a thread on which no context is current.
- Addresses are 256-byte aligned; memory that was freed, or never was, is an illegal address, and that is sticky: from
  then on every call fails, as with a real GPU.
- Copies and kernels are queued on their stream and happen when it is synchronised.
- Objects must be gone before their context is; what is left over is written down in `STATE.violations`.
- `STATE.fail_at` makes the n-th call fail; while `fail_while` names a file, only once it is there, and that file is
  taken away. $FAKE_GPU (JSON) sets all of this.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


class Error(Exception):
    """pycuda.driver.Error"""


class LogicError(Error):
    """pycuda.driver.LogicError"""


@dataclass
class State:
    name: str = "Orin (stand-in)"
    capability: tuple = (8, 7)
    integrated: bool = True
    fail_at: int | None = None
    sticky_failure: bool = False
    fail_while: str | None = None
    calls: int = 0
    initialised: bool = False
    retained: int = 0
    broken: bool = False
    alive: dict = field(default_factory=dict)  # id -> what; streams, events, memory
    memory: dict = field(default_factory=dict)  # address -> bytes as an array
    streams: dict = field(default_factory=dict)  # handle -> queued work
    violations: list = field(default_factory=list)
    next_address: int = 0x7F00_0000_0000
    copied: list = field(default_factory=list)  # "h2d", "d2h"
    local: threading.local = field(default_factory=threading.local)


STATE = State()


def reset(**changes):
    """Forget everything, as a reboot does."""
    fresh = State(**{**json.loads(os.environ.get("FAKE_GPU", "{}")), **changes})
    STATE.__dict__.update(fresh.__dict__)
    STATE.capability = tuple(STATE.capability)


def called(name, needs_context=True):
    """Every call comes through here."""
    number, STATE.calls = STATE.calls, STATE.calls + 1
    if STATE.fail_while and Path(STATE.fail_while).exists():
        Path(STATE.fail_while).unlink()
        STATE.broken |= STATE.sticky_failure
        raise LogicError(f"{name} failed: injected by {STATE.fail_while}")
    if STATE.fail_at == number:
        STATE.broken |= STATE.sticky_failure
        raise LogicError(f"{name} failed: injected at call {number}")
    if STATE.broken:
        raise LogicError(f"{name} failed: an illegal memory access was encountered")
    if not STATE.initialised and name != "cuInit":
        raise LogicError(f"{name} failed: initialization error")
    if needs_context and not has_context():
        raise LogicError(f"{name} failed: invalid device context - no currently active context?")


def has_context():
    return bool(getattr(STATE.local, "stack", None)) and STATE.retained > 0


def violated(text):
    STATE.violations.append(text)


def bytes_at(address, size, what):
    """The bytes at a device address; illegal ones break the device."""
    block = STATE.memory.get(address)
    if block is None or block.nbytes < size:
        STATE.broken = True
        raise LogicError(f"{what} failed: an illegal memory access was encountered")
    return block


class _Object:
    """Something that must not outlive its context."""

    def born(self, what):
        self.born_as = what
        STATE.alive[id(self)] = what

    def died(self):
        if STATE.alive.pop(id(self), None) is not None and not has_context():
            violated(f"{self.born_as} destroyed without a current context")


def init(flags=0):
    STATE.initialised = True
    called("cuInit", needs_context=False)


def get_driver_version():
    return 12060


def mem_get_info():
    called("cuMemGetInfo")
    return 6 << 30, 8 << 30


class device_attribute:
    INTEGRATED, CAN_MAP_HOST_MEMORY = "integrated", "maps"


class host_alloc_flags:
    DEVICEMAP = 2


class Device:
    def __init__(self, number):
        called("cuDeviceGet", needs_context=False)

    def name(self):
        return STATE.name

    def compute_capability(self):
        return tuple(STATE.capability)

    def get_attribute(self, what):
        called("cuDeviceGetAttribute", needs_context=False)
        return int(STATE.integrated) if what == device_attribute.INTEGRATED else 1

    def retain_primary_context(self):
        called("cuDevicePrimaryCtxRetain", needs_context=False)
        STATE.retained += 1
        return Context()


class Context:
    def __init__(self):
        self.valid = True

    def push(self):
        called("cuCtxPushCurrent", needs_context=False)
        STATE.local.__dict__.setdefault("stack", []).append(self)

    @staticmethod
    def pop():
        called("cuCtxPopCurrent")
        STATE.local.stack.pop()

    def detach(self):
        if not self.valid:
            violated("context detached twice")
        self.valid = False
        STATE.retained -= 1
        if STATE.retained == 0 and STATE.alive:
            violated(f"context released before {sorted(STATE.alive.values())}")
        called("cuDevicePrimaryCtxRelease", needs_context=False)


class DeviceAllocation(_Object):
    def __init__(self, size):
        called("cuMemAlloc")
        self.address = STATE.next_address
        STATE.next_address += (size + 255) // 256 * 256 + 256
        STATE.memory[self.address] = np.full(size, 0xAB, np.uint8)
        self.born(f"{size} bytes of device memory")

    def __int__(self):
        return self.address

    def free(self):
        self.died()
        if STATE.memory.pop(self.address, None) is None:
            violated("device memory freed twice")
        called("cuMemFree")

    def __del__(self):
        if id(self) in STATE.alive:
            self.died()
            STATE.memory.pop(self.address, None)


def mem_alloc(size):
    return DeviceAllocation(size)


class PagelockedHostAllocation(_Object):
    """Its buffer is what the array stands on."""

    def __init__(self, size, mapped):
        called("cuMemHostAlloc")
        whole = np.full(size + 256, 0xCD, np.uint8)
        start = -whole.ctypes.data % 256
        self.bytes, self.mapped = whole[start : start + size], mapped
        self.__array_interface__ = self.bytes.__array_interface__
        self.born(f"{size} bytes of pinned memory")
        if mapped:
            STATE.memory[self.bytes.ctypes.data] = self.bytes

    def get_device_pointer(self):
        called("cuMemHostGetDevicePointer")
        if not self.mapped:
            raise LogicError("cuMemHostGetDevicePointer failed: invalid argument")
        return self.bytes.ctypes.data

    def free(self):
        self.died()
        STATE.memory.pop(self.bytes.ctypes.data, None)
        called("cuMemFreeHost")

    def __del__(self):
        if id(self) in STATE.alive:
            self.died()
            STATE.memory.pop(self.bytes.ctypes.data, None)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    return np.asarray(PagelockedHostAllocation(int(np.prod(shape)), bool(mem_flags & host_alloc_flags.DEVICEMAP)))


class Stream(_Object):
    def __init__(self, flags=0):
        called("cuStreamCreate")
        self.handle = id(self)
        STATE.streams[self.handle] = []
        self.born("stream")

    def synchronize(self):
        called("cuStreamSynchronize")
        queue, STATE.streams[self.handle] = STATE.streams[self.handle], []
        for work in queue:
            work()

    def __del__(self):
        if STATE.streams.pop(getattr(self, "handle", None), None) is not None:
            self.died()


class Event(_Object):
    def __init__(self, flags=0):
        called("cuEventCreate")
        self.time = None
        self.born("event")

    def record(self, stream=None):
        called("cuEventRecord")
        STATE.streams[stream.handle].append(lambda: setattr(self, "time", time.perf_counter()))
        return self

    def time_since(self, other):
        called("cuEventElapsedTime")
        if self.time is None or other.time is None:
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return (self.time - other.time) * 1e3

    def __del__(self):
        self.died()


def memcpy_htod_async(address, source, stream=None):
    called("cuMemcpyHtoDAsync")

    def copy():
        bytes_at(address, source.nbytes, "cuMemcpyHtoDAsync")[: source.nbytes] = source.reshape(-1)
        STATE.copied.append("h2d")

    STATE.streams[stream.handle].append(copy)


def memcpy_dtoh_async(target, address, stream=None):
    called("cuMemcpyDtoHAsync")

    def copy():
        target.reshape(-1)[:] = bytes_at(address, target.nbytes, "cuMemcpyDtoHAsync")[: target.nbytes]
        STATE.copied.append("d2h")

    STATE.streams[stream.handle].append(copy)


reset()
