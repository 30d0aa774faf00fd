"""Images in memory: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge.errors import InputError, UsageError
from edge.images import read_image, write_png
from edge.preprocess import Preprocessing, preprocess
from train.augmentation import augmented, kinds_of
from train.data import MARKED_SHARE, MARKED_TIMES, Frames, colour_of, load_known, read_parts, refuse_overlap, shown_more
from train.noise import Noise

SPEC = Preprocessing(height=32, width=32, colour="grey")


def picture(seed: int, height: int = 40, width: int = 40, channels: int = 1) -> NDArray[np.uint8]:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return image[:, :, 0] if channels == 1 else image


def folder_of(root: Path, count: int) -> list[Path]:
    paths = [root / f"{n}.png" for n in range(count)]
    for n, path in enumerate(paths):
        write_png(path, picture(n))
    return paths


def test_frames_are_what_preprocess_makes_cached_or_not(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 5)
    expected = np.stack([preprocess(read_image(p), SPEC) for p in paths])
    for limit in (10**9, 2 * 32 * 32, 0):
        frames = Frames(paths, SPEC, limit=limit)
        assert np.array_equal(frames.take([4, 0, 1]).numpy(), expected[[4, 0, 1]])


def test_mixed_sizes_are_said_with_counts(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 3)
    write_png(tmp_path / "wide.png", picture(9, 48, 64))
    note = Frames([*paths, tmp_path / "wide.png"], SPEC).size_note()
    assert note == "3 of 40x40, 1 of 64x48 -> 32x32 grey"


def test_unreadable_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 4)
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    paths[2].write_bytes(b"")
    with pytest.raises(InputError, match=r"2 of 4 images cannot be used.*1\.png") as error:
        Frames(paths, SPEC)
    assert "\n" not in str(error.value)


def test_images_without_contrast_are_refused(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 2)
    write_png(paths[1], np.full((40, 40), 77, np.uint8))
    with pytest.raises(InputError, match=r"1 of 2 images have no contrast.*1\.png"):
        Frames(paths, SPEC)


def test_marked_pictures_come_up_more_often_and_never_too_often() -> None:
    few = shown_more([False] * 400 + [True] * 3)
    assert few.count(0) == 1 and few.count(400) == MARKED_TIMES
    many = shown_more([True] * 100 + [False] * 400)
    assert many.count(0) == 1 and len(many) == 500
    some = shown_more([True] * 20 + [False] * 400)
    assert 20 * some.count(0) / len(some) == pytest.approx(MARKED_SHARE, abs=0.02)
    assert shown_more([False] * 3) == [0, 1, 2]


def test_training_repeats_what_was_marked_and_held_out_pictures_follow(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 6)
    marked = tmp_path / "marked-line4-A1-0.png"
    write_png(marked, picture(9))
    training, held_out, _ = read_parts([*paths[:4], marked], paths[4:], SPEC)
    assert len(training) == 4 + 1 and len(held_out) == 2
    assert np.array_equal(training.take([4])[0].numpy(), preprocess(read_image(marked), SPEC))
    assert np.array_equal(held_out.take([1])[0].numpy(), preprocess(read_image(paths[5]), SPEC))


def test_colour_is_found_by_looking(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 2)
    assert colour_of(paths) == "grey"
    write_png(tmp_path / "grey3.png", cv2.cvtColor(picture(1), cv2.COLOR_GRAY2BGR).astype(np.uint8))
    assert colour_of([tmp_path / "grey3.png"]) == "grey"
    write_png(tmp_path / "colour.png", picture(1, channels=3))
    assert colour_of([*paths, tmp_path / "colour.png"]) == "bgr"


def test_known_anomalies_with_and_without_masks(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture(1))
    write_png(tmp_path / "scratch" / "b.png", picture(2))
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 255
    write_png(tmp_path / "ground_truth" / "scratch" / "b_mask.png", mask)
    known = load_known(tmp_path, SPEC)
    assert [p.name for p in known.paths] == ["a.png", "b.png"] and known.marked == 1
    assert torch.equal(known.masks[0], torch.full((32, 32), 255, dtype=torch.uint8))
    assert known.masks[1].float().mean() == 0.5


def test_bad_known_anomalies(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        load_known(tmp_path / "none", SPEC)
    with pytest.raises(InputError, match="no images"):
        load_known(tmp_path, SPEC)
    write_png(tmp_path / "a.png", picture(1))
    write_png(tmp_path / "masks" / "a.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(InputError, match="mask 10x10, image 40x40"):
        load_known(tmp_path, SPEC)


def test_overlap_is_found_by_content(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture(1))
    write_png(tmp_path / "other.png", picture(1))
    write_png(tmp_path / "b.png", picture(2))
    with pytest.raises(InputError, match="1 of 1 known anomalies are also test images"):
        refuse_overlap([tmp_path / "a.png"], [tmp_path / "b.png", tmp_path / "other.png"], "test images")
    refuse_overlap([tmp_path / "a.png"], [tmp_path / "b.png"], "test images")


def test_augmentation_is_per_image_and_repeatable() -> None:
    frames = torch.randint(0, 256, (16, 8, 8, 1), dtype=torch.uint8)
    flipped = augmented(frames, ("hflip",), Noise(1))
    kinds = {bool(torch.equal(f, o)) for f, o in zip(flipped, frames, strict=True)}
    assert kinds == {True, False}
    assert torch.equal(flipped, augmented(frames, ("hflip",), Noise(1)))
    assert augmented(frames, ("vflip", "brightness"), Noise(2)).dtype == torch.uint8
    assert kinds_of(" hflip, vflip") == ("hflip", "vflip")
    with pytest.raises(UsageError, match="no augmentation twist"):
        kinds_of("twist")


def test_noise_is_the_same_however_many_processes_share_it() -> None:
    whole = Noise(7)
    parts = [Noise(7, rank, 2) for rank in (0, 1)]
    for draw in (lambda n, k: n.normal(k, 3), lambda n, k: n.uniform(k), lambda n, k: n.integers(5, k, 2)):
        assert torch.equal(draw(whole, 6), torch.cat([draw(part, 3) for part in parts]))
