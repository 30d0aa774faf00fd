"""The frames asked for are the frames used, or there is an error that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.frames import Frames, choose_frames, require_familiar
from edge.errors import InputError
from edge.images import read_image, write_png
from edge.manifest import ImageStatistics
from edge.preprocess import Preprocessing, Region, preprocess
from tests.calib.making import SPEC, write_images


def test_held_out_and_calibration_frames_never_meet(data: Path) -> None:
    chosen = choose_frames(data, 20)
    assert (chosen.asked, len(chosen.calibration), len(chosen.held_out)) == (20, 20, 12)
    assert not set(chosen.calibration) & set(chosen.held_out)
    assert len(set(chosen.calibration)) == 20
    assert (len(chosen.test), sum(chosen.labels)) == (30, 15)


def test_the_choice_is_the_same_every_time_and_spread_out(data: Path) -> None:
    first, again = choose_frames(data, 10), choose_frames(data, 10)
    assert first == again
    names = [int(p.stem) for p in first.calibration]
    assert names == sorted(names)
    assert names[-1] - names[0] > 40


def test_without_a_number_all_that_there_are_are_used(data: Path) -> None:
    assert len(choose_frames(data, None).calibration) == 48
    assert len(choose_frames(data, None, use_all=True).calibration) == 48


def test_fewer_than_asked_is_an_error_that_counts_them(data: Path) -> None:
    with pytest.raises(InputError, match="48 besides the 12 held out"):
        choose_frames(data, 49)


def test_a_plain_folder_has_no_labels(tmp_path: Path) -> None:
    write_images(tmp_path, 5)
    chosen = choose_frames(tmp_path, None)
    assert (chosen.test, chosen.labels) == ((), ())


@pytest.mark.parametrize("images", [0, 1])
def test_a_folder_with_too_few_images_is_refused(tmp_path: Path, images: int) -> None:
    write_images(tmp_path, images)
    with pytest.raises(InputError):
        choose_frames(tmp_path, None)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, 4)
    (tmp_path / "0002.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0002\.png"):
        list(Frames(sorted(tmp_path.iterdir()), SPEC))


def test_an_image_outside_the_region_of_interest_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    write_png(tmp_path / "small.png", np.zeros((8, 8), np.uint8))
    spec = Preprocessing(height=16, width=16, colour="grey", region=Region(x=0, y=0, width=20, height=20))
    with pytest.raises(InputError, match=r"small\.png"):
        list(Frames(sorted(tmp_path.iterdir()), spec))


@pytest.mark.parametrize("kept_bytes", [0, 3 * 32 * 32, 1 << 20])
def test_frames_are_what_the_device_sees_whether_kept_or_read_again(data: Path, kept_bytes: int) -> None:
    paths = choose_frames(data, 6).calibration
    frames = Frames(paths, SPEC, kept_bytes)
    for _ in range(2):
        for path, frame in zip(paths, frames, strict=True):
            assert np.array_equal(frame, preprocess(read_image(path), SPEC))


def test_pictures_of_something_else_are_refused(tmp_path: Path) -> None:
    for index in range(3):
        write_png(tmp_path / f"{index}.png", np.full((40, 48), 250, np.uint8))
    known = ImageStatistics(brightness=(100.0, 120.0, 140.0), contrast=(1, 2, 3), sharpness=(1, 2, 3))
    frames = Frames(sorted(tmp_path.iterdir()), SPEC)
    with pytest.raises(InputError, match="brightness is 250"):
        require_familiar(frames, known, tmp_path)
    require_familiar(frames, known.model_copy(update={"brightness": (200.0, 220.0, 240.0)}), tmp_path)
