"""Synthetic anomalies and normal variation: what they promise about pixels and masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from train.augment import contents, hard, shapes
from train.augment.hard import CONTENTS, KINDS, SHAPES, with_defects
from train.augment.normal import COMPRESSED, Light, compressed, drawn_light, moved, relit
from train.augment.pieces import piece_at
from train.augment.regions import turned_and_swapped, with_regions
from train.augment.transplant import transplanted

SEEDS = st.integers(0, 2**31)


def part(size: tuple[int, int] = (96, 96), channels: int = 1) -> NDArray[np.float32]:
    """A bright disc with a stripe on a dark, slightly noisy ground."""
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None] - 0.5
    image = 60 + 120 * (x**2 + y**2 < 0.1) - 60 * ((abs(x) < 0.04) & (x**2 + y**2 < 0.1))
    noise = np.random.default_rng(0).normal(0, 2, size)
    return np.repeat((image + noise)[:, :, None], channels, 2).astype(np.float32).round()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([1, 3]), st.sampled_from([(64, 64), (64, 96)]))
def test_only_the_mask_and_its_rim_change(seed: int, channels: int, size: tuple[int, int]) -> None:
    image = part(size, channels)
    others = [image.astype(np.uint8)[::-1], image.astype(np.uint8)]
    found = with_defects(image, others, np.random.default_rng(seed))
    assert found.image.shape == image.shape and found.image.dtype == np.float32
    assert found.image.min() >= 0 and found.image.max() <= 255
    assert found.mask.min() >= 0 and found.mask.max() <= 1
    assert (found.mask[found.kind > 0] > 0.5).all() and found.kind.max(initial=0) <= KINDS
    near = cv2.dilate(np.abs(found.image - image).max(2), np.ones((5, 5)))
    assert not found.mask[near == 0].any()


def test_ungraded_a_pixel_is_either_a_defect_or_not() -> None:
    image, others = part(), [part().astype(np.uint8)]
    made = [with_defects(image, others, np.random.default_rng(seed), graded=False) for seed in range(40)]
    assert all(set(np.unique(m.mask)) <= {0.0, 1.0} and ((m.kind > 0) == (m.mask > 0)).all() for m in made)
    difference = np.stack([np.abs(m.image - image).max(2) for m in made])
    mask = np.stack([m.mask for m in made])
    assert difference[mask > 0].mean() > 5 * difference[mask == 0].mean()


def test_the_plainer_a_change_the_more_it_is_a_defect() -> None:
    image, others = part(), [part().astype(np.uint8)]
    made = [with_defects(image, others, np.random.default_rng(seed)) for seed in range(60)]
    difference = np.stack([np.abs(m.image - image).max(2) for m in made])
    mask = np.stack([m.mask for m in made])
    nothing, half, whole = (difference[chosen].mean() for chosen in (mask == 0, (mask > 0) & (mask < 1), mask == 1))
    assert nothing < half < whole
    assert (difference[mask == 0] > 3).any()  # faint changes are normal


def test_defects_repeat_with_the_seed_and_differ_without() -> None:
    image, others = part(), [part().astype(np.uint8)]
    first, again, other = (with_defects(image, others, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image) and not np.array_equal(first.image, other.image)


def test_nearly_every_try_makes_a_defect_mostly_on_the_part() -> None:
    image, others = part(), [part().astype(np.uint8)]
    made = [with_defects(image, others, np.random.default_rng(seed)).mask for seed in range(200)]
    assert sum(mask.any() for mask in made) >= 0.92 * len(made)
    where = np.mean(made, 0)
    disc = part()[:, :, 0] > 100
    assert where[disc].mean() > 1.5 * where[~disc].mean()


def test_a_flat_picture_is_no_trouble() -> None:
    flat = np.full((64, 64, 1), 128, np.float32)
    found = with_defects(flat, [flat.astype(np.uint8)], np.random.default_rng(0))
    assert np.isfinite(found.image).all()


@pytest.mark.parametrize("shape", [shape for shape, _ in SHAPES])
@pytest.mark.parametrize("size", [(4, 4), (5, 40), (64, 64)])
def test_shapes_fill_their_window_softly(shape: shapes.Shape, size: tuple[int, int]) -> None:
    masks = [shape(np.random.default_rng(seed), *size) for seed in range(20)]
    assert all(m.shape == size and m.dtype == np.float32 and 0 <= m.min() <= m.max() <= 1 for m in masks)
    assert any(m.any() for m in masks)


def test_every_content_is_drawn() -> None:
    stripes = 50 * np.sin(np.arange(96) / 4)[None, :, None] * np.cos(np.arange(96) / 7)[:, None, None]
    image = (part() + stripes).clip(0, 255).astype(np.float32)
    others = [image[::-1].astype(np.uint8)]
    kinds = {int(k) for s in range(400) for k in np.unique(with_defects(image, others, np.random.default_rng(s)).kind)}
    assert set(range(1, len(CONTENTS) + 1)) <= kinds


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(20, 75), st.integers(20, 75), st.sampled_from([1, 3]))
def test_a_piece_is_what_has_one_colour_there(seed: int, y: int, x: int, channels: int) -> None:
    image = np.full((96, 96, channels), 60, np.float32)
    cv2.circle(image, (x, y), 9, (200,) * channels, -1)
    random = np.random.default_rng(seed)
    found = piece_at(image, (y + 0.5, x + 0.5), 20.0, random)
    assert found is not None
    window, soft = found
    assert soft.shape == image[window].shape[:2] and 0 <= soft.min() <= soft.max() <= 1
    disc = cv2.dilate((image[window][:, :, 0] > 100).astype(np.uint8), np.ones((9, 9), np.uint8))
    assert not (soft[disc == 0] > 0.05).any(), "nothing but the piece and its blurred rim"


def test_pieces_are_whole_or_broken() -> None:
    image = np.full((96, 96, 1), 60, np.float32)
    cv2.circle(image, (48, 48), 9, (200.0,), -1)
    found = [piece_at(image, (48, 48), 20.0, np.random.default_rng(seed)) for seed in range(60)]
    covered = [float((one[1] * (image[one[0]][:, :, 0] > 100)).sum() / (image > 100).sum()) for one in found if one]
    assert len(covered) == 60 and 0.45 < np.mean(np.array(covered) > 0.9) < 0.8
    assert min(covered) < 0.5


@pytest.mark.parametrize(("channels", "looks"), [(1, False), (3, True)])
def test_only_colour_pictures_have_pieces(channels: int, looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[int, ...]] = []

    def looking(image: NDArray[np.float32], *rest: Any) -> Any:
        looked.append(image.shape)
        return piece_at(image, *rest)

    monkeypatch.setattr(hard, "piece_at", looking)
    image = part(channels=channels)
    for seed in range(30):
        with_defects(image, [image.astype(np.uint8)], np.random.default_rng(seed))
    assert bool(looked) == looks


def test_what_reaches_far_is_no_piece() -> None:
    image = np.full((96, 96, 1), 60, np.float32)
    cv2.circle(image, (48, 48), 9, (200.0,), -1)
    assert all(piece_at(image, (10, 10), 20.0, np.random.default_rng(seed)) is None for seed in range(20))


def test_in_colour_another_hue_is_a_defect() -> None:
    image = np.random.default_rng(0).uniform(80, 120, (32, 32, 3)).astype(np.float32)
    site = contents.Site(image, [image.astype(np.uint8)], 0, 0, 32, 32, 20.0)
    changed = [contents.light(site, np.random.default_rng(seed)) / image for seed in range(40)]
    even = [one for one in changed if float(one.std((0, 1)).max()) < 1e-4]
    assert 10 <= len(even) <= 30
    assert np.mean([float(np.ptp(one[0, 0])) > 0.1 for one in even]) > 0.6


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_regions_are_exact(seed: int) -> None:
    frame = part((48, 64), 3).astype(np.uint8)
    changed, attention = with_regions(frame, np.random.default_rng(seed))
    assert set(np.unique(attention)) == {0.0, 1.0}
    assert np.array_equal(changed[attention == 1], frame[attention == 1])


def test_the_whole_picture_is_never_left_as_it_was() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (32, 32, 1), np.uint8)
    for seed in range(100):
        changed = turned_and_swapped(frame, np.random.default_rng(seed))
        assert changed.shape == frame.shape and not np.array_equal(changed, frame)


def test_normal_variation_is_small_and_shared() -> None:
    image = part()
    shifts = [np.abs(moved(image, np.random.default_rng(seed)) - image).mean() for seed in range(20)]
    assert 0 < np.mean(shifts) < 0.25 * image.std()
    first, second = relit([image, image], np.random.default_rng(1))
    assert np.array_equal(first, second) and first.shape == image.shape
    assert not np.array_equal(first, image)


@given(st.integers(0, 2**31))
@example(222)
def test_a_known_defect_is_set_into_a_good_picture(seed: int) -> None:
    """Only inside the mask and its soft edge does the picture change, and there it looks like the defect."""
    random = np.random.default_rng(seed)
    good = random.normal(150, 3, (64, 96, 1)).clip(0, 255).astype(np.float32)
    known = random.normal(90, 3, (64, 96, 1)).clip(0, 255).astype(np.uint8)  # a darker part, with a darker spot
    marks = np.zeros((64, 96), bool)
    marks[20:32, 40:50] = True
    known[marks] = 30
    found = transplanted(good, known, marks, random)
    assert found is not None and found.mask.any() and set(np.unique(found.mask)) <= {0.0, 1.0}
    far = cv2.dilate(found.mask, np.ones((17, 17))) == 0
    assert (found.image[far] == good[far]).all()
    core = cv2.erode(found.mask, np.ones((5, 5))) > 0
    if core.any():  # 60 grey levels below what is around it, as it was
        assert abs(found.image[core].mean() - (150 - 60)) < 12
    assert found.image.min() >= 0 and found.image.max() <= 255 and not found.kind.any()


def test_what_is_too_large_or_unmarked_is_not_transplanted() -> None:
    good, known = np.full((64, 64, 3), 100, np.float32), np.full((64, 64, 3), 50, np.uint8)
    marks = np.zeros((64, 64), bool)
    assert transplanted(good, known, marks, np.random.default_rng(0)) is None
    marks[4:60, 4:60] = True
    assert transplanted(good, known, marks, np.random.default_rng(0)) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_the_worse_the_quality_the_further_a_compressed_picture_is_off(channels: int) -> None:
    image = part(channels=channels)
    made = [compressed(image, quality) for quality in (95, 70, 30)]
    assert all(m.shape == image.shape and m.dtype == np.float32 and 0 <= m.min() <= m.max() <= 255 for m in made)
    fine, middle, coarse = (float(np.abs(m - image).mean()) for m in made)
    assert 0 < fine < middle < coarse < 10


def test_light_compresses_last_and_only_where_it_is_asked_to() -> None:
    image, random = part(channels=3), np.random.default_rng(0)
    light = {q: Light(np.ones((*image.shape[:2], 1), np.float32), 1.0, 0.0, 0.0, 0.0, q) for q in (0, 50)}
    plain, once = (light[q].on([image], random)[0] for q in (0, 50))
    assert np.array_equal(once, compressed(plain, 50)) and not np.array_equal(once, plain)
    window = light[50].on([image], random, (slice(16, 48), slice(32, 96)))[0]
    assert window.shape == (32, 64, 3)
    qualities = np.array([drawn_light((64, 64), np.random.default_rng(seed)).quality for seed in range(400)])
    assert abs((qualities > 0).mean() - COMPRESSED) < 0.08 and qualities[qualities > 0].min() >= 30
