"""Small real bundles, signed or not, and a station made of shell commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edge.bundle import array_bytes, write_bundle
from edge.errors import CheckFailed
from edge.files import sha256_of
from edge.install import staging
from edge.install.layout import Layout
from edge.manifest import (
    DataFingerprint,
    Golden,
    ImageStatistics,
    Manifest,
    ModelInfo,
    ScoreStatistics,
    Threshold,
    Variant,
)
from edge.preprocess import Preprocessing
from export.sign import KeyPair, sign_bundle

SIDE = 16
FRAMES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 1), np.uint8)


def scoring_graph() -> bytes:
    """score = mean brightness, masked_error = its square, heatmap = the picture in 0..1."""
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["unit"]),
        helper.make_node("ReduceMean", ["unit"], ["score"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["score", "score"], ["masked_error"]),
        helper.make_node("Squeeze", ["unit", "last"], ["heatmap"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scoring",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, SIDE, SIDE, 1])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("masked_error", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, SIDE, SIDE]),
        ],
        [
            helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("last", TensorProto.INT64, [1], [3]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def make_bundle(
    path: Path,
    *,
    keys: KeyPair | None = None,
    name: str = "bolt",
    counter: int = 0,
    golden_shift: float = 0.0,
    padding_bytes: int = 0,
) -> Path:
    """Write a real bundle; `golden_shift` makes the golden scores wrong, `padding_bytes` makes the file large."""
    unit = FRAMES.astype(np.float32) / 255
    score = unit.mean(axis=(1, 2, 3)).astype(np.float32)
    members = {
        "graphs/fp32.onnx": scoring_graph(),
        "golden/frames.npy": array_bytes(FRAMES),
        "golden/fp32/score.npy": array_bytes(score + np.float32(golden_shift)),
        "golden/fp32/masked_error.npy": array_bytes(score**2),
        "golden/fp32/heatmap.npy": array_bytes(unit[..., 0]),
    }
    if padding_bytes:
        members["report/padding.bin"] = np.random.default_rng(1).bytes(padding_bytes)
    write_bundle(path, _manifest(name, counter), members)
    if keys is not None:
        sign_bundle(path, keys.private)
    return path


def stage(layout: Layout, bundle: Path) -> str:
    """Put a bundle into staging as a finished copy would; return its SHA-256."""
    layout.prepare()
    data = bundle.read_bytes()
    sha256 = sha256_of(data)
    staging.part_path(layout, sha256).write_bytes(data)
    return sha256


@dataclass
class RecordingStation:
    """A station that remembers what was asked, and fails where it is told to."""

    layout: Layout
    sick: frozenset[str] = frozenset()  # names (release prefixes) that do not become healthy
    bad_golden: frozenset[str] = frozenset()
    history: list[str] = field(default_factory=list)

    def prepare(self, bundle: Path) -> None:
        self.history.append(f"prepare {bundle.parent.name.rsplit('-', 1)[0]}")
        if self._name(bundle.parent.name) in self.bad_golden:
            raise CheckFailed("golden frames differ", "score moved", "export again")

    def restart(self) -> None:
        self.history.append(f"restart {self._name(self.layout.current_id())}")

    def probe(self) -> None:
        if words := self.probe_once():
            raise CheckFailed("the station is not healthy", words, "look")

    def probe_once(self) -> str | None:
        return "no fresh frame" if self._name(self.layout.current_id()) in self.sick else None

    @staticmethod
    def _name(release: str | None) -> str:
        return (release or "nothing").rsplit("-", 1)[0]


def _manifest(name: str, counter: int) -> Manifest:
    golden = Golden(
        score="golden/fp32/score.npy",
        masked_error="golden/fp32/masked_error.npy",
        heatmap="golden/fp32/heatmap.npy",
        relative_tolerance=1e-3,
    )
    fp32 = Variant(
        precision="fp32",
        dialect="plain",
        graph="graphs/fp32.onnx",
        threshold=Threshold(value=0.9, false_alarm_rate=0.01, rate_interval=(0.0, 0.1), frames=100, fit="empirical"),
        normal_scores=ScoreStatistics(
            mean=0.5, std=0.05, quantiles=(0.4, 0.42, 0.44, 0.47, 0.5, 0.53, 0.56, 0.58, 0.6)
        ),
        golden=golden,
    )
    return Manifest(
        name=name,
        created_at="2026-01-01T00:00:00Z",
        tool_version="0.1",
        rollback_counter=counter,
        model=ModelInfo(method="sagan", parameters=1, config={}),
        preprocessing=Preprocessing(height=SIDE, width=SIDE, colour="grey"),
        training_data=DataFingerprint(name="bolts", frames=1, sha256="0" * 64),
        normal_images=ImageStatistics(brightness=(0, 128, 255), contrast=(0, 60, 128), sharpness=(0, 100, 1e6)),
        heatmap_shape=(SIDE, SIDE),
        opset=17,
        golden_frames="golden/frames.npy",
        variants={"fp32": fp32},
    )
