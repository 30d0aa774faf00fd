"""How fast the scoring graph is, by engine and precision, against eager PyTorch with autograd Grad-CAM.

python -m benchmarks.speed [figures] [passes] [roofline] [cost] [--threads 1] [--rounds 30] [--clock cpu|wall]
    [--size 128]

Random weights: time does not depend on them. `--clock wall` is what a station sees, on a quiet machine; `cpu` counts
this process's CPU time on one thread, for a machine that has other work. Compare within one table only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.graphs import (
    HINTS,
    Call,
    eager_call,
    frames,
    graph,
    in_turn,
    int8_graph,
    onnxruntime_call,
    openvino_batch_call,
    openvino_call,
    speed,
)
from edge.bench import Neighbours
from export.rewrites.table import REWRITES

NETS = ((128, 16), (128, 32), (128, 64), (256, 16), (256, 32))  # image side, width
INT8 = ("onnxruntime int8", "openvino int8", "openvino int8-bf16")
BYTES = {"fp32": 4, "bf16": 2, "int8-bf16": 1}  # of a value
SIZES = (64, 128, 256, 512)
BATCHES = (1, 2, 4, 8, 16)
IMAGE = Path(__file__).parents[1] / "docs" / "images" / "cost.png"


def figures(asked: argparse.Namespace) -> None:
    """Eager PyTorch, every engine and precision, and the graph without its Grad-CAM mask."""
    print("| net | " + " | ".join(["eager ms", *_engines(32, 64, 1, dry=True)]) + " |")
    print("|" + "---|" * 12)
    for size, width in [net for net in NETS if asked.size in (None, net[0])]:
        calls = {"eager": eager_call(width, size, asked.threads)} | _engines(width, size, asked.threads)
        times = in_turn(calls, frames(size), asked.rounds, asked.clock == "cpu")
        cells = [f"{np.median(times[n]):.1f} ({speed(times, n, 'eager'):.1f}x)" for n in calls if n != "eager"]
        print(f"| {size} px, width {width} | {np.median(times['eager']):.1f} | " + " | ".join(cells) + " |", flush=True)
        best = min(("onnxruntime fp32", "openvino fp32"), key=lambda n: np.median(times[n]))
        int8 = min(INT8, key=lambda n: np.median(times[n]))
        print(
            f"  int8 / true fp32, best engines: {1 / speed(times, int8, best):.2f}; int8 / bf16: "
            f"{1 / speed(times, int8, 'openvino bf16'):.2f}; mask adds "
            f"{100 * (speed(times, 'onnxruntime, no mask', 'onnxruntime fp32') - 1):.1f} % (onnxruntime fp32), "
            f"{100 * (speed(times, 'openvino bf16, no mask', 'openvino bf16') - 1):.1f} % (openvino bf16), "
            f"{100 * (speed(times, 'openvino int8-bf16, no mask', 'openvino int8-bf16') - 1):.1f} % (int8-bf16)",
            flush=True,
        )


def _engines(width: int, size: int, threads: int, dry: bool = False) -> dict[str, Call]:
    names = ["onnxruntime fp32", "openvino fp32", "openvino bf16", *INT8]
    names += ["onnxruntime, no mask", "openvino bf16, no mask", "openvino int8-bf16, no mask"]
    if dry:
        return dict.fromkeys(names, lambda frame: None)
    single = graph(width, size)
    int8, plain = int8_graph(single, size), graph(width, size, cam=False)
    made = [
        onnxruntime_call(single, threads),
        openvino_call(single, "fp32", threads),
        openvino_call(single, "bf16", threads),
        onnxruntime_call(int8, threads),
        openvino_call(int8, "int8", threads),
        openvino_call(int8, "int8-bf16", threads),
        onnxruntime_call(plain, threads),
        openvino_call(plain, "bf16", threads),
        openvino_call(int8_graph(plain, size), "int8-bf16", threads),
    ]
    return dict(zip(names, made, strict=True))


def passes(asked: argparse.Namespace) -> None:
    """Time with each rewrite alone, and with all, relative to the graph without any."""
    chosen: dict[str, Any] = {"none": {}} | {name: {name: REWRITES[name]} for name in REWRITES} | {"all": REWRITES}
    graphs = {name: graph(32, 128, rewrites=rewrites) for name, rewrites in chosen.items()}
    print("| rewrite | onnxruntime fp32 | openvino fp32 | openvino bf16 | openvino int8-bf16 |\n|---|---|---|---|---|")
    tables = []
    for precision in ("ort", "fp32", "bf16", "int8-bf16"):
        calls = {
            name: onnxruntime_call(g, asked.threads)
            if precision == "ort"
            else openvino_call(int8_graph(g, 128) if "int8" in precision else g, precision, asked.threads)
            for name, g in graphs.items()
        }
        tables.append(in_turn(calls, frames(128), asked.rounds, asked.clock == "cpu"))
    for name in graphs:
        cells = [f"{np.median(t[name]):.2f} ms, {100 * (1 / speed(t, name, 'none') - 1):+.1f} %" for t in tables]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def roofline(asked: argparse.Namespace) -> None:
    """Multiply-accumulates and bytes against the machine's measured peaks: which fraction of the bound is reached."""
    single = graph(32, 128)
    macs, moved = work(single)
    peaks = {precision: peak_macs(precision, asked.threads, asked.clock == "cpu") for precision in BYTES}
    bandwidth = peak_bytes()
    print(f"{macs / 1e6:.0f} M multiply-accumulates, {moved / 1e6:.0f} MB read and written in fp32")
    found = ", ".join(f"{peak / 1e9:.0f} G/s {precision}" for precision, peak in peaks.items())
    print(f"peaks: {found}, {bandwidth / 1e9:.1f} GB/s")
    calls = {
        "onnxruntime fp32": onnxruntime_call(single, asked.threads),
        "openvino fp32": openvino_call(single, "fp32", asked.threads),
        "openvino bf16": openvino_call(single, "bf16", asked.threads),
        "openvino int8-bf16": openvino_call(int8_graph(single, 128), "int8-bf16", asked.threads),
    }
    times = in_turn(calls, frames(128), asked.rounds, asked.clock == "cpu")
    for name, taken in times.items():
        precision = name.split()[1]
        least = max(macs / peaks[precision], moved * BYTES[precision] / 4 / bandwidth) * 1e3
        print(f"{name}: {np.median(taken):.2f} ms, bound {least:.2f} ms, {least / np.median(taken):.0%} of it reached")


