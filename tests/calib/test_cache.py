"""The calibration cache is TensorRT's own text format, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.cache import cache_text, parse_cache, version_number
from edge.errors import InputError


def test_known_values_come_out_as_tensorrt_writes_them() -> None:
    text = cache_text({"sigmoid": 1.0 / 127.0, "input_1:0": 2.0 / 127.0}, (8, 5, 1))
    assert text == "TRT-8501-EntropyCalibration2\nsigmoid: 3c010204\ninput_1:0: 3c810204\n"


@pytest.mark.parametrize(("version", "number"), [((8, 6, 2), 8602), ((8, 2, 1), 8201), ((10, 3, 0), 100300)])
def test_version_is_written_as_its_release_counts(version: tuple[int, int, int], number: int) -> None:
    assert version_number(version) == number


def test_a_cache_that_tensorrt_wrote_is_read() -> None:
    head, scales = parse_cache(
        "TRT-8602-EntropyCalibration2\ndata: 3c008912\n(Unnamed Layer* 48) [Constant]_output: 3f800000\n"
    )
    assert head == "TRT-8602-EntropyCalibration2"
    assert scales["data"] == pytest.approx(0.0078451801)
    assert scales["(Unnamed Layer* 48) [Constant]_output"] == 1.0


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=30)


@given(st.dictionaries(names, st.floats(2.0**-90, 2.0**90, width=32)))
def test_what_is_written_is_read_back(scales: dict[str, float]) -> None:
    assert parse_cache(cache_text(scales))[1] == {n: float(np.float32(s)) for n, s in scales.items()}


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", "TRT-8602-EntropyCalibration2\nno hex here\n", "TRT-1-A\na: 3c01020g\n"]
)
def test_damage_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_cache(text)


def test_a_name_with_a_line_break_is_refused() -> None:
    with pytest.raises(InputError):
        cache_text({"a\nb": 1.0})
