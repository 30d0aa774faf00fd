"""Round parts: which way round they lie is read off what they show."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from edge.face import Face, face_of, facing, grey_of, turned_to
from edge.locate import Locate, find_part, part_in
from edge.preprocess import Preprocessing, prepared, preprocess

SIDE = 160
RADIUS = 48.0
FACE_SIDE = 101

angles = st.floats(-np.pi, np.pi)
places = st.tuples(st.floats(58, 102), st.floats(58, 102))


def lid(
    angle: float = 0.0, place: tuple[float, float] = (79.5, 79.5), scale: float = 1.0, bare: bool = False
) -> NDArray[np.uint8]:
    """A dark disc on a bright ground, with a milled rim, and unless `bare` with a key and a few dots on it, uint8
    [160 scale, 160 scale, 1]; lit from the left, whichever way it is turned."""
    side = round(SIDE * scale)
    y, x = (np.mgrid[:side, :side] + 0.5) / scale - 0.5
    x, y = x - place[0], y - place[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    reach = np.hypot(x, y)
    level = 60 + 20 * (np.cos(40 * np.arctan2(across, along)) > 0) * (reach > 0.85 * RADIUS)
    if not bare:
        level = level + 110 * ((np.abs(across) < 4) & (np.abs(along - 8) < 22))
        for u, v in ((-20, 18), (-26, -12), (10, -24)):
            level = level + 110 * (np.hypot(along - u, across - v) < 5)
    picture = np.where(reach < RADIUS, level * (1 - 0.2 * x / RADIUS), 205)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.8 * scale), 0, 255).astype(np.uint8)[:, :, None]


FACE = face_of(turned_to(grey_of(lid()), (79.5, 79.5, 0.0), FACE_SIDE))
LOCATE = Locate(overview=(SIDE, SIDE), area=(5000, 9000), centre=(0.0, 0.0), scale=1.0, turned=True, face=FACE)
SPEC = Preprocessing(height=128, width=128, colour="grey", locate=LOCATE)
UPRIGHT = preprocess(lid(), SPEC)


def off(angle: float, other: float) -> float:
    return abs((angle - other + np.pi) % (2 * np.pi) - np.pi)


@settings(max_examples=60)
@given(angles, places)
def test_the_face_says_where_a_round_part_lies_and_which_way_round(angle: float, place: tuple[float, float]) -> None:
    found = part_in(lid(angle, place), LOCATE)
    assert found is not None
    assert off(found.angle, angle) < np.deg2rad(1.5)
    assert np.hypot(found.x - place[0], found.y - place[1]) < 0.7
    view = preprocess(lid(angle, place), SPEC)
    assert np.abs(view.astype(int) - UPRIGHT).mean() < 8  # the light stays where it is


@settings(max_examples=25)
@given(angles, places, st.floats(0.8, 1.2), st.integers(-25, 25))
def test_light_does_not_turn_it(angle: float, place: tuple[float, float], gain: float, offset: int) -> None:
    lit = np.clip(lid(angle, place) * gain + offset, 0, 255).astype(np.uint8)
    assert np.abs(prepared(lit, SPEC).place - prepared(lid(angle, place), SPEC).place).max() < 1.0


def test_a_start_that_is_off_is_mended() -> None:
    picture = lid(2.0, (80.0, 76.0))
    x, y, angle = facing(picture, (84.0, 73.0), FACE)
    assert np.hypot(x - 80, y - 76) < 0.7 and off(angle, 2.0) < np.deg2rad(1.5)


def test_what_is_missing_or_added_does_not_turn_a_part() -> None:
    picture = lid(1.0)
    cv2.circle(picture, (100, 100), 9, (60,), -1)
    cv2.line(picture, (60, 60), (70, 110), (220,), 2)
    found = part_in(picture, LOCATE)
    assert found is not None and off(found.angle, 1.0) < np.deg2rad(1.5)


def test_a_part_without_its_face_stays_about_where_it_was_found() -> None:
    picture = lid(0.0, (70.0, 85.0), bare=True)
    found, plain = part_in(picture, LOCATE), find_part(picture)
    assert found is not None and plain is not None
    assert max(abs(found.x - plain.x), abs(found.y - plain.y)) < 0.5 * FACE_SIDE


def test_asking_twice_gives_the_same_answer() -> None:
    """The face is kept between frames, and nothing may be done to it; 100 is a size that needs no padding."""
    face = face_of(turned_to(grey_of(lid()), (79.5, 79.5, 0.0), 100))
    first, second = (facing(lid(0.7), (79.5, 79.5), face) for _ in range(2))
    assert first == second


def test_what_is_no_part_is_not_turned() -> None:
    small = cv2.resize(lid(), (40, 40))
    picture = np.full((SIDE, SIDE, 1), 205, np.uint8)
    picture[60:100, 60:100, 0] = small
    assert not prepared(picture, SPEC).has_part
    assert part_in(np.full((SIDE, SIDE, 1), 205, np.uint8), LOCATE) is None


def _png(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("no base64!", "not in base64"),
        ("", "not a square picture"),
        ("AAAA", "not a square picture"),
        (_png(np.zeros((32, 40), np.uint8)), "not a square picture"),
        (_png(np.zeros((32, 32, 3), np.uint8)), "not a square picture"),
        (_png(np.zeros((8, 8), np.uint8)), "16 to 1024"),
    ],
)
def test_a_face_that_is_none_is_refused(picture: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Face(picture=picture)


def test_a_face_survives_being_written() -> None:
    again = Preprocessing.model_validate_json(SPEC.model_dump_json())
    assert again == SPEC
    assert np.array_equal(preprocess(lid(0.4), again), preprocess(lid(0.4), SPEC))