def work(model: onnx.ModelProto) -> tuple[int, int]:
    """(multiply-accumulates of the weighted layers, bytes of all tensors read and written once per node in fp32)."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {t.name: list(t.dims) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type != "Constant"]
    touched = [name for n in nodes for name in (*n.input, *n.output) if name in shapes]
    return sum(_macs(n, shapes) for n in nodes), sum(4 * int(np.prod(shapes[name])) for name in touched)


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """A convolution does one column of its weight per output value, a transposed one per input value."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    values = shapes[node.input[0] if node.op_type == "ConvTranspose" else node.output[0]]
    inner = shapes[node.input[1]][1:] if "Conv" in node.op_type else shapes[node.input[0]][-1:]
    return int(np.prod(values)) * int(np.prod(inner))


def peak_macs(precision: str, threads: int, cpu_time: bool) -> float:
    """Multiply-accumulates per second of the best of three square matrix products, by torch and by OpenVINO."""
    import openvino as ov

    torch.set_num_threads(threads)
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
    found = []
    for side in (256, 512, 1024):
        product = _product(side, precision == "int8-bf16")
        request = ov.Core().compile_model(product, "CPU", settings).create_infer_request()
        value = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
        calls: dict[str, Any] = {"openvino": lambda _, r=request, v=value: r.infer({0: v})}
        if precision != "int8-bf16":
            a = torch.from_numpy(value).to(torch.float32 if precision == "fp32" else torch.bfloat16)
            calls["torch"] = lambda _, a=a: a @ a
        times = in_turn(calls, frames(8), 30, cpu_time)
        found += [side**3 / (float(t.min()) * 1e-3) for t in times.values()]
    return max(found)


