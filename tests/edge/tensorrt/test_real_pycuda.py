"""The real pycuda, over a libcuda of ours that needs no GPU: the calls have the right names, arguments and order.

pycuda has no wheels. Built once against CUDA's headers (FOLDER: pip install --target), it is named by EDGE_TEST_PYCUDA.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DRIVE = """
import threading
import numpy as np
import pycuda.driver as cuda
from edge.errors import EngineFault
from edge.tensorrt.cuda import PycudaDriver, gpu_facts
from edge.tensorrt.owner import Owner

def drive(driver):
    facts = driver.retain()
    stream, start, end = driver.make_stream(), driver.make_event(), driver.make_event()
    pinned, back = driver.pin(1000, mapped=True), driver.pin(1000, mapped=False)
    address = driver.allocate(1000)
    assert address % 256 == 0 and pinned.device_address % 256 == 0 and back.device_address is None
    pinned.array[:] = np.arange(1000) % 251
    driver.record(start, stream)
    driver.copy_to_device(address, pinned.array, stream)
    driver.copy_from_device(back.array, address, stream)
    driver.record(end, stream)
    driver.synchronize(stream)
    assert (back.array == pinned.array).all()
    assert driver.elapsed_ms(start, end) == 0.5
    driver.free(address)
    driver.unpin(back)
    driver.unpin(pinned)
    driver.destroy_event(end)
    driver.destroy_event(start)
    driver.destroy_stream(stream)
    driver.release()
    return facts

driver = PycudaDriver()
for _ in range(3):  # a context is retained anew each time
    owner = Owner("test")
    facts = owner.call(lambda: drive(driver), 30)
    assert owner.end(5)
assert gpu_facts(driver) == facts
assert (facts.name, facts.capability, facts.cuda, facts.zero_copy) == ("Stub Orin", (8, 7), "12.6", True)
try:
    driver.allocate(10)  # no context on this thread
except EngineFault as fault:
    assert "CUDA failed" in str(fault)
else:
    raise AssertionError("memory without a context")
print("driven")
"""


@pytest.fixture(scope="module")
def pycuda() -> Path:
    """The folder that holds a built pycuda."""
    named = os.environ.get("EDGE_TEST_PYCUDA")
    spec = importlib.util.find_spec("pycuda") if named is None else None
    if named is None and (spec is None or spec.origin is None):
        pytest.skip(
            "no pycuda: it is built where a GPU's CUDA toolkit is (pip install pycuda; name it by EDGE_TEST_PYCUDA)"
        )
    return Path(named) if named else Path(str(spec.origin)).parents[1]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def libcuda(pycuda: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libcuda.so.1: our functions, and for the others that pycuda names one that always fails."""
    (module,) = pycuda.glob("pycuda/_driver*.so")
    listed = subprocess.run(["nm", "-D", "--undefined-only", str(module)], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in listed.stdout.splitlines() if line.split()[-1].startswith("cu")}
    code = (HERE / "libcuda" / "cuda.c").read_text()
    rest = "".join(f"int {name}(void) {{ return 999; }}\n" for name in sorted(names) if f"R {name}(" not in code)
    folder = tmp_path_factory.mktemp("libcuda")
    (folder / "cuda.c").write_text(code + rest)
    library = folder / "libcuda.so.1"
    command = [
        "gcc",
        "-std=c11",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libcuda.so.1",
        "-o",
        str(library),
        str(folder / "cuda.c"),
    ]
    subprocess.run(command, check=True)
    return library


def test_the_driver_class_drives_the_real_pycuda(pycuda: Path, libcuda: Path) -> None:
    paths = os.pathsep.join([str(pycuda), str(HERE.parents[2])])
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": paths, "LD_PRELOAD": str(libcuda)}
    done = subprocess.run([sys.executable, "-c", DRIVE], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "driven\n"), done.stderr
    assert done.stderr == "", "pycuda complains at exit when a context was left on a thread"
