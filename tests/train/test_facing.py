"""Round parts that lie any way round are turned alike; those that show nothing, or lie alike anyway, are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.face import grey_of, turned_to
from edge.images import read_image
from edge.locate import find_part
from edge.preprocess import Preprocessing, prepared
from tests.edge.test_face import FACE_SIDE, SIDE, lid, off
from train.facing import agreement as face_agreement
from train.facing import face_shown
from train.locating import agreement, located

PLAIN = Preprocessing(height=96, width=96, colour="grey")
Drawn = Callable[[np.random.Generator], NDArray[np.uint8]]


def anyhow(random: np.random.Generator) -> NDArray[np.uint8]:
    return lid(random.uniform(-np.pi, np.pi), tuple(random.uniform(66, 94, 2)))


def in_a_fixture(random: np.random.Generator) -> NDArray[np.uint8]:
    return lid(random.normal(0, 0.01), tuple(random.normal(79.5, 0.5, 2)))


def plain(random: np.random.Generator) -> NDArray[np.uint8]:
    picture = np.full((SIDE, SIDE), 205, np.uint8)
    cv2.circle(picture, tuple(random.integers(66, 94, 2).tolist()), 48, 60, -1, cv2.LINE_AA)
    return picture[:, :, None]


def pictures_of(drawn: Drawn, folder: Path, count: int = 16) -> list[Path]:
    random, paths = np.random.default_rng(5), [folder / f"{number:03}.png" for number in range(count)]
    for path in paths:
        noisy = drawn(random) + random.normal(0, 3, (SIDE, SIDE, 1))
        cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
    return paths


def test_lids_that_lie_anyhow_are_turned_by_what_they_show(tmp_path: Path) -> None:
    paths = pictures_of(anyhow, tmp_path)
    assert (without := located(PLAIN, paths, 32)[0]) is None or without.locate is None or without.locate.face is None
    spec, why = located(PLAIN, paths, 32, by_face=True)
    assert spec is not None and spec.locate is not None and spec.locate.face is not None and spec.locate.turned, why
    assert "turned alike" in why
    assert agreement([prepared(read_image(path), spec).frame for path in paths]) > 0.98


@pytest.mark.parametrize("drawn", [in_a_fixture, plain])
def test_lids_that_show_nothing_or_lie_alike_are_not(drawn: Drawn, tmp_path: Path) -> None:
    spec, why = located(PLAIN, pictures_of(drawn, tmp_path), 32, by_face=True)
    assert spec is None and "turned alike" in why


def test_the_first_part_says_which_way_is_up_and_the_face_lies_in_the_middle() -> None:
    random = np.random.default_rng(1)
    turns = [0.4, *random.uniform(-np.pi, np.pi, 11)]
    views = [lid(turn, tuple(random.uniform(66, 94, 2))) for turn in turns]
    parts = [part for part in map(find_part, views) if part is not None]
    shown = face_shown(views, parts)
    assert shown.helps and shown.after > 0.9
    assert all(off(part.angle, turn - 0.4) < np.deg2rad(2) for part, turn in zip(shown.parts, turns, strict=True))
    moved = [
        (there.x - part.middle[0], there.y - part.middle[1]) for there, part in zip(shown.parts, parts, strict=True)
    ]
    assert np.abs(np.mean(moved, 0)).max() < 0.5


def test_agreement_is_high_for_pictures_that_lie_alike_only() -> None:
    random = np.random.default_rng(3)
    alike = [turned_to(grey_of(lid(0.0)), (79.5, 79.5, 0.0), FACE_SIDE) for _ in range(6)]
    turned = [turned_to(grey_of(lid(float(a))), (79.5, 79.5, 0.0), FACE_SIDE) for a in random.uniform(0, 6.3, 6)]
    assert face_agreement(np.stack(alike)) > 0.99 and face_agreement(np.stack(turned)) < 0.5
