from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.preprocess import Preprocessing, Region, preprocess

images = st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from([None, 1, 3]))


@given(images, st.sampled_from(["grey", "bgr"]), st.integers(16, 64), st.integers(16, 64))
def test_any_picture_becomes_the_declared_shape(size, colour: str, height: int, width: int) -> None:
    shape = size[:2] if size[2] is None else size
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    spec = Preprocessing(height=height, width=width, colour=colour)
    out = preprocess(image, spec)
    assert out.shape == (height, width, spec.channels)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous


def test_scale_does_not_depend_on_pixel_values() -> None:
    """A nearly black picture stays nearly black: nothing is stretched by what the pixels happen to be."""
    spec = Preprocessing(height=16, width=16, colour="grey")
    assert preprocess(np.ones((32, 32), np.uint8), spec).max() == 1


def test_region_is_cut_in_source_pixels() -> None:
    image = np.zeros((40, 60), np.uint8)
    image[10:26, 20:36] = 200
    region = Region(x=20, y=10, width=16, height=16)
    out = preprocess(image, Preprocessing(height=16, width=16, colour="grey", region=region))
    assert (out == 200).all()


def test_region_outside_the_picture_is_refused() -> None:
    region = Region(x=50, y=0, width=16, height=16)
    with pytest.raises(InputError, match="outside the picture"):
        preprocess(np.zeros((40, 60), np.uint8), Preprocessing(height=16, width=16, colour="grey", region=region))


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.float32), np.zeros((8, 8, 4), np.uint8), np.zeros(0, np.uint8)])
def test_other_arrays_are_refused(bad) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        preprocess(bad, Preprocessing(height=16, width=16, colour="grey"))
