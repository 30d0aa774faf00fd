"""A Jetson's Python packages without a Jetson: stand-ins for tensorrt and pycuda that keep the real rules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from calib.cli import command as calibrate
from edge.bundle import Bundle, array_bytes, open_bundle, write_bundle
from edge.cli.base import run
from edge.engine.onnxruntime import OnnxGraph
from edge.golden import golden_frames, run_frames
from edge.manifest import Golden
from edge.tensorrt.cuda import PycudaDriver
from edge.tensorrt.library import Library, library_of
from export.fp16 import half_from_single
from tests.calib.making import make_bundle, scoring_net, write_data

JETSON = Path(__file__).parent / "jetson"
STAND_INS = ("tensorrt", "pycuda", "pycuda.driver", "edge.engine.tensorrt")


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The stand-ins importable here and in child processes; yields `pycuda.driver`, whose STATE counts everything."""
    monkeypatch.syspath_prepend(str(JETSON))
    monkeypatch.setenv("PYTHONPATH", str(JETSON))
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))
    for name in STAND_INS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    driver = importlib.import_module("pycuda.driver")
    driver.reset()
    yield driver
    for name in STAND_INS:
        sys.modules.pop(name, None)
    assert driver.STATE.violations == []


@pytest.fixture
def library(jetson: Any) -> Library:
    """The stand-in for TensorRT."""
    return library_of(importlib.import_module("tensorrt"))


@pytest.fixture
def driver(jetson: Any) -> PycudaDriver:
    """The real driver class over the stand-in for pycuda."""
    return PycudaDriver(jetson)


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with fp32, fp16 and both INT8 variants for TensorRT, calibrated by edge-calibrate."""
    folder = tmp_path_factory.mktemp("tensorrt")
    data = write_data(folder / "data")
    make_bundle(folder / "tile.edge", scoring_net(), data)
    asked = "--target tensorrt --max-flips 0.5 --max-auroc-drop 0.5 --threads 1 --frames 30".split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", str(folder / "cache"))
        assert run(calibrate, [str(folder / "tile.edge"), "--data", str(data), *asked]) == 0
    return with_fp16(open_bundle(folder / "tile.edge"))


def with_fp16(bundle: Bundle) -> Bundle:
    """The bundle with one more variant, and the golden outputs that this graph gives."""
    graph = half_from_single(onnx.load_from_string(bundle.read("graphs/fp32.onnx"))).SerializeToString()
    found = run_frames(OnnxGraph(graph, "fp16", threads=1), golden_frames(bundle))
    golden = Golden(
        score="golden/h-s.npy", masked_error="golden/h-m.npy", heatmap="golden/h-h.npy", relative_tolerance=1e-2
    )
    plain = bundle.manifest.variants["fp32"]
    row = plain.model_copy(update={"precision": "fp16", "graph": "graphs/fp16.onnx", "golden": golden})
    members = bundle.read_all() | {
        "graphs/fp16.onnx": graph,
        golden.score: array_bytes(found.score),
        golden.masked_error: array_bytes(found.masked_error),
        golden.heatmap: array_bytes(found.heatmap),
    }
    variants = bundle.manifest.variants | {"fp16": row}
    return write_bundle(bundle.path, bundle.manifest.model_copy(update={"variants": variants}), members)