def _product(side: int, int8: bool) -> Any:
    """x [side, side] times a constant, in OpenVINO, whose weights are laid out beforehand, as in a network."""
    import openvino as ov
    from openvino import opset13

    x = opset13.parameter([side, side], np.float32)
    weight = np.random.default_rng(1).standard_normal((side, side)).astype(np.float32)
    if not int8:
        return ov.Model([opset13.matmul(x, opset13.constant(weight), False, False)], [x])
    low, high = np.float32(-4), np.float32(4)
    rounded = opset13.fake_quantize(x, low, high, low, high, 256)
    steps = opset13.fake_quantize(opset13.constant(weight), low, high, low, high, 255)
    return ov.Model([opset13.matmul(rounded, steps, False, False)], [x])


def peak_bytes() -> float:
    """Bytes per second read and written by copying 64 MB, the best of several."""
    source, target = np.ones(64_000_000, np.uint8), np.zeros(64_000_000, np.uint8)
    times = in_turn({"copy": lambda _: np.copyto(target, source)}, frames(8), 20, True)["copy"]
    return 2 * source.nbytes / (float(times.min()) * 1e-3)


def cost(asked: argparse.Namespace) -> None:
    """Time against image size and batch, SAGAN width 16, as a table and a plot."""
    cpu = asked.clock == "cpu"
    by_size, by_batch = {}, {}
    for size in SIZES:
        calls = {p: openvino_batch_call(graph(16, size), p, asked.threads) for p in ("fp32", "bf16")}
        times = in_turn(calls, frames(size), max(5, asked.rounds // 3), cpu)
        by_size[size] = {p: float(np.median(t)) for p, t in times.items()}
    for batch in BATCHES:
        calls = {p: openvino_batch_call(graph(16, 128, batch=batch), p, asked.threads) for p in ("fp32", "bf16")}
        times = in_turn(calls, frames(128, 4, batch), max(5, asked.rounds // 3), cpu)
        by_batch[batch] = {p: float(np.median(t)) / batch for p, t in times.items()}
    print("| size | fp32 ms | bf16 ms |\n|---|---|---|")
    print("\n".join(f"| {n} | {row['fp32']:.2f} | {row['bf16']:.2f} |" for n, row in by_size.items()))
    print("| batch at 128 px | fp32 ms per frame | bf16 ms per frame |\n|---|---|---|")
    print("\n".join(f"| {n} | {row['fp32']:.2f} | {row['bf16']:.2f} |" for n, row in by_batch.items()))
    _plot(by_size, by_batch)


def _plot(by_size: dict[int, dict[str, float]], by_batch: dict[int, dict[str, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for axis, rows, label in zip(axes, (by_size, by_batch), ("image side, pixels", "batch at 128 pixels"), strict=True):
        for precision in ("fp32", "bf16"):
            axis.plot(list(rows), [row[precision] for row in rows.values()], "o-", label=f"OpenVINO {precision}")
        axis.set(xscale="log", xlabel=label, ylabel="ms per frame", xticks=list(rows))
        axis.set_xticks(list(rows), [str(n) for n in rows], minor=False)
        axis.grid(alpha=0.3)
        axis.minorticks_off()
    axes[0].set(yscale="log")
    axes[1].set(ylim=(0, None))
    axes[0].legend()
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGE, dpi=120)
    print(f"plot: {IMAGE}")


PARTS = {"figures": figures, "passes": passes, "roofline": roofline, "cost": cost}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", type=int, help="figures: this image side alone")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    asked = parser.parse_args()
    for name in asked.parts or PARTS:
        print(f"\n### {name} ({asked.threads} threads, {asked.clock} time)\n", flush=True)
        with Neighbours() as others:
            PARTS[name](asked)
        print(f"\nother processes used {others.share:.0%} of the CPUs meanwhile", flush=True)


if __name__ == "__main__":
    main()
