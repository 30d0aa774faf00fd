"""edge-calibrate from the command line: what it adds to a bundle, and that it leaves it whole when it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from calib.cache import parse_cache
from calib.cli import command
from calib.evaluate import Frame, run_graph
from edge.bundle import Bundle, open_bundle, write_bundle
from edge.cli.base import run
from edge.engine.onnxruntime import OnnxRuntimeEngine
from edge.engine.open import open_engine
from edge.golden import Outputs, golden_frames
from edge.images import write_png
from edge.manifest import Manifest
from tests.calib.making import write_images

WIDE = ("--max-flips", "0.1", "--max-auroc-drop", "0.05", "--threads", "1")
CPU = ("--target", "cpu", *WIDE)
MIXED = "int8-bf16-cpu"


def calibrate(bundle: Path, data: Path, *options: str) -> int:
    return run(command, [str(bundle), "--data", str(data), *options])


def test_all_variants_are_added_with_their_own_thresholds(
    bundle_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = open_bundle(bundle_path)
    assert calibrate(bundle_path, data, "--frames", "30", *WIDE) == 0
    bundle = open_bundle(bundle_path)
    manifest = bundle.manifest
    assert sorted({*manifest.variants} - {MIXED}) == ["fp32", "int8-cpu", "int8-nodw-tensorrt", "int8-tensorrt"]
    assert manifest.variants["fp32"] == before.manifest.variants["fp32"]
    row = manifest.variants["int8-cpu"]
    assert (row.precision, row.dialect, row.threshold.frames) == ("int8", "cpu", 12)
    assert row.threshold.value != manifest.variants["fp32"].threshold.value
    assert row.threshold.false_alarm_rate == 0.02
    assert row.gate is not None and row.gate.passed and row.gate.frames == 42
    assert row.gate.auroc_fp32 is not None and row.gate.auroc_fp32 > 0.9
    assert row.calibration is not None
    assert (row.calibration.frames_asked, row.calibration.frames_used, row.calibration.method) == (30, 30, "mse")
    assert "head" in row.calibration.excluded_nodes
    assert row.calibration_cache is None
    told = capsys.readouterr().out
    assert "frames: 30 used of 30 asked for ranges, 12 held out for thresholds, 30 labelled" in told
    assert "scales moved" in told and "more held-out frames" in told
    assert "next: edge-bench" in told


def test_goldens_are_those_of_each_graph(bundle_path: Path, data: Path) -> None:
    calibrate(bundle_path, data, *WIDE)
    bundle = open_bundle(bundle_path)
    frames = bundle.read_array(bundle.manifest.golden_frames)
    for name in ("int8-cpu", "int8-tensorrt", "int8-nodw-tensorrt"):
        engine = OnnxRuntimeEngine(bundle, name, threads=1)
        golden = bundle.manifest.variants[name].golden
        scored = [engine.infer(frame) for frame in frames]
        assert np.allclose([s.score for s in scored], bundle.read_array(golden.score), rtol=1e-5)
        assert np.allclose([s.heatmap for s in scored], bundle.read_array(golden.heatmap), rtol=1e-4, atol=1e-6)
        engine.close()
        assert 0.05 <= golden.relative_tolerance <= 0.5


def test_the_int8_graph_is_judged_again_with_its_float_part_in_bfloat16(
    bundle_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(bundle_path, data, *CPU)
    rows = open_bundle(bundle_path).manifest.variants
    if not has_bfloat16():
        assert MIXED not in rows
        assert f"{MIXED} left out: this CPU has no bfloat16" in capsys.readouterr().out
        return
    row, plain = rows[MIXED], rows["int8-cpu"]
    assert (row.precision, row.dialect, row.graph) == ("int8-bf16", "cpu", plain.graph)
    assert row.threshold.value != plain.threshold.value
    assert row.gate is not None and row.gate.passed
    engine = open_engine(open_bundle(bundle_path), "int8-bf16", threads=1)
    assert "bf16 arithmetic" in engine.description and engine.variant == MIXED
    found = [engine.infer(f).score for f in golden_frames(open_bundle(bundle_path))]
    assert np.allclose(found, open_bundle(bundle_path).read_array(row.golden.score), rtol=1e-5)
    engine.close()


def test_bfloat16_beyond_the_limits_is_left_out_and_said(
    bundle_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its refusal takes nothing from int8-cpu, which passed."""

    def reversed_scores(model: ModelProto, name: str, frames: Sequence[Frame], threads: int = 0) -> Outputs:
        outputs = run_graph(model, name, frames, threads)
        return Outputs(-outputs.score, outputs.masked_error, outputs.heatmap)

    monkeypatch.setattr("calib.calibrate.run_in_brain", reversed_scores)
    assert calibrate(bundle_path, data, *CPU) == 0
    assert f"{MIXED} left out: " in capsys.readouterr().out
    assert sorted(open_bundle(bundle_path).manifest.variants) == ["fp32", "int8-cpu"]


