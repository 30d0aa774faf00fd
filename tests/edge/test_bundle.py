from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import MANIFEST, array_bytes, open_bundle, write_bundle, write_raw_bundle
from edge.errors import CheckFailed, EdgeError, InputError
from edge.manifest import (
    DataFingerprint,
    Golden,
    ImageStatistics,
    Manifest,
    ModelInfo,
    ScoreStatistics,
    Threshold,
    Variant,
)
from edge.preprocess import Preprocessing

MEMBERS = {"fp32.onnx": b"graph", "golden/frames.npy": array_bytes(np.zeros((1, 16, 16, 1), np.uint8))}


def manifest() -> Manifest:
    golden = Golden(score="golden/s.npy", masked_error="golden/m.npy", heatmap="golden/h.npy", relative_tolerance=1e-4)
    threshold = Threshold(value=1.0, false_alarm_rate=0.01, rate_interval=(0.0, 0.1), frames=10, fit="empirical")
    fp32 = Variant(
        precision="fp32",
        dialect="plain",
        graph="fp32.onnx",
        threshold=threshold,
        normal_scores=ScoreStatistics(mean=0.5, std=0.1, quantiles=(0.5,) * 9),
        golden=golden,
    )
    return Manifest(
        name="bolt",
        created_at="2026-01-01T00:00:00Z",
        tool_version="0",
        model=ModelInfo(method="sagan", parameters=1, config={"width": 4}),
        preprocessing=Preprocessing(height=16, width=16, colour="grey"),
        training_data=DataFingerprint(name="bolts", frames=1, sha256="0" * 64),
        normal_images=ImageStatistics(brightness=(1, 2, 3), contrast=(1, 2, 3), sharpness=(1, 2, 3)),
        heatmap_shape=(16, 16),
        opset=17,
        golden_frames="golden/frames.npy",
        variants={"fp32": fp32},
    )


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bolt.edge", manifest(), MEMBERS).path


def test_what_is_written_is_read_back(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    assert bundle.read_all() == MEMBERS
    assert bundle.read_array("golden/frames.npy").shape == (1, 16, 16, 1)
    assert bundle.manifest.variants["fp32"].threshold.value == 1.0
    assert bundle.signature is None


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, bundle_path: Path) -> None:
    again = write_bundle(tmp_path / "again.edge", manifest(), MEMBERS)
    assert again.path.read_bytes() == bundle_path.read_bytes()


@settings(max_examples=60)
@given(st.data())
def test_an_altered_byte_never_goes_unnoticed(tmp_path_factory, data) -> None:
    """Either the bundle is refused, or everything that it then gives is what was written."""
    path = write_bundle(tmp_path_factory.mktemp("b") / "a.edge", manifest(), MEMBERS).path
    raw = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    try:
        assert open_bundle(path).read_all() == MEMBERS
    except EdgeError as error:
        assert str(error)


@settings(max_examples=30)
@given(st.floats(0, 0.999))
def test_a_truncated_bundle_is_refused(tmp_path_factory, fraction: float) -> None:
    path = write_bundle(tmp_path_factory.mktemp("b") / "a.edge", manifest(), MEMBERS).path
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * fraction)])
    with pytest.raises(InputError, match="not a whole bundle"):
        open_bundle(path)


def test_a_member_that_the_manifest_does_not_list_is_refused(bundle_path: Path) -> None:
    with zipfile.ZipFile(bundle_path, "a") as archive:
        archive.writestr("extra.bin", b"")
    with pytest.raises(CheckFailed, match=r"extra\.bin"):
        open_bundle(bundle_path)


def test_an_altered_member_is_named(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    write_raw_bundle(bundle_path, bundle.manifest_bytes, {**MEMBERS, "fp32.onnx": b"GRAPH"}, None)
    with pytest.raises(CheckFailed, match=r"fp32.onnx was altered"):
        open_bundle(bundle_path).read("fp32.onnx")


def test_another_schema_says_which_is_expected(bundle_path: Path) -> None:
    raw = open_bundle(bundle_path).manifest_bytes.replace(b'"schema_version": 1', b'"schema_version": 2')
    write_raw_bundle(bundle_path, raw, MEMBERS, None)
    with pytest.raises(InputError, match="schema 2: this version reads schema 1"):
        open_bundle(bundle_path)


def test_unknown_manifest_keys_are_refused(bundle_path: Path) -> None:
    raw = open_bundle(bundle_path).manifest_bytes.replace(b'"opset"', b'"opsets"')
    write_raw_bundle(bundle_path, raw, MEMBERS, None)
    with pytest.raises(InputError, match="opset"):
        open_bundle(bundle_path)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "a b"])
def test_unsafe_member_names_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.edge"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"")
        archive.writestr(MANIFEST, b"{}")
    with pytest.raises(InputError, match="refused"):
        open_bundle(path)


def test_links_and_compressed_members_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    bomb = zipfile.ZipInfo("bomb")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    for info, data in ((link, b"/etc/passwd"), (bomb, b"0" * 10_000_000)):
        path = tmp_path / f"{info.filename}.edge"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(info, data)
            archive.writestr(MANIFEST, b"{}")
        with pytest.raises(InputError, match="refused"):
            open_bundle(path)


def test_an_oversized_manifest_is_refused_unread(tmp_path: Path) -> None:
    write_raw_bundle(tmp_path / "a.edge", b" " * (5 << 20), {}, None)
    with pytest.raises(InputError, match="too large"):
        open_bundle(tmp_path / "a.edge")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    members = {**MEMBERS, "golden/frames.npy": buffer.getvalue()}
    bundle = write_bundle(tmp_path / "a.edge", manifest(), members)
    with pytest.raises(ValueError, match="allow_pickle"):
        bundle.read_array("golden/frames.npy")


def test_a_missing_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_bundle(tmp_path / "none.edge")
