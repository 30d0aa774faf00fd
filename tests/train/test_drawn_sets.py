"""The drawn inspection sets: every kind of picture can be drawn, is marked and repeatable; no folder is overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawn_sets import layout
from benchmarks.drawn_sets.__main__ import main
from benchmarks.drawn_sets.layout import SETS, bad_picture, good_picture, severity
from edge.dataset import list_dataset
from edge.images import read_image

SHAPES = {
    "caps": (300, 300, 3),
    "pcb": (300, 400, 3),
    "weave": (256, 256),
    "pills": (384, 512, 3),
    "gear": (400, 400),
    "leather": (320, 320, 3),
    "washer": (200, 200),
}


@pytest.mark.parametrize("name", SETS)
def test_good_picture(name: str) -> None:
    picture = good_picture(name, "train", 0)
    assert picture.shape == SHAPES[name] and picture.dtype == np.uint8
    assert picture.std() > 5


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in SETS for kind in SETS[name].kinds])
def test_bad_picture_is_marked_and_repeatable(name: str, kind: str) -> None:
    picture, mask = bad_picture(name, kind, 0)
    assert picture.shape == SHAPES[name] and picture.dtype == np.uint8
    assert mask.shape == SHAPES[name][:2] and mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    again, marked_again = bad_picture(name, kind, 0)
    assert np.array_equal(again, picture) and np.array_equal(marked_again, mask)


def test_pictures_differ_by_split_and_index() -> None:
    pictures = [good_picture("washer", split, index) for split in ("train", "test") for index in (0, 1)]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_every_third_defect_is_subtle() -> None:
    assert [severity(index) < 0.3 for index in range(6)] == [True, False, False, True, False, False]


def test_the_command_writes_a_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "washer", replace(SETS["washer"], training=2))
    monkeypatch.setattr(layout, "TEST_GOOD", 1)
    monkeypatch.setattr(layout, "TEST_BAD", 1)
    assert main([str(tmp_path), "washer"]) == 0
    data = list_dataset(tmp_path / "washer")
    assert len(data.train_normal) == 2 and len(data.test_normal) == 1
    assert [path.parent.name for path in data.test_anomalous] == sorted(SETS["washer"].kinds)
    assert set(data.masks) == set(data.test_anomalous)
    assert (tmp_path / "washer" / "ground_truth" / "burr" / "000_mask.png").exists()
    picture = read_image(tmp_path / "washer" / "test" / "burr" / "000.png")
    assert np.array_equal(picture, bad_picture("washer", "burr", 0)[0])


def test_the_command_refuses_a_folder_that_is_not_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gear").mkdir()
    (tmp_path / "gear" / "mine.txt").write_text("kept")
    assert main([str(tmp_path), "washer", "gear"]) == 2
    assert capsys.readouterr().err.splitlines() == [f"{tmp_path / 'gear'} is not an empty folder"]
    assert [path.name for path in tmp_path.rglob("*")] == ["gear", "mine.txt"]


def test_the_command_refuses_a_set_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "bolts"])
    assert stopped.value.code == 2
    assert not list(tmp_path.iterdir())
