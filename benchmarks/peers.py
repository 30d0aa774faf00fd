"""Other models on the same engine at the same precision: anomalib's GANomaly and EfficientAD-S, random weights.

python -m benchmarks.peers [--size 256] [--rounds 20] [--clock cpu|wall] [--python PATH]

anomalib needs an environment of its own that has torch and onnx: `pip install --no-deps anomalib` there, then --python
THAT/bin/python. The graphs are exported there and timed here, next to SAGAN of width 16. Not part of the checks.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

from benchmarks.graphs import Call, frames, graph, in_turn, openvino_call, speed

# The two model files alone are loaded: the rest of anomalib brings some forty packages that inference does not need.
EXPORT = """
import importlib.util, pathlib, sys, types, torch
size, out = int(sys.argv[1]), sys.argv[2]
root = pathlib.Path(importlib.util.find_spec("anomalib").submodule_search_locations[0])
for name in ("anomalib", "anomalib.data", "anomalib.data.utils", "anomalib.data.utils.image", "torchvision"):
    sys.modules[name] = types.ModuleType(name)

class InferenceBatch:
    def __new__(cls, **parts):
        return tuple(part for part in parts.values() if part is not None)

sys.modules["anomalib.data"].InferenceBatch = InferenceBatch
sys.modules["anomalib.data.utils.image"].pad_nextpow2 = lambda batch: batch  # the size is a power of two
sys.modules["torchvision"].transforms = None  # for training

def load(path):
    spec = importlib.util.spec_from_file_location(path, root / "models/image" / path / "torch_model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module

models = {
    "GANomaly": load("ganomaly").GanomalyModel((size, size), 3, 64, 100, 0, True),
    "EfficientAD-S": load("efficient_ad").EfficientAdModel(384, load("efficient_ad").EfficientAdModelSize.S),
}
for name, model in models.items():
    torch.onnx.export(model.eval(), (torch.rand(1, 3, size, size),), f"{out}/{name}.onnx", dynamo=False,
                      opset_version=17, input_names=["frame"])
"""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has anomalib")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [asked.python, "-W", "ignore", "-c", EXPORT, str(asked.size), folder]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{asked.python} cannot export the peers: pip install anomalib there")
        models = {path.stem: onnx.load(path) for path in sorted(Path(folder).glob("*.onnx"))}
    print(f"| {asked.size} px | openvino fp32 ms | openvino bf16 ms |\n|---|---|---|")
    ours = graph(16, asked.size)
    tables = [_times(ours, models, precision, asked) for precision in ("fp32", "bf16")]
    for name in tables[0]:
        cells = [f"{np.median(t[name]):.1f} ({1 / speed(t, name, 'SAGAN width 16'):.1f}x ours)" for t in tables]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _times(
    ours: onnx.ModelProto, peers: dict[str, onnx.ModelProto], precision: str, asked: argparse.Namespace
) -> dict[str, np.ndarray]:
    calls = {"SAGAN width 16": openvino_call(ours, precision, asked.threads)}
    calls |= {name: _peer_call(model, precision, asked.threads) for name, model in peers.items()}
    return in_turn(calls, frames(asked.size), asked.rounds, asked.clock == "cpu")


def _peer_call(model: onnx.ModelProto, precision: str, threads: int) -> Call:
    """A peer takes floats [1, 3, H, W]; the conversion is timed with it, as it is inside our graph."""
    import openvino as ov

    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    core = ov.Core()
    request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings).create_infer_request()
    return lambda frame: request.infer({0: frame.transpose(2, 0, 1)[None].astype(np.float32) / 255})


if __name__ == "__main__":
    main()
