"""edge-export, from a run folder to a bundle that runs; and every refusal leaves nothing behind."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import Bundle, open_bundle
from edge.cli.base import run as run_command
from edge.engine.open import candidates_of, open_candidate
from edge.errors import CheckFailed, InputError
from edge.golden import check_golden, golden_frames
from export.bundle import Request, export_bundle
from export.cli.export import command
from export.frames import damage
from export.frames import golden_frames as golden_dozen
from export.variants import LeftOut, brain
from tests.export.conftest import FRAMES, pictures
from train.checkpoint import Run
from train.methods import METHODS


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(Request(run, tmp_path_factory.mktemp("out") / "part.edge", threads=1))


def test_every_variant_passes_its_golden_frames_on_every_back_end(bundle: Bundle) -> None:
    ran = 0
    for candidate in candidates_of(bundle):
        if candidate[0] != "tensorrt":
            engine = open_candidate(bundle, candidate, threads=1)
            check_golden(engine, bundle)
            engine.close()
            ran += 1
    assert ran >= 1


def test_each_precision_has_its_own_threshold_and_gate(bundle: Bundle) -> None:
    rows = bundle.manifest.variants
    assert {"fp32", "fp16"} <= set(rows)
    assert rows["fp32"].gate is None
    assert rows["fp16"].gate is not None and rows["fp16"].gate.passed
    assert rows["fp16"].graph != rows["fp32"].graph
    assert all(row.threshold.frames == FRAMES - 4 for row in rows.values())
    if "bf16" in rows:
        assert rows["bf16"].graph == rows["fp32"].graph
        assert rows["bf16"].threshold.value != rows["fp32"].threshold.value


def test_the_manifest_says_what_the_run_was(bundle: Bundle, run: Run) -> None:
    manifest = bundle.manifest
    assert manifest.name == "part" and manifest.model.method == "sagan"
    assert manifest.preprocessing == run.preprocessing
    assert manifest.training_data == run.record.training_data
    assert manifest.model.parameters == run.parameters
    assert manifest.normal_images.reference in manifest.members


def test_golden_frames_use_the_range_of_scores(bundle: Bundle) -> None:
    frames = golden_frames(bundle)
    assert len(frames) == 12
    scores = bundle.read_array(bundle.manifest.variants["fp32"].golden.score)
    assert np.ptp(scores) > 0


def test_the_report_has_pictures_and_no_scripts(bundle: Bundle) -> None:
    page = bundle.read("report/index.html").decode()
    assert page.count("<img") == 12 and "<script" not in page and "http" not in page
    assert "graph and scorer" in page


def test_the_same_run_gives_the_same_graphs(bundle: Bundle, run: Run, tmp_path: Path) -> None:
    again = export_bundle(Request(run, tmp_path / "part.edge", threads=1))
    assert again.manifest.members["graphs/fp32.onnx"] == bundle.manifest.members["graphs/fp32.onnx"]


def test_damage_is_repeatable_and_stays_in_the_picture() -> None:
    frame = pictures(1)[0]
    for kind in range(6):
        changed = damage(frame, kind)
        assert changed.shape == frame.shape and changed.dtype == np.uint8
        np.testing.assert_array_equal(changed, damage(frame, kind))
        assert (changed != frame).any()
    grey = golden_dozen(pictures(3)[:, :, :, :1])
    assert grey.shape == (12, 32, 32, 1)


def test_bf16_without_openvino_is_left_out_and_says_what_to_install(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "edge.engine.openvino", raising=False)
    from onnx import ModelProto

    left = brain(ModelProto(), None, None)  # type: ignore[arg-type]
    assert isinstance(left, LeftOut) and "edge-anomaly[openvino]" in left.reason


def test_the_command_prints_stages_and_the_next_command(run: Run, tmp_path: Path, capsys) -> None:
    out = tmp_path / "x" / "bolt.edge"
    assert run_command(command, [str(run.path), "--out", str(out), "--threads", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == [
        "frames", "graph", "parity", "fp32", "fp16", "bf16", "bundle", "next",
    ]  # fmt: skip
    assert printed[-1] == f"next: edge-calibrate {out} --data {run.record.data_root}"
    assert open_bundle(out).manifest.name == "bolt"


def refused(run: Run, tmp_path: Path, arguments: list[str], capsys) -> tuple[int, str]:
    code = run_command(command, [*arguments, "--threads", "1"])
    assert not list(tmp_path.rglob("*.edge")) and not list(tmp_path.rglob("*.tmp"))
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return code, error


def test_a_folder_that_is_no_run_is_refused(run: Run, tmp_path: Path, capsys) -> None:
    code, error = refused(run, tmp_path, [str(tmp_path), "--out", str(tmp_path / "a.edge")], capsys)
    assert code == 3 and "run.json" in error


def test_another_ending_is_refused(run: Run, tmp_path: Path, capsys) -> None:
    code, error = refused(run, tmp_path, [str(run.path), "--out", str(tmp_path / "a.onnx")], capsys)
    assert code == 3 and "a.edge" in error


def test_images_that_are_gone_are_refused(run: Run, tmp_path: Path, capsys) -> None:
    arguments = [str(run.path), "--out", str(tmp_path / "a.edge"), "--data", str(tmp_path)]
    code, error = refused(run, tmp_path, arguments, capsys)
    assert code == 3 and "--data" in error


def test_a_run_of_another_format_is_refused(run: Run, tmp_path: Path, capsys) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    text = (copy / "run.json").read_text()
    (copy / "run.json").write_text(text.replace("edge-anomaly run 1", "edge-anomaly run 9"))
    code, error = refused(run, tmp_path, [str(copy), "--out", str(tmp_path / "a.edge")], capsys)
    assert code == 3 and "another format" in error


def test_a_method_that_cannot_be_a_graph_says_why(run: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "sagan", replace(METHODS["sagan"], no_export="it searches for each picture"))
    with pytest.raises(InputError, match="sagan cannot be exported: it searches"):
        export_bundle(Request(run, tmp_path / "a.edge"))


def test_failed_parity_writes_nothing(run: Run, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("export.parity.TOLERANCE", 0.0)
    monkeypatch.setattr("export.bundle.check_parity.__defaults__", (0.0,))
    with pytest.raises(CheckFailed, match="parity"):
        export_bundle(Request(run, tmp_path / "a.edge", threads=1))
    assert not list(tmp_path.iterdir())


def test_an_old_bundle_survives_a_failed_export(run: Run, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "a.edge"
    out.write_bytes(b"old")
    monkeypatch.setattr("export.bundle.check_parity.__defaults__", (0.0,))
    with pytest.raises(CheckFailed):
        export_bundle(Request(run, out, threads=1))
    assert out.read_bytes() == b"old"
