"""Which engine is opened, and what is said when it cannot be."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from edge.bundle import Bundle, open_bundle
from edge.engine import choose
from edge.engine.machine import describe_machine, machine_fingerprint, rss_mb
from edge.engine.open import BACKENDS, FITS, candidates_of, open_engine
from edge.errors import CheckFailed, InputError, MissingError
from edge.manifest import GateResult
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("open") / "tiny.edge"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def with_gate(bundle: Bundle, precision: str, dialect: str, passed: bool) -> Bundle:
    """The bundle with one more variant; only the manifest matters here."""
    row = bundle.manifest.variants["fp32"]
    gate = GateResult(
        frames=2, flipped=0, flipped_fraction=0, score_shift_median=0, rank_correlation=1, heatmap_iou=1,
        limits={}, passed=passed,
    )  # fmt: skip
    more = row.model_copy(update={"precision": precision, "dialect": dialect, "gate": gate})
    variants = bundle.manifest.variants | {f"{precision}-{dialect}": more}
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"variants": variants}), b"", None)


def test_the_table_and_what_fits_name_the_same_back_ends() -> None:
    assert set(BACKENDS) == set(FITS)


def test_a_precision_that_is_not_there_lists_what_is(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="holds no int8: it holds fp32"):
        open_engine(bundle, "int8")


def test_an_unknown_back_end_lists_what_there_is(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="onnxruntime, openvino, tensorrt"):
        open_engine(bundle, "fp32", "cuda")


def test_a_back_end_that_is_not_installed_names_the_remedy(bundle: Bundle, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "edge.engine.openvino", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(MissingError, match=r"edge-anomaly\[openvino\]") as told:
        open_engine(bundle, "fp32", "openvino")
    assert told.value.exit_code == 5


def test_named_is_taken_without_measuring(bundle: Bundle, monkeypatch) -> None:
    monkeypatch.setattr(choose, "measure", lambda *_: pytest.fail("measured"))
    engine = open_engine(bundle, "fp32", "onnxruntime", threads=1)
    assert "onnxruntime" in engine.description
    engine.close()


def test_a_variant_that_failed_its_gate_is_not_a_candidate(bundle: Bundle) -> None:
    failed = with_gate(bundle, "int8", "cpu", passed=False)
    assert candidates_of(failed, backend="onnxruntime") == [("onnxruntime", "fp32")]
    with pytest.raises(CheckFailed, match="failed its gate"):
        candidates_of(failed, "int8", "onnxruntime")


def test_a_variant_is_offered_to_the_back_ends_that_it_fits(bundle: Bundle) -> None:
    both = with_gate(with_gate(bundle, "int8", "cpu", True), "int8", "tensorrt", True)
    assert candidates_of(both, "int8", "onnxruntime") == [("onnxruntime", "int8-cpu")]
    assert candidates_of(both, "int8-cpu", "onnxruntime") == [("onnxruntime", "int8-cpu")]
    with pytest.raises(InputError, match="no back end here runs int8-tensorrt"):
        candidates_of(both, "int8-tensorrt", "onnxruntime")


def test_auto_measures_says_why_and_remembers(bundle: Bundle, cache: Path, monkeypatch) -> None:
    said: list[str] = []
    open_engine(bundle, threads=1, report=said.append).close()
    assert "measured now" in said[0] and "auto took" in said[0]
    (kept,) = cache.glob("choice-*.json")
    assert set(json.loads(kept.read_text())) == {f"{b}/{v}" for b, v in candidates_of(bundle)}
    monkeypatch.setattr(choose, "measure", lambda *_: pytest.fail("measured again"))
    open_engine(bundle, threads=1, report=said.append).close()
    assert "measured before" in said[1]


def test_the_cache_depends_on_bundle_and_machine(bundle: Bundle, cache: Path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(choose, "measure", lambda b, c, t: calls.append(1) or {"onnxruntime/fp32": 1.0, "x/int8": 0.5})
    candidates = [("onnxruntime", "fp32"), ("x", "int8")]
    choose.choose(bundle, candidates, 1)
    choose.choose(bundle, candidates, 1)
    choose.choose(bundle, candidates, 2)
    monkeypatch.setattr(choose, "machine_fingerprint", lambda: "another")
    choose.choose(bundle, candidates, 1)
    choose.choose(Bundle(bundle.path, bundle.manifest, b"changed", None), candidates, 1)
    assert len(calls) == 4


def test_a_damaged_cache_is_measured_again(bundle: Bundle, cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(choose, "measure", lambda *_: {"onnxruntime/fp32": 1.0})
    choose.choose(bundle, [("onnxruntime", "fp32")], 1)
    (kept,) = cache.glob("choice-*.json")
    kept.write_text("{")
    assert "measured now" in choose.choose(bundle, [("onnxruntime", "fp32")], 1).reason


def test_int8_with_a_bfloat16_rest_is_a_precision_of_its_own(bundle: Bundle) -> None:
    both = with_gate(with_gate(bundle, "int8", "cpu", True), "int8-bf16", "cpu", True)
    assert ("openvino", "int8-bf16-cpu") not in candidates_of(both, "int8")
    assert candidates_of(both, "int8-bf16") == [("openvino", "int8-bf16-cpu")]
    assert {("openvino", "int8-cpu"), ("openvino", "int8-bf16-cpu")} < set(candidates_of(both))
    with pytest.raises(InputError, match="no back end here runs int8-bf16"):
        candidates_of(both, "int8-bf16", "onnxruntime")


def test_int8_that_is_not_faster_is_not_taken(bundle: Bundle) -> None:
    slower = choose.decide(bundle, {"onnxruntime/fp32": 10.0, "onnxruntime/int8-cpu": 12.0}, "now")
    hardly = choose.decide(bundle, {"onnxruntime/fp32": 10.0, "onnxruntime/int8-cpu": 9.8}, "now")
    faster = choose.decide(bundle, {"onnxruntime/fp32": 10.0, "openvino/int8-cpu": 6.0}, "now")
    assert slower.candidate == hardly.candidate == ("onnxruntime", "fp32")
    assert "gains less than 5%" in hardly.reason
    assert faster.candidate == ("openvino", "int8-cpu")


def test_what_did_not_run_is_told_and_nothing_running_is_an_error(bundle: Bundle) -> None:
    choice = choose.decide(bundle, {"onnxruntime/fp32": 10.0, "openvino/bf16": "no bfloat16"}, "now")
    assert "openvino/bf16 did not run (no bfloat16)" in choice.reason
    with pytest.raises(MissingError, match="broken"):
        choose.decide(bundle, {"onnxruntime/fp32": "broken"}, "now")


def test_a_back_end_that_kills_its_process_is_told_apart(bundle: Bundle, monkeypatch) -> None:
    real = choose.subprocess.run

    def run(command, **options):
        if "openvino/fp32" in command:
            command = [sys.executable, "-c", "import os; os.abort()"]
        return real(command, **options)

    monkeypatch.setattr(choose.subprocess, "run", run)
    timings = choose.measure(bundle, [("onnxruntime", "fp32"), ("openvino", "fp32")], 1)
    assert timings["onnxruntime/fp32"] > 0
    assert "ended with code -6" in timings["openvino/fp32"]


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert int(machine["cpus"]) >= 1 and machine["processor"] and "numpy" in machine
    assert len(machine_fingerprint()) == 64
    assert rss_mb() > 10