def has_bfloat16() -> bool:
    import openvino as ov

    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_the_calibration_cache_holds_a_scale_for_each_tensor(bundle_path: Path, data: Path) -> None:
    calibrate(bundle_path, data, "--target", "tensorrt", *WIDE)
    bundle = open_bundle(bundle_path)
    assert "int8-cpu" not in bundle.manifest.variants
    path = bundle.manifest.variants["int8-tensorrt"].calibration_cache
    assert path is not None
    head, scales = parse_cache(bundle.read(path).decode())
    assert head == "TRT-100300-EntropyCalibration2"
    assert {"deep_out", "merge_out"} & set(scales)
    assert all(s > 0 for s in scales.values())


def test_the_report_is_a_page_with_every_variant(bundle_path: Path, data: Path) -> None:
    calibrate(bundle_path, data, *WIDE)
    page = open_bundle(bundle_path).read("report/int8.html").decode()
    assert page.startswith("<!doctype html>")
    for words in ("int8-nodw-tensorrt", "attention gate or output head", "Decisions against fp32", "convergence"):
        assert words in page
    assert "<script" not in page


def test_the_same_calibration_is_not_made_twice(
    bundle_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(bundle_path, data, *CPU)
    before = bundle_path.read_bytes()
    assert calibrate(bundle_path, data, *CPU) == 0
    assert "already calibrated" in capsys.readouterr().out
    assert bundle_path.read_bytes() == before


def test_calibrating_again_from_scratch_gives_the_same_bundle(bundle_path: Path, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.edge"
    shutil.copy(bundle_path, copy)
    calibrate(bundle_path, data, "--target", "tensorrt", *WIDE)
    calibrate(copy, data, "--target", "tensorrt", *WIDE)
    assert open_bundle(copy).identity == open_bundle(bundle_path).identity


@pytest.mark.parametrize("options", [("--method", "minmax"), ("--frames", "20"), ("--false-alarm-rate", "0.05")])
def test_a_stale_calibration_is_never_reused(
    bundle_path: Path, data: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(bundle_path, data, *CPU)
    before = bundle_path.read_bytes()
    assert calibrate(bundle_path, data, *options, *CPU) == 3
    assert "is calibrated already" in capsys.readouterr().err
    assert bundle_path.read_bytes() == before
    first = open_bundle(bundle_path).manifest.variants["int8-cpu"].calibration
    assert calibrate(bundle_path, data, *options, "--force", *CPU) == 0
    second = open_bundle(bundle_path).manifest.variants["int8-cpu"].calibration
    assert first is not None and second is not None
    assert first.fingerprint != second.fingerprint


def test_one_changed_picture_makes_it_stale(bundle_path: Path, data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    calibrate(bundle_path, copy, *CPU)
    write_png(copy / "train" / "good" / "0003.png", np.full((40, 48), 120, np.uint8))
    assert calibrate(bundle_path, copy, *CPU) == 3


def test_beyond_the_limits_it_refuses_and_names_the_costliest_layers(
    bundle_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle_path.read_bytes()
    assert calibrate(bundle_path, data, "--target", "tensorrt", "--min-heatmap-iou", "0.9999", "--threads", "1") == 4
    told = capsys.readouterr().err
    assert "heatmaps overlap" in told and "the layers that cost most" in told and "merge (" in told
    assert told.count("\n") <= 2
    assert bundle_path.read_bytes() == before


def test_when_no_layer_may_be_int8_there_is_no_int8_variant(bundle_path: Path, data: Path, capsys) -> None:
    before = bundle_path.read_bytes()
    options = ("--target", "cpu", "--min-heatmap-iou", "1.0", "--min-rank", "1.0", "--auto-exclude", "--threads", "1")
    assert calibrate(bundle_path, data, *options) == 4
    assert "no layer alone could stay in int8" in capsys.readouterr().err
    assert bundle_path.read_bytes() == before


def test_auto_exclude_keeps_layers_in_float_until_the_gate_passes(
    bundle_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--target", "cpu", "--max-flips", "0.1", "--min-heatmap-iou", "0.95", "--auto-exclude", "--threads", "1")
    assert calibrate(bundle_path, data, *options) == 0
    row = open_bundle(bundle_path).manifest.variants["int8-cpu"]
    assert row.gate is not None and row.gate.heatmap_iou >= 0.95
    told = capsys.readouterr().out
    assert "stays in float, costs" in told and "ms here" in told


def test_a_signature_does_not_survive_and_this_is_said(
    bundle_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = open_bundle(bundle_path)
    write_bundle(bundle_path, bundle.manifest, bundle.read_all(), signature=b"s" * 64)
    assert calibrate(bundle_path, data, *CPU) == 0
    assert "sign it again with edge-sign" in capsys.readouterr().out
    assert open_bundle(bundle_path).signature is None


def test_out_leaves_the_source_as_it_was(bundle_path: Path, data: Path, tmp_path: Path) -> None:
    before, out = bundle_path.read_bytes(), tmp_path / "other.edge"
    assert calibrate(bundle_path, data, "--target", "cpu", "--out", str(out), *WIDE) == 0
    assert bundle_path.read_bytes() == before
    assert "int8-cpu" in open_bundle(out).manifest.variants


BAD_OPTIONS = [
    (("--frames", "900"), 3, "asked for 900 calibration frames"),
    (("--frames", "many"), 2, "--frames many"),
    (("--frames", "0"), 2, "--frames 0"),
    (("--method", "guess"), 2, "unknown method guess"),
    (("--target", "toaster"), 2, "unknown target toaster"),
    (("--target", ","), 2, "unknown target (none)"),
    (("--false-alarm-rate", "2"), 2, "--false-alarm-rate 2.0"),
    (("--exclude", "nothing"), 3, "no layer nothing"),
]


@pytest.mark.parametrize(("options", "code", "told"), BAD_OPTIONS)
def test_bad_options_are_told_in_one_line(
    bundle_path: Path, data: Path, options: tuple[str, ...], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle_path.read_bytes()
    assert calibrate(bundle_path, data, *options) == code
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert bundle_path.read_bytes() == before


def test_bad_data_leaves_the_bundle_as_it_was(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle_path.read_bytes()
    assert calibrate(bundle_path, tmp_path / "nowhere") == 3
    empty = tmp_path / "empty"
    empty.mkdir()
    assert calibrate(bundle_path, empty) == 3
    broken = tmp_path / "broken"
    write_images(broken, 10)
    (broken / "0004.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    assert calibrate(bundle_path, broken) == 3
    assert "0004.png" in capsys.readouterr().err
    bright = tmp_path / "bright"
    for index in range(10):
        write_png(bright / f"{index}.png", np.full((40, 48), 250, np.uint8))
    assert calibrate(bundle_path, bright) == 3
    assert "does not hold the kind of images" in capsys.readouterr().err
    assert bundle_path.read_bytes() == before
    assert not list(bundle_path.parent.glob(".*.tmp"))


def test_a_bundle_without_fp32_is_refused(bundle_path: Path, data: Path) -> None:
    bundle = open_bundle(bundle_path)
    rows = {"fp16": bundle.manifest.variants["fp32"]}
    manifest: Manifest = bundle.manifest.model_copy(update={"variants": rows})
    changed: Bundle = write_bundle(bundle_path, manifest, bundle.read_all())
    assert calibrate(changed.path, data) == 3


def test_a_truncated_bundle_is_refused(bundle_path: Path, data: Path) -> None:
    bundle_path.write_bytes(bundle_path.read_bytes()[:-100])
    assert calibrate(bundle_path, data) == 3


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails as on a full disk, with an error
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from calib.cli import command
from edge.cli.base import run
sys.exit(run(command, {arguments}))
"""


def test_a_full_disk_leaves_the_old_bundle_whole(bundle_path: Path, data: Path) -> None:
    before = bundle_path.read_bytes()
    arguments = [str(bundle_path), "--data", str(data), *CPU]
    script = FULL_DISK.format(limit=len(before), arguments=arguments)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 3, done.stderr
    assert f"cannot write {bundle_path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert bundle_path.read_bytes() == before
    assert not list(bundle_path.parent.glob(".*.tmp"))
