from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.dataset import fingerprint, list_dataset, split_validation
from edge.errors import InputError
from edge.images import write_png


def _image(path: Path) -> Path:
    write_png(path, np.zeros((16, 16), np.uint8))
    return path


def test_mvtec_layout_pairs_each_defect_with_its_mask(tmp_path: Path) -> None:
    for name in ("train/good/a.png", "train/good/b.png", "test/good/c.png", "test/crack/d.png", "test/crack/e.png"):
        _image(tmp_path / name)
    mask = _image(tmp_path / "ground_truth/crack/d_mask.png")
    data = list_dataset(tmp_path)
    assert [p.name for p in data.train_normal] == ["a.png", "b.png"]
    assert [p.name for p in data.test_normal] == ["c.png"]
    assert data.masks == {tmp_path / "test/crack/d.png": mask}
    assert len(data.test_anomalous) == 2


def test_plain_folder_is_all_normal(tmp_path: Path) -> None:
    _image(tmp_path / "a.png")
    assert list_dataset(tmp_path).train_normal == (tmp_path / "a.png",)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        list_dataset(tmp_path)


@given(st.integers(2, 400), st.floats(0.01, 0.9), st.integers(1, 9))
def test_split_is_a_partition_with_both_sides(count: int, fraction: float, blocks: int) -> None:
    paths = [Path(f"{i:04}.png") for i in range(count)]
    train, validation = split_validation(paths, fraction, blocks)
    assert sorted(train + validation) == paths
    assert train and validation


def test_validation_is_made_of_contiguous_runs() -> None:
    paths = [Path(f"{i:04}.png") for i in range(100)]
    _, validation = split_validation(paths, 0.2, 5)
    runs = sum(int(b.stem) - int(a.stem) != 1 for a, b in itertools.pairwise(validation)) + 1
    assert (len(validation), runs) == (20, 5)


@given(st.lists(st.integers(1, 25), min_size=2, max_size=60), st.floats(0.05, 0.5))
def test_every_split_of_parts_with_many_views_has_both_sides(views: list[int], fraction: float) -> None:
    paths = [Path(f"g{part:03}_exp{view}.png") for part, count in enumerate(views) for view in range(count)]
    train, validation = split_validation(paths, fraction)
    assert sorted(train + validation) == sorted(paths) and train and validation


def test_no_part_is_on_both_sides_where_names_begin_with_the_part() -> None:
    views = np.random.default_rng(0).integers(3, 13, 60)
    paths = [Path(f"g{part:03}_exp{view}_{view * 7}.png") for part, count in enumerate(views) for view in range(count)]
    train, validation = split_validation(paths)
    assert not {p.name[:4] for p in train} & {p.name[:4] for p in validation}
    assert 0.1 < len(validation) / len(paths) < 0.3


def test_pictures_that_an_operator_marked_always_train() -> None:
    ordinary, marked = [Path(f"{i:03}.png") for i in range(50)], [Path(f"marked-line4-A{i}-0.png") for i in range(20)]
    train, validation = split_validation([*marked, *ordinary])
    assert validation == split_validation(ordinary)[1]
    assert set(train) == {*marked, *ordinary} - set(validation)


def test_fingerprint_changes_with_a_byte(tmp_path: Path) -> None:
    path = _image(tmp_path / "a.png")
    before = fingerprint(tmp_path, [path])
    write_png(path, np.ones((16, 16), np.uint8))
    assert fingerprint(tmp_path, [path]) != before
