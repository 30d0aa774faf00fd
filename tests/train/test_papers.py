"""The papers' protocols: no image in training and test, labels where they belong, tables that fit."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from train.methods import METHODS

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def papers() -> ModuleType:
    sys.path.insert(0, BENCHMARKS)
    try:
        return importlib.import_module("papers")
    finally:
        sys.path.remove(BENCHMARKS)


def contents(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_every_table_names_methods_and_rows_that_exist(papers: ModuleType) -> None:
    for table in papers.TABLES[:-1]:
        for job in papers.jobs_of(table):
            assert job.method in METHODS
            assert all(set(column) == set(job.rows) for column in job.paper.values())


def test_splits_share_no_image(papers: ModuleType, real_data: Path) -> None:
    data, counts = papers.data, (60, 30)
    trials = [
        data.one_class_mnist(3, counts, 0),
        data.one_class_cifar("cat", counts, 0),
        data.leave_one_out_cifar("cat", counts, 0),
        data.noisy_trial(0, 1, 40, counts, 0),
    ]
    for trial in trials:
        parts = [contents(part) for part in (trial.train, trial.normal, trial.anomalous)]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert trial.known is None or not contents(trial.known) & parts[2]


def test_noisy_mnist_is_as_stated(papers: ModuleType, real_data: Path) -> None:
    trial = papers.data.noisy_trial(0, None, 30, (40, 27), seed=1)
    assert trial.train.shape == (40, 84, 84, 1) and trial.anomalous.shape == (27, 84, 84, 1)
    assert trial.train.dtype == np.uint8
    corner = trial.train[:, :8, :8].reshape(40, -1).astype(float)
    assert corner.std(1).min() < 12 and corner.std(1).max() > 20  # the noise differs from image to image
    again = papers.data.noisy_trial(0, None, 30, (40, 27), seed=1)
    assert np.array_equal(trial.train, again.train)


def test_markdown_puts_paper_ours_and_controls_side_by_side(papers: ModuleType) -> None:
    record = {"row": "0", "column": "CAM only", "paper": 0.74, "ours": 0.7, "brightness": 0.5, "contrast": 0.4}
    text = papers.markdown([{**record, "seed": 0}, {**record, "seed": 1, "ours": 0.8}])
    assert "| 0 | CAM only | 0.74 | 0.750 ± 0.050 | 0.500 | 0.400 |" in text


def test_the_mean_counts_each_row_once_and_compares_the_same_rows(papers: ModuleType) -> None:
    record = {"column": "vae", "seed": 0, "brightness": 0.5, "contrast": 0.4}
    records = [{**record, "row": "0", "paper": 0.9, "ours": 0.8}, {**record, "row": "1", "paper": 0.7, "ours": 0.9}]
    assert papers.markdown(records).splitlines()[-1] == "| **mean** | vae | 0.800 | **0.850** | 0.500 | 0.400 |"
    assert "**mean**" not in papers.markdown(records[:1])


def test_what_is_done_is_written_at_once(papers: ModuleType, tmp_path: Path) -> None:
    report = papers.Report(tmp_path, "one-class-mnist", "quick")
    record = {"row": "3", "column": "vae", "seed": 0, "paper": None, "ours": 0.8, "brightness": 0.5, "contrast": 0.4}
    report.add([record])
    assert "| 3 | vae | – | 0.800 |" in (tmp_path / "one-class-mnist.md").read_text()
    assert json.loads((tmp_path / "one-class-mnist.json").read_text())["records"] == [record]
