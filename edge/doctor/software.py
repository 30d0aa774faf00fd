"""Back ends and libraries, each proven by running it: a list of capabilities says nothing."""

from __future__ import annotations

import re
import sys

from edge.doctor.finding import Finding, gap, info, ok, warn
from edge.doctor.machine import NOT_INSTALLED, Machine

# A one-node ONNX graph (Relu on two numbers), so that a runtime has to run, not only to import.
_TINY = "CAgSADo7CgwKAXgSAXkiBFJlbHUSAWdaEwoBeBIOCgwIARIICgIIAQoCCAJiEwoBeRIOCgwIARIICgIIAQoCCAJCBAoAEA0="

TRY_TENSORRT = """# tensorrt
import tensorrt as trt
assert trt.Builder(trt.Logger(trt.Logger.ERROR)) is not None
print(trt.__version__)
"""
TRY_PYCUDA = """# pycuda
import pycuda.driver as cuda
cuda.init()
context = cuda.Device(0).retain_primary_context()
context.push()
memory = cuda.mem_alloc(1 << 20)
memory.free()
context.pop()
print(cuda.Device(0).name(), "CUDA driver", cuda.get_driver_version())
"""
TRY_ONNXRUNTIME = f"""# onnxruntime
import base64, numpy, onnxruntime
session = onnxruntime.InferenceSession(base64.b64decode("{_TINY}"), providers=["CPUExecutionProvider"])
assert session.run(None, {{"x": numpy.array([[-1, 2]], "float32")}})[0].tolist() == [[0, 2]]
print(onnxruntime.__version__)
"""
TRY_OPENVINO = f"""# openvino
import base64, numpy, openvino
model = openvino.Core().compile_model(openvino.Core().read_model(base64.b64decode("{_TINY}")), "CPU")
assert list(model(numpy.array([[-1, 2]], "float32")).values())[0].tolist() == [[0, 2]]
print(openvino.__version__)
"""
TRY_CRYPTOGRAPHY = """# cryptography
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key
key = Key.generate()
key.public_key().verify(key.sign(b"x"), b"x")
import cryptography
print(cryptography.__version__)
"""
TRY_OPENCV = """# opencv
import cv2
built_with = "GStreamer: YES" in " ".join(cv2.getBuildInformation().split())
print(cv2.__version__, "with" if built_with else "without", "GStreamer")
"""
GST_TRIAL = ("gst-launch-1.0", "-q", "videotestsrc", "num-buffers=2", "!", "videoconvert", "!", "fakesink")
INSTALLED_VENV = "/opt/edge/venv/pyvenv.cfg"
SYSTEM_TENSORRT = ("/usr/bin/python3", "-c", "import tensorrt; print(tensorrt.__version__)")
SYSTEM_PYTHON = ("/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")


def tensorrt(machine: Machine, on_jetson: bool) -> Finding:
    """TensorRT, imported and started; a venv that hides the system's packages is told apart from an absent one."""
    ran = machine.python(TRY_TENSORRT)
    if ran.code == 0:
        return ok("tensorrt", f"TensorRT {ran.last_line} runs")
    if not on_jetson and "No module named" in ran.output:
        return info("tensorrt", "not a Jetson, TensorRT is not installed")
    if "No module named" not in ran.output:
        return gap("tensorrt", f"TensorRT does not start: {ran.last_line}", "sudo apt-get install --reinstall tensorrt")
    return _hidden_tensorrt(machine)


def pycuda(machine: Machine, on_jetson: bool) -> Finding:
    """pycuda, with a context made and memory taken."""
    ran = machine.python(TRY_PYCUDA)
    if ran.code == 0:
        return ok("pycuda", f"pycuda runs on {ran.last_line}")
    if "No module named" in ran.output:
        if not on_jetson:
            return info("pycuda", "not a Jetson, pycuda is not installed")
        build = f"PATH=/usr/local/cuda/bin:$PATH {sys.executable} -m pip install 'pycuda>=2025.1.2'"
        return gap("pycuda", "pycuda is not installed; it is built on the device (about five minutes)", build)
    return gap("pycuda", f"pycuda does not run: {ran.last_line}", "sudo apt-get install --reinstall nvidia-l4t-cuda")


