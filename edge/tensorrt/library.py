"""TensorRT's Python module, and what this version of it can do: found by name, never by number.

The numbers of flags changed their meaning between versions (bit 0 is EXPLICIT_BATCH up to 10 and STRONGLY_TYPED in 11),
so every flag is asked for by its name.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.errors import MissingError

REMEDY = "TensorRT comes with JetPack 6 or later: run edge-doctor"
KEPT_MESSAGES = 200


@dataclass(frozen=True)
class Library:
    """A TensorRT module (tensorrt, or tensorrt_rtx, whose builder needs no GPU)."""

    module: Any

    @property
    def name(self) -> str:
        """`tensorrt` or `tensorrt_rtx`."""
        return str(self.module.__name__)

    @property
    def version(self) -> str:
        """Such as 10.3.0."""
        return str(self.module.__version__)

    @property
    def strong(self) -> bool:
        """Whether a network can take its precision from the graph's own types (10.0 and later; always on in 11)."""
        return hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")

    @property
    def weak(self) -> bool:
        """Whether INT8 and FP16 can still be allowed by flags (up to 10)."""
        return hasattr(self.module.BuilderFlag, "INT8") and hasattr(self.module.BuilderFlag, "FP16")

    @property
    def implicit(self) -> bool:
        """Whether INT8 can still come from a calibration cache (up to 10)."""
        return self.weak and hasattr(self.module, "IInt8EntropyCalibrator2")

    @property
    def on_cpu(self) -> bool:
        """Whether its builder works for a chip that is not there (TensorRT-RTX)."""
        return hasattr(self.module.IBuilderConfig, "set_compute_capability")

    @property
    def version_number(self) -> int:
        """NV_TENSORRT_VERSION: 8.6.2 is 8602, 10.3.0 is 100300. It stands in the head of a calibration cache."""
        major, minor, patch = ([int(n) for n in re.findall(r"\d+", self.version)] + [0, 0, 0])[:3]
        return major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch


def load_library(name: str = "tensorrt") -> Library:
    """Import TensorRT. Raises MissingError where it is absent, or too old for the tensors API (before 8.5)."""
    try:
        return library_of(importlib.import_module(name))
    except ImportError as error:
        raise MissingError(f"no {name} here", str(error), REMEDY) from error


def library_of(module: Any) -> Library:
    """`module` if it has the tensors API. Raises MissingError for a version before 8.5."""
    needed = ((module, "ICudaEngine", "num_io_tensors"), (module, "IExecutionContext", "execute_async_v3"))
    missing = [f"{kind}.{name}" for owner, kind, name in needed if not hasattr(getattr(owner, kind, None), name)]
    if missing:
        version = getattr(module, "__version__", "of unknown version")
        raise MissingError(f"TensorRT {version} is too old", f"it has no {', '.join(missing)}", REMEDY)
    return Library(module)


class Messages:
    """What TensorRT said: warnings and worse, in order; the oldest are dropped. Any thread may add."""

    def __init__(self, tell: Callable[[str], None] = lambda text: None) -> None:
        self._tell, self._lock = tell, threading.Lock()
        self._kept: list[str] = []

    def add(self, text: str) -> None:
        """Keep `text` and tell it on."""
        with self._lock:
            self._kept = [*self._kept, text][-KEPT_MESSAGES:]
        self._tell(text)

    def all(self) -> list[str]:
        """All that were kept."""
        with self._lock:
            return list(self._kept)

    def last(self, otherwise: str = "no message") -> str:
        """The newest message."""
        return (self.all() or [otherwise])[-1]


def logger_of(library: Library, messages: Messages) -> Any:
    """A logger of `library` that hands warnings and errors to `messages`."""
    trt = library.module
    told = (trt.ILogger.WARNING, trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # without this call the binding crashes

        def log(self, severity: Any, text: str) -> None:
            if severity in told:
                messages.add(text)

    return Logger()
