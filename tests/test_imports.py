"""The device's packages import on a machine that has none of the workstation's libraries."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import edge
import firmware_bridge

ABSENT = (
    "torch torchvision onnx onnxsim onnxruntime openvino tensorrt tensorrt_rtx pycuda serial gpiod Jetson pymodbus "
    "paho starlette uvicorn cryptography sklearn matplotlib lightning_fabric train export calib prometheus_client"
).split()
# The one file of each back end is imported when that back end is opened, never before.
BACKEND_FILES = {"edge.engine.onnxruntime", "edge.engine.openvino", "edge.engine.tensorrt"}


@pytest.mark.parametrize("package", [edge, firmware_bridge], ids=lambda p: p.__name__)
def test_every_module_imports_without_the_heavy_libraries(package) -> None:
    names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    names = [n for n in names if n not in BACKEND_FILES and not n.endswith("__main__")]
    script = "import sys, importlib\n"
    script += f"sys.modules.update({{n: None for n in {ABSENT}}})\n"
    script += f"[importlib.import_module(n) for n in {names}]"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert names, "the package has no modules"