def onnxruntime(machine: Machine) -> Finding:
    """ONNX Runtime, run on a tiny graph."""
    ran = machine.python(TRY_ONNXRUNTIME)
    if ran.code == 0:
        return ok("onnxruntime", f"ONNX Runtime {ran.last_line} runs")
    fix = f"{sys.executable} -m pip install --force-reinstall onnxruntime"
    return gap("onnxruntime", f"ONNX Runtime does not run: {ran.last_line}", fix)


def openvino(machine: Machine) -> Finding:
    """OpenVINO, run on a tiny graph; it is for x86 gateways, so its absence is a fact, not a gap."""
    ran = machine.python(TRY_OPENVINO)
    if ran.code == 0:
        return ok("openvino", f"OpenVINO {ran.last_line} runs")
    if "No module named" in ran.output:
        return info("openvino", "OpenVINO is not installed (wanted on x86 gateways only)")
    return gap("openvino", f"OpenVINO does not run: {ran.last_line}", f"{sys.executable} -m pip install openvino")


def signatures(machine: Machine) -> Finding:
    """Signing and checking one message."""
    ran = machine.python(TRY_CRYPTOGRAPHY)
    if ran.code == 0:
        return ok("signatures", f"cryptography {ran.last_line} signs and checks")
    return gap("signatures", f"no signatures: {ran.last_line}", f"{sys.executable} -m pip install cryptography")


def gstreamer(machine: Machine) -> Finding:
    """gst-launch-1.0, run on a test picture: CSI cameras and gst: addresses go through it."""
    ran = machine.run(GST_TRIAL)
    if ran.code == 0:
        return ok("gstreamer", "gst-launch-1.0 runs a pipeline (CSI, RTSP and gst: cameras)")
    fix = "sudo apt-get install -y gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
    what = "is not installed" if ran.code == NOT_INSTALLED else f"fails: {ran.last_line}"
    return warn("gstreamer", f"gst-launch-1.0 {what}; no CSI, RTSP or gst: cameras", fix)


def opencv(machine: Machine) -> Finding:
    """OpenCV; the one from pip has no GStreamer, which does not matter as pipelines run in gst-launch-1.0."""
    ran = machine.python(TRY_OPENCV)
    if ran.code:
        fix = f"{sys.executable} -m pip install --force-reinstall opencv-python-headless"
        return gap("opencv", f"OpenCV does not import: {ran.last_line}", fix)
    note = "; pipelines run in gst-launch-1.0 instead" if "without" in ran.last_line else ""
    return ok("opencv", f"OpenCV {ran.last_line}{note}")


def _hidden_tensorrt(machine: Machine) -> Finding:
    system = machine.run(SYSTEM_TENSORRT)
    if system.code:
        return gap(
            "tensorrt", "TensorRT's Python module is not installed", "sudo apt-get install -y python3-libnvinfer"
        )
    ours, theirs = "{}.{}".format(*sys.version_info[:2]), machine.run(SYSTEM_PYTHON).last_line
    venv = _venv_of(machine)
    if venv and re.search(r"include-system-site-packages\s*=\s*false", machine.read(venv) or ""):
        fix = f"sed -i 's/include-system-site-packages = false/include-system-site-packages = true/' {venv}"
        return gap("tensorrt", f"this venv hides the system's TensorRT {system.last_line}", fix)
    fix = f"/usr/bin/python3 -m venv --without-pip --system-site-packages {sys.prefix}"
    return gap("tensorrt", f"TensorRT {system.last_line} belongs to Python {theirs}, this is {ours}", fix)


def _venv_of(machine: Machine) -> str | None:
    return next((p for p in (f"{sys.prefix}/pyvenv.cfg", INSTALLED_VENV) if machine.read(p) is not None), None)
