"""Generated bolts: reproducible, marked, and not told apart by brightness or contrast."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli.base import run
from edge.dataset import list_dataset
from edge.gate import auroc
from edge.images import read_image
from train.bolts import DEFECTS, Defect, draw_scene, render
from train.boltset import write_clip, write_dataset
from train.cli.bolts import command


def test_same_seed_same_pictures_and_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", 2, 10, 32, seed=5)
    write_dataset(tmp_path / "b", 3, 10, 32, seed=5)
    write_dataset(tmp_path / "c", 2, 10, 32, seed=6)
    a, b, c = (list_dataset(tmp_path / name) for name in "abc")
    assert [p.read_bytes() for p in a.train_normal] == [p.read_bytes() for p in b.train_normal[:2]]
    assert a.train_normal[0].read_bytes() != c.train_normal[0].read_bytes()
    assert len(a.test_normal) == 5 and len(a.test_anomalous) == 5
    assert {p.parent.name for p in a.test_anomalous} == set(DEFECTS)
    assert set(a.masks) == set(a.test_anomalous)
    contents = [p.read_bytes() for p in (*a.train_normal, *a.test_normal, *a.test_anomalous)]
    assert len(set(contents)) == len(contents)


@pytest.mark.parametrize("defect", DEFECTS)
def test_mask_covers_what_changed(defect: Defect) -> None:
    """Rendered with and without the defect, the picture differs more inside the mask than far from it."""
    scene = draw_scene(np.random.default_rng(3), defect)
    image, mask = render(scene, 96)
    good, empty = render(replace(scene, defect=None, loosened=0.0, tilt=0.0), 96)
    assert not empty.any()
    assert 0.002 < (mask > 0).mean() < 0.6
    difference = np.abs(image.astype(np.float32) - good).mean(2)
    far = cv2.dilate(mask, np.ones((15, 15), np.uint8)) == 0
    assert difference[mask > 0].mean() > 2 * difference[far].mean()


def test_brightness_and_contrast_do_not_tell_good_from_bad() -> None:
    random = np.random.default_rng(0)
    good = [render(draw_scene(random, None), 32)[0] for _ in range(60)]
    bad = [render(draw_scene(random, DEFECTS[n % 5]), 32)[0] for n in range(60)]
    for figure in (np.mean, np.std):
        grey = [[float(figure(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY))) for i in part] for part in (good, bad)]
        value = auroc(*grey)
        assert value is not None and 0.35 < value < 0.65


def test_clip_has_its_truth(tmp_path: Path) -> None:
    truth = write_clip(tmp_path / "clip.mp4", 48, seed=1, bolts=5, hold=2, fps=10)
    assert json.loads((tmp_path / "clip.json").read_text()) == truth
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    frames = []
    while (grabbed := capture.read())[0]:
        frames.append(grabbed[1])
    assert len(frames) == len(truth["frames"]) == 10
    assert [frame["defect"] for frame in truth["frames"]] == [None] * 6 + ["missing"] * 2 + [None] * 2
    assert not np.array_equal(frames[0], frames[1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.json", "clip.mp4"]


def test_command_writes_a_set_and_refuses_a_full_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "out"), "--train", "2", "--test", "2", "--size", "32"]
    assert run(command, arguments) == 0
    assert "next: edge-train" in capsys.readouterr().out
    assert read_image(tmp_path / "out" / "train" / "good" / "0000.png").shape == (32, 32, 3)
    assert run(command, arguments) == 3
    assert "is not empty" in capsys.readouterr().err
    assert run(command, [str(tmp_path / "new"), "--clip", "clip.avi"]) == 2
