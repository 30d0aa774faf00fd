"""Where the time of the fastest engine goes: OpenVINO's own counters, by kind of layer.

python -m benchmarks.layers [--width 32] [--size 128] [--threads 1] [--rounds 60] [--each]
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from benchmarks.graphs import HINTS, frames, graph, int8_graph
from edge.bench import Neighbours

KINDS = {  # (type, part of the kernel's name) -> what a reader calls it; the first that fits
    ("GroupConvolution", "I8"): "depth-wise convolutions, INT8",
    ("Convolution", "1x1_I8"): "1x1 convolutions, INT8",
    ("Convolution", "I8"): "the discriminator's convolutions, INT8",
    ("Convolution", "bf16"): "first, last and attention convolutions, blur, feature (bf16)",
    ("GroupConvolution", "bf16"): "first, last and attention convolutions, blur, feature (bf16)",
    ("Concat", ""): "concatenations (skips, duplicated channels)",
    ("Interpolate", ""): "bilinear resizes",
    ("Reduce", ""): "means and peaks (CBAM, score)",
    ("MaxPool", ""): "max-pools",
    ("FullyConnected", ""): "matrix products (CBAM, Grad-CAM, mask)",
    ("MatMul", ""): "matrix products (CBAM, Grad-CAM, mask)",
    ("Subgraph", ""): "element by element (gates, leaky ReLU, rounding, score)",
}
OTHER = "changes of layout and precision"


def main() -> None:
    """Print milliseconds by kind of layer, and the number of layers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers")
    for name, default in (("width", 32), ("size", 128), ("threads", 1), ("rounds", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--each", action="store_true", help="every layer")
    asked = parser.parse_args()
    with Neighbours() as others:
        layers = measured(asked.width, asked.size, asked.threads, asked.rounds)
    by_kind: dict[str, list[float]] = defaultdict(list)
    for _, kind, kernel, spent in layers:
        by_kind[kind_of(kind, kernel)].append(spent)
    print(f"| {asked.threads} threads | layers | ms |\n|---|---|---|")
    for name, spent in sorted(by_kind.items(), key=lambda row: -sum(row[1])):
        print(f"| {name} | {len(spent)} | {sum(spent) / 1e3:.2f} |")
    print(f"| all | {len(layers)} | {sum(row[3] for row in layers) / 1e3:.2f} |")
    if asked.each:
        print("\n".join(f"{spent:8.0f} us {kind} {kernel} {name}" for name, kind, kernel, spent in layers))
    print(f"\nother processes used {others.share:.0%} of the CPUs meanwhile")


def measured(width: int, size: int, threads: int, rounds: int) -> list[tuple[str, str, str, float]]:
    """(name, type, kernel, median microseconds) of every layer of the INT8 graph that takes any time."""
    import openvino as ov

    model = int8_graph(graph(width, size), size).SerializeToString()
    settings = {"INFERENCE_PRECISION_HINT": HINTS["int8-bf16"], "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": True}
    core = ov.Core()
    settings |= {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    spent: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        request.infer({0: frames(size)[number % 4][None]})
        for layer in request.profiling_info:
            key = (layer.node_name, layer.node_type, layer.exec_type)
            spent[key].append(layer.real_time.total_seconds() * 1e6)
    return [(*key, float(np.median(times))) for key, times in spent.items() if np.median(times) > 0]


def kind_of(kind: str, kernel: str) -> str:
    """What a reader calls it."""
    return next((told for (name, part), told in KINDS.items() if kind.startswith(name) and part in kernel), OTHER)


if __name__ == "__main__":
    main()
