"""edge-build as it is typed: processes, cache, golden check, choice; on a stand-in for a Jetson, in real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import Bundle, open_bundle, write_bundle
from edge.cli.base import run
from edge.cli.bench import command as bench
from edge.cli.build import command
from edge.engine.open import open_engine
from edge.errors import CheckFailed, MissingError
from edge.golden import check_golden
from edge.tensorrt import child, process
from tests.tensorrt_gate import require_tensorrt


@pytest.fixture
def tile(calibrated: Bundle, tmp_path: Path) -> Path:
    """The calibrated bundle in a folder of its own."""
    return Path(shutil.copy(calibrated.path, tmp_path / "tile.edge"))


@pytest.fixture
def settings(jetson: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the stand-in's settings, here and in child processes."""

    def put(**values: Any) -> None:
        monkeypatch.setenv("FAKE_TENSORRT", json.dumps(values))
        import tensorrt

        tensorrt.SETTINGS.clear()
        tensorrt.SETTINGS.update({"version": "10.3.0", **values})
        monkeypatch.setattr(tensorrt, "__version__", tensorrt.SETTINGS["version"])

    return put


@pytest.fixture
def here(jetson: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds run in this process, by the same code: for tests of what comes before and after a build."""

    class Told(child.Lines):
        def __init__(self, screen: process.Screen) -> None:
            super().__init__(-1)
            self.send = screen.told  # type: ignore[method-assign]

    monkeypatch.setattr(process, "_attempt", lambda request, screen, limits: child._build(request, Told(screen)))


def edge_build(*words: object) -> int:
    return run(command, [str(w) for w in words])


def plans(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "engines").glob("*.plan"))


def leftovers(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "cache" / "engines"
    return [p for p in folder.rglob("*") if p.suffix not in (".plan", ".json", ".cache")]


def test_build_check_keep_and_run(jetson, tile: Path, tmp_path: Path, capsys) -> None:
    assert edge_build(tile, "--precision", "int8") == 0
    told = capsys.readouterr().out
    assert "int8-tensorrt: build, nothing was built yet" in told
    assert "layers; a first build on a Jetson takes about" in told
    assert "golden frames, worst" in told and "next: edge-bench" in told
    assert len(plans(tmp_path)) == 1 and not leftovers(tmp_path)
    assert edge_build(tile, "--precision", "int8") == 0
    assert "int8-tensorrt: in the cache" in capsys.readouterr().out
    bundle = open_bundle(tile)
    engine = open_engine(bundle, "int8", "tensorrt")
    assert engine.variant == "int8-tensorrt"
    check_golden(engine, bundle)
    engine.close()


def test_auto_builds_times_and_remembers(jetson, here, tile: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    assert edge_build(tile) == 0
    told = capsys.readouterr().out
    for name in ("fp16", "int8-tensorrt", "int8-nodw-tensorrt"):
        assert f"{name}: build" in told
    assert "p95 ms" in told and "is the fastest that passes" in told
    from edge.engine import choose

    monkeypatch.setattr(choose, "measure", lambda *_: pytest.fail("measured again"))
    said: list[str] = []
    engine = open_engine(open_bundle(tile), "auto", "tensorrt", report=said.append)
    taken = re.search(r"(\S+?)(, flags)? is the fastest that passes", told)
    assert taken is not None
    assert engine.variant == taken[1] and "measured before" in said[0]
    engine.close()


def test_int8_is_tried_with_flags_where_there_are_flags(jetson, here, tile, capsys, tmp_path) -> None:
    from edge.tensorrt.cache import EngineCache

    assert edge_build(tile) == 0
    told = capsys.readouterr().out
    assert "int8-tensorrt, flags" in told and "fp16, flags" not in told
    entries = EngineCache().entries("tile", "int8-tensorrt")
    assert sorted(entry.options["typing"] for entry in entries) == ["flags", "graph"]
    rows = {
        label: float(p95) for label, p95 in re.findall(r"│ (int8-tensorrt(?:, flags)?) +│ +[\d.]+ │ +([\d.]+) │", told)
    }
    faster = "flags" if rows["int8-tensorrt, flags"] <= rows["int8-tensorrt"] else "graph"
    assert entries[0].options["typing"] == faster or len(set(rows.values())) == 1


def test_a_variant_that_fails_is_left_out_of_auto_and_told(jetson, here, tile: Path, settings, capsys) -> None:
    bundle = open_bundle(tile)
    gate = bundle.manifest.variants["int8-tensorrt"].gate
    assert gate is not None
    row = bundle.manifest.variants["int8-tensorrt"].model_copy(
        update={"gate": gate.model_copy(update={"passed": False})}
    )
    variants = bundle.manifest.variants | {"int8-tensorrt": row}
    write_bundle(tile, bundle.manifest.model_copy(update={"variants": variants}), bundle.read_all())
    assert edge_build(tile) == 0
    told = capsys.readouterr().out
    assert "int8-tensorrt: left out, int8-tensorrt failed its gate" in told and "int8-tensorrt: build" not in told


def test_an_engine_that_misses_the_golden_frames_never_runs(jetson, here, tile, tmp_path, settings, capsys) -> None:
    settings(factor=2.0)
    assert edge_build(tile, "--precision", "fp16") == 4
    assert "misses the golden frames" in capsys.readouterr().err
    assert plans(tmp_path) == []
    with pytest.raises(MissingError, match="nothing was built yet"):
        open_engine(open_bundle(tile), "fp16", "tensorrt")
    assert edge_build(tile) == 4
    assert "no engine runs" in capsys.readouterr().err


def test_outputs_that_are_not_finite_never_run(jetson, here, tile, tmp_path, settings, capsys) -> None:
    settings(factor=float("nan"))
    assert edge_build(tile, "--precision", "fp32") == 5
    assert "not finite" in capsys.readouterr().err and plans(tmp_path) == []


def test_what_changed_is_told_and_the_old_engine_stays(jetson, here, tile, tmp_path, settings, capsys) -> None:
    assert edge_build(tile, "--precision", "fp32") == 0
    settings(version="10.16.2")
    with pytest.raises(MissingError, match=r"tensorrt 10\.3\.0 -> 10\.16\.2"):
        open_engine(open_bundle(tile), "fp32", "tensorrt")
    assert edge_build(tile, "--precision", "fp32") == 0
    assert "fp32: build, tensorrt 10.3.0 -> 10.16.2" in capsys.readouterr().out
    assert len(plans(tmp_path)) == 2
    settings()
    open_engine(open_bundle(tile), "fp32", "tensorrt").close()  # going back finds its engine
    jetson.reset(name="Orin Nano (stand-in)")
    assert edge_build(tile, "--precision", "fp32") == 0
    assert "gpu Orin (stand-in) -> Orin Nano (stand-in)" in capsys.readouterr().out


def test_another_power_mode_runs_and_is_built_anew(jetson, here, tile, monkeypatch, capsys, caplog) -> None:
    from edge.tensorrt import cache

    monkeypatch.setattr(cache, "power_mode", lambda: "25W")
    assert edge_build(tile, "--precision", "fp32") == 0
    monkeypatch.setattr(cache, "power_mode", lambda: "MAXN")
    open_engine(open_bundle(tile), "fp32", "tensorrt").close()
    assert "built in power mode 25W, this is MAXN" in caplog.text
    assert edge_build(tile, "--precision", "fp32") == 0
    assert "power_mode 25W -> MAXN" in capsys.readouterr().out
    caplog.clear()
    open_engine(open_bundle(tile), "fp32", "tensorrt").close()
    assert "power mode" not in caplog.text


def test_other_options_are_another_engine(jetson, here, tile, tmp_path, capsys) -> None:
    assert edge_build(tile, "--precision", "fp32") == 0
    assert edge_build(tile, "--precision", "fp32", "--optimisation-level", 5) == 0
    assert "optimisation_level default -> 5" in capsys.readouterr().out
    assert edge_build(tile, "--precision", "fp32", "--rebuild") == 0
    assert "asked for with --rebuild" in capsys.readouterr().out


def test_a_damaged_plan_is_never_run_and_built_again(jetson, here, tile, tmp_path, capsys) -> None:
    assert edge_build(tile, "--precision", "fp32") == 0
    (plan,) = plans(tmp_path)
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)
    with pytest.raises(CheckFailed, match="its plan was damaged"):
        open_engine(open_bundle(tile), "fp32", "tensorrt")
    assert edge_build(tile, "--precision", "fp32") == 0
    assert "fp32: build, its plan was damaged" in capsys.readouterr().out
    plan.unlink()
    assert edge_build(tile, "--precision", "fp32") == 0
    assert "its plan cannot be read" in capsys.readouterr().out


def test_a_note_that_is_damaged_counts_as_nothing(jetson, here, tile, tmp_path, capsys) -> None:
    assert edge_build(tile, "--precision", "fp32") == 0
    (note,) = (tmp_path / "cache" / "engines").glob("*.json")
    note.write_text("{")
    assert edge_build(tile, "--precision", "fp32") == 0
    assert "nothing was built yet" in capsys.readouterr().out.split("next:")[-2]


def test_what_has_no_int8_kernel_is_told(jetson, here, tile, settings, capsys) -> None:
    settings(no_kernel=["depthwise"])
    assert edge_build(tile, "--precision", "int8") == 0
    assert "no INT8 kernel, kept in float: depthwise" in capsys.readouterr().out


def test_a_killed_build_is_tried_once_more_with_less_memory(jetson, tile, settings, capsys) -> None:
    settings(killed_above=300 << 20)
    assert edge_build(tile, "--precision", "fp32", "--workspace-mb", 1024) == 0
    assert "was killed (out of memory); once more with 256 MiB" in capsys.readouterr().out


def test_a_build_that_is_killed_twice_gives_advice(jetson, tile, tmp_path, settings, capsys) -> None:
    settings(killed_above=1 << 20)
    assert edge_build(tile, "--precision", "fp32") == 4
    error = capsys.readouterr().err
    assert "ran out of memory" in error and "add swap" in error and error.count("\n") == 1
    assert plans(tmp_path) == [] and leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_build_that_passes_its_memory_limit_is_ended(jetson, tile, settings, capsys) -> None:
    settings(eats=600 << 20, steps=50, step_s=0.2)
    assert edge_build(tile, "--precision", "fp32", "--memory-limit-mb", 400) == 4
    assert "limit 400 MiB" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_half_written(jetson, tile: Path, tmp_path: Path, settings) -> None:
    settings(steps=1000, step_s=0.05)
    words = [
        sys.executable,
        "-c",
        "import sys; from edge.cli.build import main; main()",
        str(tile),
        "--precision",
        "fp32",
    ]
    repository = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], repository])}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stdout is not None and started.stderr is not None
        while "layers" not in started.stdout.readline():
            assert started.poll() is None
        started.send_signal(signal.SIGINT)
        assert started.wait(120) == 130  # the child has 20 s to end by itself before it is killed
        assert "interrupted" in started.stderr.read()
    assert plans(tmp_path) == [] and leftovers(tmp_path) == []


def test_the_bench_shows_the_device_stages(jetson, here, tile, tmp_path, capsys) -> None:
    assert edge_build(tile, "--precision", "fp32") == 0
    file = tmp_path / "out.json"
    assert run(bench, f"{tile} --backend tensorrt --precision fp32 --frames 5 --json {file}".split()) == 0
    stages = json.loads(file.read_text())["stages"]
    assert {"h2d", "compute", "d2h"} < set(stages)
    assert stages["compute"]["p50_ms"] < stages["infer"]["p50_ms"]


@pytest.mark.parametrize("backend", [pytest.param("auto", marks=pytest.mark.slow), "tensorrt"])
def test_the_installer_builds_then_tests(jetson, tile, tmp_path, capsys, backend: str) -> None:
    from edge.install.station import CommandStation, default_prepare

    lines: list[str] = []
    station = CommandStation(default_prepare(backend, "fp32"), ("true",), ("true",), lines.append, tmp_path / "cache")
    station.prepare(tile)
    assert any("build: " in line and "fp32" in line for line in lines)
    assert any("golden frames, worst" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("absent.edge", 3, "no bundle absent.edge"),
        ("{tile} --precision int4", 3, "holds no int4 for TensorRT"),
        ("{tile} --precision fp32 --implicit", 3, "has no calibration cache"),
        ("{tile} --library tensorrt_of_nowhere", 5, "no tensorrt_of_nowhere here"),
        ("{tile} --precision fp32 --cache /proc/nowhere", 3, "cannot write /proc/nowhere"),
    ],
)
def test_bad_requests_end_in_one_line(jetson, here, tile, capsys, words: str, code: int, told: str) -> None:
    assert edge_build(*words.format(tile=tile).split()) == code
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_gpu_without_int8_is_told(jetson, here, tile, capsys) -> None:
    jetson.reset(capability=(6, 2))
    assert edge_build(tile, "--precision", "int8") == 5
    assert "has no INT8" in capsys.readouterr().err


def test_a_gpu_that_does_not_start_is_told(jetson, here, tile, capsys) -> None:
    jetson.reset(fail_at=0)
    assert edge_build(tile, "--precision", "fp32") == 5
    assert "CUDA failed" in capsys.readouterr().err


def test_int8_from_the_calibration_cache(jetson, here, tile, capsys) -> None:
    assert edge_build(tile, "--precision", "int8", "--implicit") == 0
    assert "golden frames" in capsys.readouterr().out


def test_a_dry_run_through_the_real_builder(tile: Path, capsys, tmp_path, monkeypatch) -> None:
    require_tensorrt()
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))
    assert edge_build(tile, "--dry-run", "--library", "tensorrt_rtx", "--precision", "int8") == 0
    assert "int8-tensorrt is taken by tensorrt_rtx 1." in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()
    assert edge_build(tile, "--dry-run", "--library", "tensorrt_rtx", "--target", "SM87") == 2
    assert "SM86" in capsys.readouterr().err
    assert edge_build(tile, "--library", "tensorrt_rtx") == 2
    assert edge_build(tile, "--dry-run", "--library", "tensorrt_rtx", "--implicit", "--precision", "int8") == 3
    assert "no calibrators" in capsys.readouterr().err


def test_no_tensorrt_here(tile: Path, capsys) -> None:
    assert edge_build(tile) == 5
    error = capsys.readouterr().err
    assert "no tensorrt here" in error and "edge-doctor" in error


def test_the_clock_of_entries_orders_them(tmp_path: Path, jetson, here, tile) -> None:
    start = time.time()
    assert edge_build(tile, "--precision", "fp32") == 0
    from edge.tensorrt.cache import EngineCache

    (entry,) = EngineCache().entries("tile")
    assert entry.created >= start and entry.proven is not None
