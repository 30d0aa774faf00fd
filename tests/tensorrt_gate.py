"""The real parser and builder of the TensorRT family, which need no GPU: TensorRT-RTX, for compute capability 8.6.

It cannot run an engine there and does not know the Jetson's own chips: it is a gate for the ONNX file.
"""

from __future__ import annotations

from typing import Any

import pytest


def require_tensorrt() -> Any:
    """The `tensorrt_rtx` module; skips, saying what to install, where it is absent."""
    return pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX: pip install tensorrt-rtx")


def build(graph: bytes) -> tuple[bytes, list[str]]:
    """(plan, messages of warning level and above) of parsing and building `graph` (serialised ONNX).

    Fails the test if the parser or the builder refuses it, or if the parser reads a type as another ("Defaulting to
    INT8"): values above 127 would then be clipped without a word.
    """
    trt = require_tensorrt()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        pytest.fail("TensorRT refuses the graph: " + "; ".join(_error(parser, i) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        pytest.fail("TensorRT cannot build the graph: " + "; ".join(logger.messages[-3:]))
    if wrong := [m for m in logger.messages if "efaulting to" in m]:
        pytest.fail(f"TensorRT reads a type as another: {wrong[0]}")
    return bytes(plan), logger.messages


def _error(parser: Any, index: int) -> str:
    error = parser.get_error(index)
    return f"{error.node_name()}: {error.desc()}"


def _logger(trt: Any) -> Any:
    class Kept(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.WARNING, trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.messages.append(message)

    return Kept()
