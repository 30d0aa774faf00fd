"""Small scoring graphs, images and bundles for the calibration tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calib.evaluate import run_graph
from calib.graph import Graph, named_model
from edge.bundle import Bundle, array_bytes, write_bundle
from edge.dataset import fingerprint, list_dataset, split_validation
from edge.images import read_image, write_png
from edge.manifest import Golden, ImageStatistics, Manifest, ModelInfo, Variant
from edge.preprocess import Preprocessing, preprocess
from edge.threshold import fit_threshold, score_statistics

SIZE = 32
OUTPUTS = ("score", "masked_error", "heatmap")
SPEC = Preprocessing(height=SIZE, width=SIZE, colour="grey")


class Net:
    """Writes a scoring graph node by node; `add` returns the name of the node's output."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, inputs: list[str], name: str = "", output: str = "", **attributes: object) -> str:
        name = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output or f"{name}_out"], name=name, **attributes))
        return output or f"{name}_out"

    def conv(self, x: str, name: str, shape: tuple[int, int, int, int], **attributes: object) -> str:
        scale = np.sqrt(2.0 / np.prod(shape[1:]))
        weight = self.constant((self.random.normal(size=shape) * scale).astype(np.float32))
        bias = self.constant((0.1 * self.random.normal(size=shape[0])).astype(np.float32))
        pad = shape[2] // 2
        attributes = {"pads": [pad] * 4, "kernel_shape": list(shape[2:]), **attributes}
        return self.add("Conv", [x, weight, bias], name, **attributes)

    def model(self, size: int = SIZE, channels: int = 1) -> onnx.ModelProto:
        frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, size, size, channels])
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in OUTPUTS[:2]]
        outputs.append(helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, size, size]))
        graph = helper.make_graph(self.nodes, "scoring", [frame], outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def gradient_product(inputs: int, outputs: int) -> Graph:
    """Two large matrix products: "plain" of a map, and "alpha" of what a comparison made of it, as Grad-CAM does."""
    net = Net()
    x = net.add("Transpose", [net.add("Cast", ["frame"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    a = net.conv(net.add("Mul", [x, net.constant(np.float32(0.01))]), "a", (16, 1, 3, 3), strides=[2, 2])
    one, slope = net.constant(np.float32(1)), net.constant(np.float32(0.2))
    gradient = net.add("Where", [net.add("Greater", [a, net.constant(np.float32(0))]), one, slope])
    ends = [net.constant(np.array([v])) for v in (0, inputs, 1)]
    weights = [net.random.normal(size=(inputs, outputs)).astype(np.float32) for _ in range(2)]
    for source, name, output, weight in zip((a, gradient), ("plain", "alpha"), OUTPUTS, weights, strict=False):
        values = net.add("Slice", [net.add("Flatten", [source]), *ends])
        product = net.add("MatMul", [values, net.constant(weight)], name)
        net.add("ReduceMean", [net.add("Abs", [product])], axes=[1], keepdims=0, output=output)
    large = net.add("Resize", [a, "", net.constant(np.float32([1, 1, 2, 2]))], mode="nearest")
    net.add("ReduceMean", [large], axes=[1], keepdims=0, output="heatmap")
    return Graph(net.model())


def scoring_net(seed: int = 0) -> onnx.ModelProto:
    """An attention autoencoder in miniature: depthwise, concat, max-pool, resize, gate, head, score arithmetic."""
    net = Net(seed)
    x = net.add("Transpose", [net.add("Cast", ["frame"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    x = net.add("Sub", [net.add("Mul", [x, net.constant(np.float32(2 / 255))]), net.constant(np.float32(1))])
    a = net.add("Relu", [net.conv(x, "first", (16, 1, 3, 3))])
    b = net.add("Relu", [net.conv(net.add("Concat", [a, a], axis=1), "depthwise", (32, 1, 3, 3), group=32)])
    b = net.add("Relu", [net.conv(b, "pointwise", (16, 32, 1, 1))])
    gate = net.add("ReduceMean", [b], axes=[1], keepdims=1)
    b = net.add("Mul", [b, net.add("Sigmoid", [net.conv(gate, "gate", (1, 1, 7, 7))])])
    c = net.add("MaxPool", [b], kernel_shape=[2, 2], strides=[2, 2])
    c = net.add("LeakyRelu", [net.conv(c, "deep", (16, 16, 3, 3))], alpha=0.2)
    c = net.add("Relu", [net.conv(c, "deeper", (16, 16, 3, 3))])
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    up = net.add("Resize", [c, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")
    d = net.add("Relu", [net.conv(net.add("Concat", [b, up], axis=1), "merge", (16, 32, 3, 3))])
    x_hat = net.add("Tanh", [net.conv(d, "head", (1, 16, 1, 1))])
    error = net.add("Pow", [net.add("Sub", [x, x_hat]), net.constant(np.float32(2))])
    mean = net.add("ReduceMean", [error], axes=[1, 2, 3], keepdims=0, output="score")
    net.add("Mul", [mean, net.constant(np.float32([2.0]))], output="masked_error")
    net.add("Squeeze", [error, net.constant(np.array([1], np.int64))], output="heatmap")
    return net.model()


def write_images(folder: Path, count: int, seed: int = 0, defect: bool = False) -> None:
    """`count` smooth grey pictures 40x48; `defect` puts a bright square into each."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        rows, columns = np.mgrid[0:40, 0:48] / 48.0
        image = 110 + 40 * np.sin(6 * rows * random.uniform(0.8, 1.2) + random.uniform(0, 0.5)) + 25 * columns
        image = image + random.normal(0, 4, image.shape)
        if defect:
            top, left = random.integers(4, 24, 2)
            image[top : top + 12, left : left + 12] = 250
        write_png(folder / f"{index:04d}.png", np.clip(image, 0, 255).astype(np.uint8))


def write_data(root: Path, train: int = 60, good: int = 15, bad: int = 15) -> Path:
    """A data folder in the MVTec layout."""
    write_images(root / "train" / "good", train, 1)
    write_images(root / "test" / "good", good, 2)
    write_images(root / "test" / "scratch", bad, 3, defect=True)
    return root


def make_bundle(
    path: Path, graph: onnx.ModelProto, data: Path, spec: Preprocessing = SPEC, rate: float = 0.02
) -> Bundle:
    """A bundle with an fp32 variant only, as edge-export leaves it."""
    normal = list_dataset(data).train_normal
    frames = [preprocess(read_image(p), spec) for p in split_validation(normal)[1]]
    outputs = run_graph(named_model(graph.SerializeToString(), "graph"), "fp32", frames, threads=1)
    low, middle, high = np.quantile([f.mean() for f in frames], (0.005, 0.5, 0.995))
    brightness = (float(low), float(middle), float(high))
    golden = {
        "golden/fp32-score.npy": array_bytes(outputs.score[:3]),
        "golden/fp32-masked_error.npy": array_bytes(outputs.masked_error[:3]),
        "golden/fp32-heatmap.npy": array_bytes(outputs.heatmap[:3]),
    }
    names = dict(zip(("score", "masked_error", "heatmap"), golden, strict=True))
    variant = Variant(
        precision="fp32",
        dialect="plain",
        graph="graphs/fp32.onnx",
        threshold=fit_threshold(outputs.score, rate),
        normal_scores=score_statistics(outputs.score),
        golden=Golden(**names, relative_tolerance=1e-3),
    )
    manifest = Manifest(
        name="tile",
        created_at="2026-01-01T00:00:00Z",
        tool_version="0",
        model=ModelInfo(method="toy", parameters=1, config={}),
        preprocessing=spec,
        training_data=fingerprint(data, normal),
        normal_images=ImageStatistics(brightness=brightness, contrast=(1, 2, 3), sharpness=(1, 2, 3)),
        heatmap_shape=tuple(outputs.heatmap.shape[1:]),
        opset=17,
        golden_frames="golden/frames.npy",
        variants={"fp32": variant},
    )
    members = {
        "graphs/fp32.onnx": graph.SerializeToString(),
        "golden/frames.npy": array_bytes(np.stack(frames[:3])),
        **golden,
    }
    return write_bundle(path, manifest, members)
