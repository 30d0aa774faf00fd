"""A run folder comes back as it was saved, or is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edge.errors import InputError
from edge.manifest import DataFingerprint
from edge.preprocess import Preprocessing
from tests.train.helpers import random_frames, tiny, trained
from train.checkpoint import RunRecord, load_run, save_run
from train.method import Method


def record_of(method: Method, name: str, root: Path) -> RunRecord:
    return RunRecord(
        tool_version="0",
        method=name,
        base_width=method.config.base_width,
        options=dict(method.config.options),
        preprocessing=Preprocessing(height=32, width=32, colour="grey"),
        data_root=str(root),
        training=("a.png",),
        validation=("b.png",),
        training_data=DataFingerprint(name="x", frames=1, sha256="0" * 64),
        seed=0,
        batch_size=4,
    )


def test_a_run_scores_after_loading_as_before_saving(tmp_path: Path) -> None:
    method = trained("sagan")
    save_run(tmp_path / "run", record_of(method, "sagan", tmp_path), method)
    run = load_run(tmp_path / "run")
    frames = random_frames(3)
    with torch.no_grad():
        before, after = method.scorer()(frames), run.scorer()(frames)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert run.preprocessing.channels == 1
    assert run.parameters == sum(p.numel() for p in method.networks.parameters())


def test_paths_are_found_or_named(tmp_path: Path) -> None:
    method = tiny("sagan")
    save_run(tmp_path / "run", record_of(method, "sagan", tmp_path / "old"), method)
    run = load_run(tmp_path / "run")
    with pytest.raises(InputError, match="1 of 1 images"):
        run.validation_paths()
    (tmp_path / "b.png").write_bytes(b"")
    assert run.validation_paths(tmp_path) == (tmp_path / "b.png",)


def test_bad_runs_are_refused_in_one_line(tmp_path: Path) -> None:
    sagan, plain = tiny("sagan"), tiny("sagan-plain")
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"no run\.json"):
        load_run(run)
    save_run(run, record_of(sagan, "sagan", tmp_path), sagan)
    weights = (run / "weights.pt").read_bytes()
    save_run(run, record_of(plain, "sagan-plain", tmp_path), plain)
    (run / "weights.pt").write_bytes(weights)
    with pytest.raises(InputError, match="expected sagan-plain, found sagan"):
        load_run(run)
    save_run(run, record_of(plain, "sagan", tmp_path), sagan)
    with pytest.raises(InputError, match=r"does not fit run\.json") as error:
        load_run(run)
    assert "\n" not in str(error.value)
    (run / "weights.pt").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="cannot load checkpoint"):
        load_run(run)
    (run / "run.json").write_text('{"format": "other"}')
    with pytest.raises(InputError, match="another format"):
        load_run(run)
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        load_run(run)


def test_a_pickled_object_is_never_run(tmp_path: Path) -> None:
    method = tiny("sagan")
    save_run(tmp_path, record_of(method, "sagan", tmp_path), method)
    torch.save({"format": "edge-anomaly run 1", "method": Path}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="cannot load checkpoint"):
        load_run(tmp_path)
