"""One conformance suite for every engine that runs on this machine."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import open_bundle, write_bundle
from edge.engine.base import Engine
from edge.engine.open import open_engine
from edge.errors import CheckFailed, EngineFault, InputError
from edge.golden import check_golden, expected_outputs
from tests.edge.tiny_bundle import SIZE, make_tiny_bundle, scene

BACKENDS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny.edge", work=2)


@pytest.fixture(params=BACKENDS)
def engine(request, tiny):
    pytest.importorskip(request.param, reason=f"no {request.param}: pip install {request.param}")
    opened = open_engine(open_bundle(tiny), "fp32", request.param, threads=1)
    yield opened
    opened.close()


def test_golden_frames_come_out_as_the_bundle_says(engine: Engine, tiny: Path) -> None:
    result = check_golden(engine, open_bundle(tiny))
    assert result.frames == 3
    assert result.worst[1] < 1e-4


def test_the_same_frame_gives_the_same_scores(engine: Engine) -> None:
    first, second = engine.infer(scene(1)), engine.infer(scene(1))
    assert (first.score, first.masked_error) == (second.score, second.masked_error)
    np.testing.assert_array_equal(first.heatmap, second.heatmap)


def test_a_heatmap_belongs_to_the_caller(engine: Engine) -> None:
    first = engine.infer(scene(1))
    kept = first.heatmap.copy()
    first.heatmap[:] = -1
    again = engine.infer(scene(1))
    np.testing.assert_array_equal(again.heatmap, kept)
    engine.infer(scene(2, defect=True))
    np.testing.assert_array_equal(again.heatmap, kept)


def test_a_defect_scores_higher(engine: Engine) -> None:
    assert engine.infer(scene(5, defect=True)).score > 2 * engine.infer(scene(5)).score


@pytest.mark.parametrize(
    "frame", [np.zeros((SIZE, SIZE, 1), np.uint8), np.zeros((SIZE, SIZE, 3), np.float32), np.zeros((8, 8, 3), np.uint8)]
)
def test_a_frame_of_another_shape_or_type_is_refused(engine: Engine, frame) -> None:
    with pytest.raises(InputError, match=r"expected uint8 \[64, 64, 3\]"):
        engine.infer(frame)


def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.variant == "fp32"
    assert "fp32" in engine.description and "1 threads" in engine.description


def test_used_after_close_is_a_fault_and_close_is_idempotent(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineFault, match="after close"):
        engine.infer(scene(1))


def test_an_idle_engine_burns_no_cpu(engine: Engine) -> None:
    for n in range(5):
        engine.infer(scene(n))
    start = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - start < 0.02


def test_a_failure_inside_the_engine_is_a_fault(tiny: Path) -> None:
    engine = open_engine(open_bundle(tiny), "fp32", "onnxruntime", threads=1)
    with pytest.raises(EngineFault, match="onnxruntime failed"):
        engine.infer(scene(1, poison=True))
    engine.close()


def test_an_output_that_is_not_finite_is_a_fault() -> None:
    from edge.engine.checks import checked_scores

    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 1, 1] = np.inf
    with pytest.raises(EngineFault, match="not finite"):
        checked_scores(np.ones(1, np.float32), np.ones(1, np.float32), heat)
    with pytest.raises(EngineFault, match="not finite"):
        checked_scores(np.full(1, np.nan, np.float32), np.ones(1, np.float32), np.zeros((1, 4, 4), np.float32))


def test_golden_frames_that_differ_name_output_and_frame(tiny: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny)
    members = bundle.read_all()
    expected = expected_outputs(bundle, "fp32").masked_error.copy()
    expected[2] *= 1.01
    from edge.bundle import array_bytes

    members[bundle.manifest.variants["fp32"].golden.masked_error] = array_bytes(expected)
    altered = write_bundle(tmp_path / "altered.edge", bundle.manifest, members)
    engine = open_engine(altered, "fp32", "onnxruntime", threads=1)
    with pytest.raises(CheckFailed, match="masked_error of frame 2 differs"):
        check_golden(engine, altered)


def test_openvino_computes_in_the_precision_that_was_named(tiny: Path) -> None:
    ov = pytest.importorskip("openvino", reason="no openvino: pip install openvino")
    from edge.engine.openvino import OpenVinoGraph
    from edge.errors import MissingError

    bundle = open_bundle(tiny)
    data = bundle.read("fp32.onnx")
    assert OpenVinoGraph(data, "g", "fp32", threads=1).hint == "f32"
    if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert OpenVinoGraph(data, "g", "bf16", threads=1).hint == "bf16"
    else:
        with pytest.raises(MissingError, match="no bfloat16"):
            OpenVinoGraph(data, "g", "bf16", threads=1)
    with pytest.raises(InputError, match="does not run fp16"):
        OpenVinoGraph(data, "g", "fp16", threads=1)
