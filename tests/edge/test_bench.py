"""edge-bench: figures that add up, the documented JSON, the comparison with eager PyTorch."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edge.bench import STAGES, Neighbours, Plan, ratio, summary, time_in_turn, time_stages
from edge.bundle import open_bundle
from edge.cli.base import run
from edge.cli.bench import command
from edge.engine.open import open_engine
from edge.errors import InputError
from edge.power import watts
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bench") / "tiny.edge")


def test_stages_are_timed_by_the_clock_that_is_given(tiny: Path) -> None:
    bundle = open_bundle(tiny)
    ticks = count()
    engine = open_engine(bundle, "fp32", "onnxruntime", threads=1)
    times = time_stages(engine, bundle, Plan(frames=4, warmup=2), clock=lambda: next(ticks) * 1e-3)
    assert set(times) == {*STAGES, "total"}
    assert all(np.allclose(times[stage], [1.0] * 4) for stage in STAGES)
    assert np.allclose(times["total"], [4.0] * 4)


def test_summary_has_the_documented_keys_in_order() -> None:
    row = summary(list(np.arange(1, 101, dtype=float)))
    assert list(row) == ["p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "mean_ms"]
    assert row["p50_ms"] == 50.5 and row["max_ms"] == 100 and row["mean_ms"] == 50.5


def test_engines_take_turns_on_the_same_frame() -> None:
    seen: list[tuple[str, int]] = []
    frames = [np.full((1, 1, 1), value, np.uint8) for value in range(3)]
    runs = {name: (lambda frame, name=name: seen.append((name, int(frame[0, 0, 0])))) for name in "ab"}
    times = time_in_turn(runs, frames, Plan(frames=2, warmup=0, settle_s=0))
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}


def test_no_run_pays_for_workers_of_the_one_before_that_still_spin() -> None:
    busy_until = 0.0

    def leaves_spinning_workers(frame: np.ndarray) -> None:
        nonlocal busy_until
        busy_until = time.perf_counter() + 0.005

    rounds: list[list[bool]] = []
    runs = {
        "eager": leaves_spinning_workers,
        "turn": lambda frame: rounds.append([]),
        "next": lambda frame: rounds[-1].append(time.perf_counter() < busy_until),
    }
    time_in_turn(runs, [np.zeros((1, 1, 1), np.uint8)], Plan(frames=3, warmup=0))
    assert [met[-1] for met in rounds if met] == [False] * 3


def test_ratio_is_taken_round_by_round() -> None:
    assert ratio([1.0, 10.0, 1.0], [4.0, 40.0, 8.0]) == 4.0


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(InputError):
        Plan(frames=0)


def test_json_is_as_documented(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    arguments = f"{tiny} --backend onnxruntime --frames 5 --warmup 1 --threads 1 --json {file}".split()
    assert run(command, arguments) == 0
    result = json.loads(file.read_text())
    assert set(result) == {
        "backend", "precision", "input", "stages", "fps", "rss_mb", "watts", "mj_per_frame", "machine",
    }  # fmt: skip
    assert set(result["stages"]) == {"read", "preprocess", "infer", "decide", "total"}
    assert result["precision"] == "fp32" and result["input"] == "64x64 bgr" and result["fps"] > 0
    assert "frames/s" in capsys.readouterr().out


def test_compare_lists_every_engine(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert run(command, f"{tiny} --compare --frames 3 --warmup 1 --threads 1 --json {file}".split()) == 0
    engines = json.loads(file.read_text())["engines"]
    assert "onnxruntime/fp32" in engines
    assert next(iter(engines.values()))["ratio"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("absent.edge", 3, "no bundle absent.edge"),
        ("{tiny} --precision int8", 3, "it holds fp32"),
        ("{tiny} --run somewhere", 2, "--compare"),
        ("{tiny} --compare --run somewhere", 3, "eager PyTorch"),
        ("{tiny} --backend nothing", 3, "onnxruntime"),
    ],
)
def test_bad_requests_end_in_one_line(tiny: Path, capsys, arguments: str, code: int, told: str) -> None:
    assert run(command, arguments.format(tiny=tiny).split()) == code
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_power_is_the_whole_board_where_it_is_measured(tmp_path: Path) -> None:
    assert watts(tmp_path) is None
    chip = tmp_path / "hwmon0"
    chip.mkdir()
    for number, (label, volt, ampere) in enumerate([("VDD_IN", 5000, 2000), ("VDD_CPU", 1000, 900)], 1):
        (chip / f"in{number}_label").write_text(f"{label}\n")
        (chip / f"in{number}_input").write_text(f"{volt}\n")
        (chip / f"curr{number}_input").write_text(f"{ampere}\n")
    assert watts(tmp_path) == pytest.approx(10.0)
    (chip / "in1_label").write_text("CPU\n")
    assert watts(tmp_path) == pytest.approx(10.9)


def test_others_on_the_machine_are_told_of_and_the_process_itself_is_not() -> None:
    quiet, loud = Neighbours(), Neighbours()
    quiet.share, loud.share = 0.05, 0.4
    assert quiet.warning() is None
    assert (loud.warning() or "").startswith("others used 40% of the CPUs meanwhile")


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ((100.0, 10.0, 1.0), (110.0, 16.0, 5.0), 0.2),  # six busy seconds of ten, four of them this process's
        ((100.0, 10.0, 1.0), (110.0, 14.0, 5.1), 0.0),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0),
    ],
)
def test_the_share_of_others_is_what_is_busy_but_for_this_process(before, after, share, monkeypatch) -> None:
    readings = iter((before, after))
    monkeypatch.setattr("edge.bench._cpu_seconds", lambda: next(readings))
    with Neighbours() as others:
        pass
    assert others.share == pytest.approx(share)
