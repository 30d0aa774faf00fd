"""Every name of TensorRT that the code uses, held against the real bindings: 10.16, the 11.4 lean runtime, RTX 1.7.

Bindings need libraries that cannot be had from the package index; nine empty functions stand in for them, because the
names are in the bindings themselves.
"""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tensorrt_gate import require_tensorrt

ROOT = Path(__file__).parents[3]
# What the builder and the runner use, in 10 and in 11.
USED: dict[str, set[str]] = {
    "Builder": {"create_network", "create_builder_config", "build_serialized_network"},
    "INetworkDefinition": {"num_layers", "get_layer"},
    "ILayer": {"name", "type", "num_inputs", "num_outputs", "get_input", "get_output", "set_input"},
    "ITensor": {"name", "dtype"},
    "IBuilderConfig": {
        "set_memory_pool_limit", "builder_optimization_level", "create_timing_cache", "set_timing_cache",
        "get_timing_cache", "set_flag", "progress_monitor",
    },
    "ITimingCache": {"serialize"},
    "OnnxParser": {"parse", "num_errors", "get_error"},
    "ParserError": {"node_name", "desc"},
    "IProgressMonitor": {"phase_start", "step_complete", "phase_finish"},
    "ILogger": {"WARNING", "ERROR", "INTERNAL_ERROR", "log"},
    "LayerType": {
        "CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "CONSTANT", "SHAPE", "QUANTIZE", "DEQUANTIZE",
    },
    "MemoryPoolType": {"WORKSPACE"},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "Runtime": {"deserialize_cuda_engine"},
    "ICudaEngine": {
        "num_io_tensors", "get_tensor_name", "get_tensor_dtype", "get_tensor_shape", "create_execution_context",
    },
    "IExecutionContext": {"set_tensor_address", "execute_async_v3"},
    "": {"float32", "float16", "uint8", "__version__"},
}  # fmt: skip
# What ended with version 10; the code asks with hasattr before it uses them.
ONLY_10: dict[str, set[str]] = {
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH"},
    "BuilderFlag": {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"},
    "ILayer": {"precision"},
    "IBuilderConfig": {"int8_calibrator"},
    "IInt8EntropyCalibrator2": {"get_batch_size", "get_batch", "read_calibration_cache", "write_calibration_cache"},
    "IInt8MinMaxCalibrator": {"read_calibration_cache"},
}
ONLY_RTX: dict[str, set[str]] = {
    "IBuilderConfig": {"num_compute_capabilities", "set_compute_capability"},
    "ComputeCapability": {"SM86"},
}
# Names of ours, or of Python, that TensorRT's classes happen to have too.
OURS = set(
    "ctypes data format int8 itemsize pop release remove tensorrt add append items join keys logger parser builder "
    "code handle device value write read size end start stop close steps layers report capability get extend engine "
    "plan reset flags clear update copy free variant path count combine query line module key nbytes allocate "
    "file".split()
)
STUB = " ".join(
    f"void *{name}(void) {{ return 0; }}"
    for name in (
        "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL "
        "createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL getBuilderPluginRegistry "
        "getNvOnnxParserVersion getPluginRegistry initLibNvInferPlugins"
    ).split()
)
ASK = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
classes = {"": module, **{n: c for n, c in vars(module).items() if isinstance(c, type)}}
print(json.dumps({"version": module.__version__, "names": {n: dir(c) for n, c in classes.items()}}))
"""


def names_of(module: str, libraries: Path | None = None) -> dict[str, Any]:
    """version, and class -> its names ("": the module's own), asked of the real module in a process of its own."""
    environment = {"PATH": "/usr/bin:/bin"} | ({"LD_LIBRARY_PATH": str(libraries)} if libraries else {})
    done = subprocess.run(
        [sys.executable, "-c", ASK, module], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names of the TensorRT 10.16 bindings."""
    wheel = "tensorrt_cu12_bindings==10.16.1.11"
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip(f"no TensorRT 10 bindings: pip install --no-deps {wheel}")
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stub.c").write_text(STUB)
    for library in ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"):
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{library}",
            "-o",
            str(folder / library),
            str(folder / "stub.c"),
        ]
        subprocess.run(command, check=True)
    return names_of("tensorrt_bindings", folder)


def missing(names: dict[str, list[str]], wanted: dict[str, set[str]], known_classes_only: bool = False) -> list[str]:
    """class.name for each wanted name that is not there."""
    return [
        f"{kind}.{name}"
        for kind, members in wanted.items()
        if kind in names or not known_classes_only
        for name in sorted(members - set(names.get(kind, [])))
    ]


def test_tensorrt_10_has_every_name(ten: dict[str, Any]) -> None:
    assert ten["version"].startswith("10.16")
    assert missing(ten["names"], USED) == [] and missing(ten["names"], ONLY_10) == []


def test_the_lean_runtime_of_tensorrt_11_has_what_the_runner_uses() -> None:
    if importlib.util.find_spec("tensorrt_lean_bindings") is None:
        pytest.skip(
            "no TensorRT 11 lean runtime: pip install --no-deps tensorrt_lean_cu13_bindings tensorrt_lean_cu13_libs"
        )
    found = names_of("tensorrt_lean_bindings")
    assert found["version"].startswith("11.")
    runner = {kind: USED[kind] for kind in ("Runtime", "ICudaEngine", "IExecutionContext", "ILogger", "")}
    assert missing(found["names"], runner) == []
    shared = {k: v for k, v in USED.items() if k not in ("ILayer", "Builder")}
    assert missing(found["names"], shared, known_classes_only=True) == []
    assert "INT8" not in found["names"]["BuilderFlag"], "11 has no such flag: the code must not need it"


def test_rtx_has_the_builder_of_tensorrt_11() -> None:
    require_tensorrt()
    names = names_of("tensorrt_rtx")["names"]
    assert missing(names, USED) == [] and missing(names, ONLY_RTX) == []
    assert len(missing(names, ONLY_10)) == sum(map(len, ONLY_10.values())), "11 dropped all of these"


def test_the_lists_here_are_what_the_code_uses(ten: dict[str, Any]) -> None:
    require_tensorrt()
    real: set[str] = set()
    for names in (ten["names"], names_of("tensorrt_rtx")["names"]):
        real |= {name for kind, members in names.items() if kind for name in members}
        real |= set(names[""])
    tables = [row for table in (USED, ONLY_10, ONLY_RTX) for row in table.items()]
    members, kinds = {name for _, names in tables for name in names}, {kind for kind, _ in tables}
    used = {name for file in sources() for name in names_in(file)}
    assert sorted((used & {n for n in real if not n.startswith("__")}) - members - kinds - OURS) == []
    assert sorted(members - used - methods() - {"SM86"}) == []


def sources() -> list[Path]:
    return [*sorted((ROOT / "edge" / "tensorrt").glob("*.py")), ROOT / "edge" / "engine" / "tensorrt.py"]


def names_in(file: Path) -> set[str]:
    """Attributes, and strings that look like names (for hasattr and getattr)."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return found


def methods() -> set[str]:
    """Names of functions that the code defines: what TensorRT calls back."""
    trees = [ast.parse(file.read_text()) for file in sources()]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
