"""The libraries under the engines send usage figures home unless they are told not to. A station tells nobody.

ONNX Runtime's official wheels queue events for their maker in ~/.cache and OpenVINO's converter sends one on import
(both seen with the versions of the tests). A setting of the user's own wins.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def onnxruntime() -> Any:
    """The onnxruntime module, imported with its telemetry off. Raises ImportError if it is not installed."""
    silence()
    return importlib.import_module("onnxruntime")


def openvino() -> Any:
    """The openvino module, imported without its telemetry package. Raises ImportError if it is not installed."""
    silence()
    return importlib.import_module("openvino")


def silence() -> None:
    """Switch both off, for whoever imports them after this."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import of it fails; it has a stub
