"""Parts that lie anywhere: found, laid straight, and where they are not to be found, nothing is made up."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from edge.locate import Locate, cells_of, enlarged, find_part, laid_back, view_of
from edge.preprocess import Preprocessing, Region, prepared, preprocess, same_view

SIDE = 160
LOCATE = Locate(overview=(SIDE, SIDE), area=(300, 4000), centre=(8.0, 0.0), scale=1.2, turned=True)
SPEC = Preprocessing(height=64, width=128, colour="grey", locate=LOCATE)

angles = st.floats(-np.pi, np.pi)
places = st.tuples(st.floats(62, 98), st.floats(62, 98))


def tack(angle: float, place: tuple[float, float], scale: float = 1.0, ground: int = 190) -> NDArray[np.uint8]:
    """A part like a nail with a broad head, uint8 [160 scale, 160 scale, 1]; `place` is the middle of its shaft."""
    along = np.array([[-40, -14], [-40, 14], [-28, 14], [-28, 5], [40, 5], [40, -5], [-28, -5], [-28, -14]], np.float64)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((along @ turn.T + place + 0.5) * scale - 0.5) * 16
    side = round(SIDE * scale)
    picture = np.full((side, side), ground, np.uint8)
    cv2.fillPoly(picture, [np.round(points).astype(np.int32)], 70, cv2.LINE_AA, 4)
    return picture[:, :, None]


UPRIGHT = preprocess(tack(0.0, (80.0, 80.0)), SPEC)


@given(angles, places)
def test_a_part_looks_alike_wherever_and_however_it_lies(angle: float, place: tuple[float, float]) -> None:
    view = preprocess(tack(angle, place), SPEC)
    assert view.shape == (64, 128, 1) and view.flags.c_contiguous
    assert np.abs(view.astype(int) - UPRIGHT).mean() < 3
    shifts = np.abs(np.diff(np.flatnonzero((UPRIGHT[:, :, 0] < 130).any(0)))).max()
    assert shifts == 1  # it is one piece
    head = (view[:, :64, 0] < 130).sum()
    assert head > (view[:, 64:, 0] < 130).sum(), "the broad end lies on the left"


@given(angles, places, st.floats(0.8, 1.25), st.integers(-25, 25))
def test_light_does_not_move_the_view(angle: float, place: tuple[float, float], gain: float, offset: int) -> None:
    picture = tack(angle, place)
    other = np.clip(picture * gain + offset, 0, 255).astype(np.uint8)
    assert np.abs(prepared(picture, SPEC).place - prepared(other, SPEC).place).max() < 1.0


@given(angles, places, st.sampled_from([2.0, 3.5]))
def test_a_sharper_camera_sees_the_same(angle: float, place: tuple[float, float], scale: float) -> None:
    large = preprocess(tack(angle, place, scale), SPEC)
    assert np.abs(large.astype(int) - preprocess(tack(angle, place), SPEC)).mean() < 4


@given(angles, places)
def test_place_says_where_the_view_lies(angle: float, place: tuple[float, float]) -> None:
    """A mask laid into the view and back again is the mask; so is a heat map in coarser cells."""
    picture = tack(angle, place)
    mask = np.where(picture < 130, 255, 0).astype(np.uint8)
    ready = prepared(picture, SPEC)
    view = same_view(mask, picture, SPEC)
    assert view.shape == (64, 128)
    assert ((view > 127) == (ready.frame[:, :, 0] < 130)).mean() > 0.98
    back = laid_back(view.astype(np.float32), ready.place, (SIDE, SIDE))
    assert ((back > 127) == (mask[:, :, 0] > 0)).mean() > 0.99
    cells = cv2.resize(view, (32, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
    coarse = laid_back(cells, cells_of(ready.place, (64, 128), (16, 32)), (SIDE, SIDE))
    assert ((coarse > 127) == (mask[:, :, 0] > 0)).mean() > 0.95


def test_the_region_is_where_the_part_is_looked_for() -> None:
    picture = np.full((300, 400, 1), 20, np.uint8)  # outside the region another background, which must not count
    picture[100:260, 200:360] = tack(1.0, (75.0, 82.0))
    spec = SPEC.model_copy(update={"region": Region(x=200, y=100, width=SIDE, height=SIDE)})
    inside, alone = prepared(picture, spec), prepared(tack(1.0, (75.0, 82.0)), SPEC)
    assert (inside.frame == alone.frame).all() and (inside.overview == alone.overview).all()
    assert np.allclose(inside.place - alone.place, [[0, 0, 200], [0, 0, 100]])
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[100:260, 200:360] = 255
    assert (same_view(mask, picture, spec) > 127).mean() > 0.99


@pytest.mark.parametrize(
    "picture",
    [
        np.full((SIDE, SIDE, 1), 190, np.uint8),  # no part
        tack(0.3, (80.0, 80.0), ground=74),  # hardly one
        np.full((SIDE, SIDE, 1), 0, np.uint8),
        cv2.circle(np.full((SIDE, SIDE, 1), 190, np.uint8), (40, 40), 6, 60, -1),  # too small to be it
        np.minimum(tack(0.1, (80.0, 50.0)), tack(0.2, (80.0, 110.0))),  # two
        np.where((np.arange(SIDE) // 8 == 10)[None, :, None], np.uint8(190), tack(0.0, (80.0, 80.0))),  # broken in two
    ],
)
def test_without_a_part_the_view_is_the_middle(picture: NDArray[np.uint8]) -> None:
    """A missing part must look like nothing a good part ever looked like, not like a part made out of noise."""
    ready = prepared(picture, SPEC)
    middle = view_of(None, LOCATE, (64, 128))
    assert np.allclose(ready.place, middle) and not ready.has_part
    assert set(np.unique(ready.frame)) == {0, 255} and abs(ready.frame.mean() - 127.5) < 1
    assert np.allclose(middle @ [63.5, 31.5, 1], [79.5, 79.5])


def test_noise_is_no_part() -> None:
    noise = np.random.default_rng(0).normal(190, 3, (SIDE, SIDE, 1)).clip(0, 255).astype(np.uint8)
    assert np.allclose(prepared(noise, SPEC).place, view_of(None, LOCATE, (64, 128)))


@given(angles, places)
def test_round_parts_are_moved_but_not_turned(angle: float, place: tuple[float, float]) -> None:
    spec = SPEC.model_copy(update={"locate": LOCATE.model_copy(update={"turned": False})})
    turn = prepared(tack(angle, place), spec).place[:, :2]
    assert np.allclose(turn, np.eye(2) / LOCATE.scale)


def test_a_soft_shadow_is_not_the_part() -> None:
    picture = tack(0.0, (80.0, 80.0)).astype(np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    shadow = 45 * np.exp(-(((rows - 100) / 25) ** 2 + ((columns - 80) / 60) ** 2))
    shaded = np.clip(picture[:, :, 0] - shadow * (picture[:, :, 0] > 130), 0, 255).astype(np.uint8)[:, :, None]
    clean, found = find_part(picture.astype(np.uint8)), find_part(shaded)
    assert clean is not None and found is not None
    assert abs(found.area / clean.area - 1) < 0.25
    assert abs(np.sin(found.angle - clean.angle)) < 0.1


def test_a_part_at_the_border_is_cut() -> None:
    whole, cut = find_part(tack(0.0, (80.0, 80.0))), find_part(tack(0.0, (130.0, 80.0)))
    assert whole is not None and not whole.is_cut
    assert cut is not None and cut.is_cut


def test_pixels_are_little_squares() -> None:
    """Twice as large a picture: pixel 0's middle lies between pixels 0 and 1."""
    assert np.allclose(enlarged(np.eye(2, 3), 2, 2) @ [0, 0, 1], [0.5, 0.5])


@pytest.mark.parametrize(
    "wrong", [{"overview": (0, 10)}, {"area": (0, 10)}, {"scale": 0}, {"scale": float("nan")}, {"speed": 1}]
)
def test_damaged_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Locate.model_validate({**LOCATE.model_dump(), **wrong})
