"""A stand-in for TensorRT 10.3 with flags, calibrators and the tensors API. Its plans hold the ONNX graph, and ONNX
Runtime computes them, so that golden frames come out as they must.

$FAKE_TENSORRT (JSON): `version`; `no_kernel`: layers for which there is no INT8 kernel; `killed_above`: workspace bytes
beyond which the process is killed; `eats`: bytes that a build takes; `steps`, `step_s`: how long it takes; `factor`:
the plan's score comes out multiplied by this; `calibrates`: it asks for frames in spite of a calibration cache.
"""

from __future__ import annotations

import json
import os
import signal
import time
from enum import Enum, IntEnum

import numpy as np
import onnx
import onnxruntime
from pycuda import driver as cuda

SETTINGS = {"version": "10.3.0", **json.loads(os.environ.get("FAKE_TENSORRT", "{}"))}
__version__ = SETTINGS["version"]
MAGIC = b"STAND-IN PLAN "


class DataType(Enum):
    FLOAT, HALF, INT8, INT32, UINT8, INT64, BOOL = range(7)


float32, float16, int8, uint8 = DataType.FLOAT, DataType.HALF, DataType.INT8, DataType.UINT8
LayerType = Enum(
    "LayerType", "CONVOLUTION DECONVOLUTION MATRIX_MULTIPLY CONSTANT SHAPE QUANTIZE DEQUANTIZE ELEMENTWISE"
)
_KINDS = {
    "Conv": LayerType.CONVOLUTION,
    "ConvTranspose": LayerType.DECONVOLUTION,
    "QuantizeLinear": LayerType.QUANTIZE,
    "DequantizeLinear": LayerType.DEQUANTIZE,
    "MatMul": LayerType.MATRIX_MULTIPLY,
}


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag(IntEnum):
    FP16, INT8, OBEY_PRECISION_CONSTRAINTS = 0, 1, 2


class MemoryPoolType(Enum):
    WORKSPACE = 0


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self):
        self.ready = True


class IProgressMonitor:
    def __init__(self):
        self.ready = True


class IInt8EntropyCalibrator2:
    def __init__(self):
        self.ready = True


class IInt8MinMaxCalibrator(IInt8EntropyCalibrator2):
    pass


class ITensor:
    def __init__(self, name, dtype=DataType.FLOAT):
        self.name, self.dtype = name, dtype


class ILayer:
    def __init__(self, node, dtypes):
        self.node, self.dtypes, self.precision = node, dtypes, None
        self.name, self.type = node.name, _KINDS.get(node.op_type, LayerType.ELEMENTWISE)
        self.num_inputs, self.num_outputs = len(node.input), len(node.output)

    def get_input(self, i):
        return ITensor(self.node.input[i]) if self.node.input[i] else None

    def get_output(self, i):
        return ITensor(self.node.output[i], self.dtypes.get(self.node.output[i], DataType.INT64))

    def set_input(self, i, tensor):
        self.node.input[i] = tensor.name


class INetworkDefinition:
    def __init__(self, flags):
        self.flags, self.model, self.layers = flags, None, []

    @property
    def num_layers(self):
        return len(self.layers)

    def get_layer(self, i):
        return self.layers[i]


class OnnxParser:
    num_errors = 0

    def __init__(self, network, logger):
        assert logger.ready
        self.network = network

    def parse(self, data):
        model = onnx.load_from_string(data)
        floats = {1: DataType.FLOAT, 10: DataType.HALF}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        dtypes = {v.name: floats.get(v.type.tensor_type.elem_type, DataType.INT64) for v in values}
        self.network.model = model
        self.network.layers = [ILayer(node, dtypes) for node in model.graph.node]
        return True


class ITimingCache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return self.data + b"timed;"


