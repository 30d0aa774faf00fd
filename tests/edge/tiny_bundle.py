"""A real bundle around a graph so small that it needs no training: score = largest squared difference to a known scene.

`scene(n)` is what its camera sees: fixed texture and fresh noise for each n; with a defect, or with a "poison" pixel
at which the graph fails inside the engine (an index out of range), as a broken engine would.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.bundle import array_bytes, write_bundle
from edge.engine.onnxruntime import OnnxGraph
from edge.health import baseline_from_images
from edge.images import encode_png
from edge.manifest import DataFingerprint, Golden, Manifest, ModelInfo, Variant
from edge.preprocess import Preprocessing
from edge.threshold import fit_threshold, score_statistics

SIZE = 64
POISON = (255, 0, 255)  # BGR of the corner pixel


def scene(number: int, *, defect: bool = False, poison: bool = False, size: int = SIZE) -> NDArray[np.uint8]:
    """Picture `number`, uint8 [size, size, 3]; equal numbers give equal pictures."""
    rng = np.random.default_rng(number + 1)
    image = _texture(size).astype(np.int16) + rng.integers(-3, 4, (size, size, 3))
    if defect:
        side = size // 6
        image[size // 2 : size // 2 + side, size // 3 : size // 3 + side] = 15
    image[0, 0] = POISON if poison else (128, 128, 128)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_tiny_bundle(path: Path, *, work: int = 0, name: str = "tiny") -> Path:
    """Write the bundle. `work` adds so many 3x3 convolutions over 16 channels, to make the engine slower."""
    graph = tiny_graph(work)
    normal = [scene(n) for n in range(1000, 1060)]
    runner = OnnxGraph(graph, "fp32.onnx", threads=1)
    scores = [runner.infer(frame).score for frame in normal]
    golden_frames = np.stack([scene(2000), scene(2001), scene(2002, defect=True)])
    outputs = [runner.infer(frame) for frame in golden_frames]
    runner.close()
    statistics, reference = baseline_from_images(normal)
    golden = Golden(score="golden/s.npy", masked_error="golden/m.npy", heatmap="golden/h.npy", relative_tolerance=1e-3)
    manifest = Manifest(
        name=name,
        created_at="2026-01-01T00:00:00Z",
        tool_version="0",
        model=ModelInfo(method="tiny", parameters=0, config={}),
        preprocessing=Preprocessing(height=SIZE, width=SIZE, colour="bgr"),
        training_data=DataFingerprint(name="scenes", frames=len(normal), sha256="0" * 64),
        normal_images=statistics.model_copy(update={"reference": "reference.png"}),
        heatmap_shape=(SIZE, SIZE),
        opset=17,
        golden_frames="golden/frames.npy",
        variants={
            "fp32": Variant(
                precision="fp32",
                dialect="plain",
                graph="fp32.onnx",
                threshold=fit_threshold(scores, 1e-4),
                normal_scores=score_statistics(scores),
                golden=golden,
            )
        },
    )
    members = {
        "fp32.onnx": graph,
        "reference.png": encode_png(reference),
        "golden/frames.npy": array_bytes(golden_frames),
        "golden/s.npy": array_bytes(np.array([o.score for o in outputs], np.float32)),
        "golden/m.npy": array_bytes(np.array([o.masked_error for o in outputs], np.float32)),
        "golden/h.npy": array_bytes(np.stack([o.heatmap for o in outputs])),
    }
    return write_bundle(path, manifest, members).path


def tiny_graph(work: int = 0) -> bytes:
    """The scoring graph, serialised: `frame` in; `score`, `masked_error`, `heatmap` out."""
    expected = _texture(SIZE).astype(np.float32)
    expected[0, 0] = 128
    constants = {
        "expected": expected[None],
        "corner_from": np.array([0, 0, 0, 0]),
        "corner_to": np.array([1, 1, 1, 1]),
        "poison": np.array([POISON[0]], np.float32),
        "far": np.array([1_000_000]),
        "zero": np.zeros(1, np.float32),
        "one_shape": np.array([1]),
        "flat": np.array([1, -1]),
        "none": np.array([0.0], np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["frame"], ["pixels"], to=TensorProto.FLOAT),
        node("Slice", ["pixels", "corner_from", "corner_to"], ["corner"]),
        node("Reshape", ["corner", "one_shape"], ["corner1"]),
        node("Equal", ["corner1", "poison"], ["poisoned"]),
        node("Cast", ["poisoned"], ["poisoned_int"], to=TensorProto.INT64),
        node("Mul", ["poisoned_int", "far"], ["index"]),
        node("Gather", ["zero", "index"], ["nothing"]),
        node("Sub", ["pixels", "expected"], ["difference"]),
        node("Mul", ["difference", "difference"], ["squares"]),
        node("ReduceMean", ["squares"], ["error"], axes=[3], keepdims=0),
        node("Unsqueeze", ["error", "one_shape"], ["error4"]),
        node("AveragePool", ["error4"], ["smooth4"], kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
        *_busy_nodes(work, constants),
        node("Squeeze", ["busy4", "one_shape"], ["heatmap"]),
        node("Reshape", ["heatmap", "flat"], ["flat_map"]),
        node("ReduceMax", ["flat_map"], ["peak"], axes=[1], keepdims=0),
        node("Add", ["peak", "nothing"], ["score"]),
        node("ReduceMean", ["flat_map"], ["masked_error"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("masked_error", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, SIZE, SIZE]),
        ],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _busy_nodes(work: int, constants: dict[str, NDArray[np.generic]]) -> list[onnx.NodeProto]:
    """Convolutions whose result is multiplied by nought: time without meaning."""
    if not work:
        return [helper.make_node("Identity", ["smooth4"], ["busy4"])]
    rng = np.random.default_rng(0)
    constants["w0"] = rng.normal(0, 0.1, (16, 1, 3, 3)).astype(np.float32)
    constants["w"] = rng.normal(0, 0.1, (16, 16, 3, 3)).astype(np.float32)
    constants["w1"] = np.zeros((1, 16, 3, 3), np.float32)
    nodes = [helper.make_node("Conv", ["smooth4", "w0"], ["c0"], pads=[1, 1, 1, 1])]
    for i in range(work):
        nodes.append(helper.make_node("Conv", [f"c{i}", "w"], [f"d{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh", [f"d{i}"], [f"c{i + 1}"]))
    nodes.append(helper.make_node("Conv", [f"c{work}", "w1"], ["nought"], pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Add", ["smooth4", "nought"], ["busy4"]))
    return nodes


def _texture(size: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(7)
    coarse = rng.integers(70, 180, (9, 9, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
