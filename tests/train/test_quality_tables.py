"""The quality benchmark: folders, plans and tables that figures rest on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import frontier, quality
from benchmarks.quality_alarms import rate_cells, shown
from benchmarks.quality_runs import known_folder, linked
from edge.dataset import list_dataset, split_validation
from edge.images import read_image, write_png
from train.checkpoint import read_record


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty normal pictures to train, eight to test of which some are odd, and twelve defects with masks."""
    random, root = np.random.default_rng(0), tmp_path / "set"
    for folder, count in (("train/good", 20), ("test/good", 8), ("test/hole", 6), ("test/crack", 6)):
        for number in range(count):
            picture = random.integers(90, 160, (32, 32)).astype(np.uint8)
            if "good" not in folder or (folder == "test/good" and number == 0):
                picture[8:16, 8:16] = 255
            write_png(root / folder / f"{number:03}.png", picture)
            if "good" not in folder:
                mask = np.zeros((32, 32), np.uint8)
                mask[8:16, 8:16] = 255
                write_png(root / "ground_truth" / Path(folder).name / f"{number:03}_mask.png", mask)
    return root


def test_links_hold_so_many_normals_and_no_reserved_anomaly(data: Path, tmp_path: Path) -> None:
    few = list_dataset(linked(data, tmp_path / "few", 5, 4))
    assert len(few.train_normal) == 5 and len(few.test_anomalous) == 8 and len(few.masks) == 12 - 4
    known = known_folder(data, tmp_path / "known", 3)
    assert known is not None and len(list(known.glob("*/*.png"))) == 3
    tested = {p.resolve() for p in few.test_anomalous}
    assert not tested & {p.resolve() for p in known.glob("*/*.png")}
    assert known_folder(data, tmp_path / "none", 0) is None


def test_steps_count_steps_whatever_the_number_of_images(data: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    arguments = ["--steps", "6", "--runs", str(runs), "--image-size", "32", "--width", "8", "--threads", "1"]
    quality.main(["normals", str(data), "--counts", "12", *arguments])
    epochs = {}
    for count in (12, 20):
        record = read_record(runs / f"set-n{count}-0")
        training = len(split_validation(list_dataset(Path(record.data_root)).train_normal)[0])
        epochs[count] = record.epochs
        assert record.finished and record.epochs == max(1, round(6 / (training // 8)))
    assert epochs[12] > epochs[20]


def test_marks_pass_through_the_event_store_into_the_next_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    arguments = ["--steps", "4", "--runs", str(runs), "--image-size", "32", "--width", "8", "--threads", "1"]
    quality.main(["marks", str(data), "--rate", "0.4", *arguments])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 5 and "before" in rows[2] and "trained again" in rows[4]
    marked = sorted((runs / "set-marked-0-data" / "train" / "good").glob("marked-*.png"))
    assert f"before, {len(marked)} of 2 marked" in rows[2]
    originals = [read_image(p).tobytes() for p in list_dataset(data).test_normal[:4:2]]
    assert all(read_image(p).tobytes() in originals for p in marked)
    record = read_record(runs / "set-marked-0")
    assert {p.name for p in marked} <= {Path(name).name for name in record.training}
    quality.main(["rates", str(runs / "set-marked-0")])
    assert "1.0%" in capsys.readouterr().out


def test_what_the_operator_sees_and_what_is_counted_are_apart() -> None:
    normals = [Path(f"{i}") for i in range(11)]
    seen, same, others = shown(normals)
    assert sorted([*seen, *same, *others]) == sorted(normals) and min(map(len, (seen, same, others))) >= 2


def test_a_stated_rate_is_judged_by_its_own_interval() -> None:
    random = np.random.default_rng(0)
    good = rate_cells(random.normal(size=200), random.normal(size=300), 0.01)
    assert good[-1] == "yes" and good[0] == "1.0%"
    assert rate_cells(random.normal(size=200), random.normal(3.0, size=300), 0.01)[-1] == "no"


def test_the_picture_shows_every_entry_that_has_both_figures(tmp_path: Path) -> None:
    ours, papers, out = tmp_path / "ours.json", tmp_path / "papers.json", tmp_path / "frontier.png"
    entry = {"set": "set", "image_auroc": 0.9, "p50_ms": 5.0, "minutes": 1}
    ours.write_text(json.dumps([{"name": "attention", **entry}, {"name": "anomalib DRAEM", **entry, "p50_ms": None}]))
    papers.write_text(json.dumps([{"name": "vae", **entry}, {"name": "anogan", **entry, "p50_ms": None}]))
    frontier.main(["draw", "--json", str(ours), "--papers", str(papers), "--out", str(out)])
    assert read_image(out).std() > 1
    styles = frontier._styles(["vae", "sagan"], ["attention", "attention, width 16", "anomalib DRAEM"])
    looks = {(str(s["color"]), s["marker"]) for s in styles.values()}
    assert len(looks) == 5 and styles["anomalib DRAEM"]["color"] == "black" and styles["attention"]["marker"] == "*"