class IBuilderConfig:
    def __init__(self):
        self.flags, self.builder_optimization_level, self.progress_monitor = set(), 3, None
        self.int8_calibrator, self.cache, self.workspace = None, None, 1 << 40

    def set_memory_pool_limit(self, pool, size):
        self.workspace = size

    def set_flag(self, flag):
        self.flags.add(flag)

    def create_timing_cache(self, data):
        return ITimingCache(data)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class Builder:
    def __init__(self, logger):
        assert logger.ready
        self.logger = logger

    def create_network(self, flags=0):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def build_serialized_network(self, network, config):
        if config.workspace > SETTINGS.get("killed_above", 1 << 50):
            os.kill(os.getpid(), signal.SIGKILL)
        eaten = np.ones(SETTINGS.get("eats", 0), np.uint8)
        if not self._steps(config.progress_monitor):
            return None
        rounding = {n.output[0] for n in network.model.graph.node if n.op_type == "DequantizeLinear"}
        for layer in network.layers:
            in_int8 = rounding & set(layer.node.input) or (
                config.int8_calibrator is not None and layer.precision is None
            )
            if layer.name in SETTINGS.get("no_kernel", ()) and in_int8:
                text = f"10: Could not find any implementation for node {layer.name}_w + {layer.name}."
                self.logger.log(ILogger.ERROR, text)
                return None
        if config.int8_calibrator is not None and not self._calibrated(config):
            return None
        head = {"version": __version__, "gpu": cuda.STATE.name, "eaten": int(eaten[:1].sum())}
        head["pinned"] = sum(layer.precision is not None for layer in network.layers)
        head["flags"] = sorted(flag.name for flag in config.flags)
        head["level"], head["workspace"] = config.builder_optimization_level, config.workspace
        head["strong"] = bool(network.flags & 2)
        return MAGIC + json.dumps(head).encode() + b"\n" + network.model.SerializeToString()

    def _steps(self, monitor):
        steps = SETTINGS.get("steps", 3)
        monitor.phase_start("Building engine", None, steps)
        for step in range(steps):
            time.sleep(SETTINGS.get("step_s", 0))
            if not monitor.step_complete("Building engine", step):
                return False
        monitor.phase_finish("Building engine")
        return True

    def _calibrated(self, config):
        head, _, rest = bytes(config.int8_calibrator.read_calibration_cache()).partition(b"\n")
        if head != b"TRT-100300-EntropyCalibration2" or not rest or SETTINGS.get("calibrates"):
            config.int8_calibrator.get_batch(["frame"])
            self.logger.log(ILogger.ERROR, "Calibration failure occurred with no scaling factors detected")
            return False
        return True


class _Destroyed:
    """TensorRT's objects need their CUDA context until they are gone."""

    def __init__(self, what):
        if not cuda.has_context():
            raise RuntimeError(f"{what} made without a CUDA context")
        self.what = what
        cuda.STATE.alive[id(self)] = what

    def __del__(self):
        if cuda.STATE.alive.pop(id(self), None) is not None and not cuda.has_context():
            cuda.violated(f"{self.what} destroyed without a current context")


class Runtime(_Destroyed):
    def __init__(self, logger):
        super().__init__("runtime")
        assert logger.ready
        self.logger = logger

    def deserialize_cuda_engine(self, plan):
        head, _, graph = bytes(plan).partition(b"\n")
        found = json.loads(head.removeprefix(MAGIC)) if head.startswith(MAGIC) else {"version": "nothing known"}
        if found["version"] != __version__:
            text = f"6: The engine plan file is not compatible with this version of TensorRT, expecting {__version__}"
            self.logger.log(ILogger.ERROR, f"{text} got {found['version']}")
            return None
        return ICudaEngine(self, onnx.load_from_string(graph))


class ICudaEngine(_Destroyed):
    def __init__(self, runtime, model):
        super().__init__("engine")
        self.runtime, self.model = runtime, model
        self.values = {v.name: v.type.tensor_type for v in (*model.graph.input, *model.graph.output)}

    @property
    def num_io_tensors(self):
        return len(self.values)

    def get_tensor_name(self, i):
        return list(self.values)[i]

    def get_tensor_dtype(self, name):
        return {1: DataType.FLOAT, 2: DataType.UINT8, 10: DataType.HALF}[self.values[name].elem_type]

    def get_tensor_shape(self, name):
        return tuple(d.dim_value for d in self.values[name].shape.dim)

    def create_execution_context(self):
        return IExecutionContext(self)


class IExecutionContext(_Destroyed):
    def __init__(self, engine):
        super().__init__("execution context")
        self.engine, self.addresses = engine, {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(engine.model.SerializeToString(), options)

    def set_tensor_address(self, name, address):
        if address % 256 or name not in self.engine.values:
            return False
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        try:
            cuda.called("cuLaunchKernel")
        except cuda.Error as error:  # TensorRT tells its logger and returns False
            self.engine.runtime.logger.log(ILogger.ERROR, str(error))
            return False
        if stream not in cuda.STATE.streams:
            self.engine.runtime.logger.log(ILogger.ERROR, "cudaErrorInvalidResourceHandle")
            return False
        cuda.STATE.streams[stream].append(self._compute)
        return True

    def _compute(self):
        shape = self.engine.get_tensor_shape("frame")
        size = int(np.prod(shape))
        frame = cuda.bytes_at(self.addresses["frame"], size, "kernel")[:size].reshape(shape)
        names = [name for name in self.engine.values if name != "frame"]
        for name, value in zip(names, self.session.run(names, {"frame": frame}), strict=True):
            value = value * SETTINGS.get("factor", 1.0) if name == "score" else value
            data = np.ascontiguousarray(value, np.float32).view(np.uint8).reshape(-1)
            cuda.bytes_at(self.addresses[name], data.nbytes, "kernel")[: data.nbytes] = data
