"""What an attacker could put into a bundle or a station's folder; each is refused. docs/security.md points here."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import edge.bundle
from edge.bundle import MANIFEST, MAX_BUNDLE_BYTES, open_bundle, write_raw_bundle
from edge.engine.onnxruntime import OnnxRuntimeEngine
from edge.errors import CheckFailed, EdgeError, InputError
from edge.install import staging
from edge.signature import load_public_key, open_signed
from export.sign import KeyPair, generate_keys, sign_bundle, verify_bundle
from tests.edge.install.bundles import make_bundle


@pytest.fixture
def good(tmp_path: Path, keys: KeyPair) -> Path:
    return make_bundle(tmp_path / "good.edge", keys=keys)


def rewritten(path: Path, extra: list[tuple[zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    """The bundle with more members, as an attacker's zip program writes it."""
    with zipfile.ZipFile(path) as archive:
        members = [(i, archive.read(i)) for i in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in members:
            archive.writestr(info, data)
        for info, data in extra:
            archive.writestr(info, data, compression)
    return path


def entry(name: str, mode: int = 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


UNSAFE = [
    "../evil",
    "a/../../evil",
    "/etc/passwd",
    "..",
    "C:\\evil",
    "a\\..\\evil",
    "evil\nname",
    "evil\x1b[2J",
    "~/x",
    "-rf x",
]


@pytest.mark.parametrize("name", [*UNSAFE, "ümlaut"])
def test_members_with_unsafe_names(good, name) -> None:
    with pytest.raises(EdgeError) as refused:
        open_bundle(rewritten(good, [(entry(name), b"x")]))
    assert str(refused.value).isprintable(), "a name cannot forge a log line"


def test_links_and_bombs_and_doubles(good, keys, tmp_path) -> None:
    link = rewritten(good, [(entry("link", stat.S_IFLNK | 0o777), b"/etc/passwd")])
    with pytest.raises(InputError, match="a link"):
        open_bundle(link)
    bomb = rewritten(make_bundle(tmp_path / "bomb.edge"), [(entry("bomb"), bytes(50_000_000))], zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 200_000
    with pytest.raises(InputError, match="members claim more bytes than the file has"):
        open_bundle(bomb)
    small = rewritten(make_bundle(tmp_path / "small.edge"), [(entry("packed"), b"x" * 100)], zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        open_bundle(small)
    with pytest.warns(UserWarning, match="Duplicate name"):
        double = rewritten(make_bundle(tmp_path / "double.edge"), [(entry(MANIFEST), b"{}")])
    with pytest.raises(InputError, match="same name"):
        open_bundle(double)


def test_overlapping_members_cannot_multiply_the_file(tmp_path) -> None:
    """A hundred directory entries that all point at one large member."""
    path = make_bundle(tmp_path / "a.edge", padding_bytes=1_000_000)
    raw = path.read_bytes()
    count, size, offset = struct.unpack("<HII", raw[-12:-2])
    directory = raw[offset : offset + size]
    end = raw[-22:-14] + struct.pack("<HHII", count * 100, count * 100, size * 100, offset) + b"\0\0"
    path.write_bytes(raw[:offset] + directory * 100 + end)
    with pytest.raises(InputError, match="refused"):
        open_bundle(path)


def test_a_directory_of_a_million_entries_is_not_even_read(tmp_path) -> None:
    path = tmp_path / "wide.edge"
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 1 << 30, 0, 0)
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, io.SEEK_END)
        file.write(end)
    with pytest.raises(InputError, match="limits"):
        open_bundle(path)


def test_zip64_and_comments_are_not_ours(good) -> None:
    raw = good.read_bytes()
    good.write_bytes(raw[:-2] + b"\4\0evil")
    with pytest.raises(InputError, match="not a whole bundle"):
        open_bundle(good)
    good.write_bytes(raw[:-22] + b"PK\6\7" + bytes(16) + raw[-22:])
    with pytest.raises(InputError, match="not a whole bundle"):
        open_bundle(good)


def test_an_oversized_manifest_and_an_oversized_bundle(good, monkeypatch) -> None:
    with zipfile.ZipFile(good) as archive:
        manifest = archive.read(MANIFEST)
    write_raw_bundle(good, manifest + b" " * (4 << 20), {}, None)
    with pytest.raises(InputError, match="too large"):
        open_bundle(good)
    monkeypatch.setattr(edge.bundle, "MAX_BUNDLE_BYTES", 1000)
    with pytest.raises(InputError, match="too large"):
        open_bundle(good)
    assert staging.MAX_BYTES == MAX_BUNDLE_BYTES


def test_nothing_is_parsed_before_the_signature_is_good(good, keys, monkeypatch) -> None:
    monkeypatch.setattr(edge.bundle, "parse_manifest", lambda *_: pytest.fail("parsed before it was trusted"))
    raw = good.read_bytes()
    with pytest.raises(CheckFailed, match="bad signature"):
        good.write_bytes(raw.replace(b'"method": "sagan"', b'"method": "sagaN"', 1))
        open_signed(repaired(good), load_public_key(keys.public))


def repaired(path: Path) -> Path:
    """Mend the CRC of an altered manifest, as an attacker would."""
    raw = path.read_bytes()
    members: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                member._expected_crc = None  # type: ignore[attr-defined]
                members[info.filename] = member.read()
    write_raw_bundle(path, members.pop(MANIFEST), members, members.pop("manifest.sig"))
    return path


def test_signature_of_another_bundle_or_key_or_none(good, tmp_path, keys) -> None:
    trusted = load_public_key(keys.public)
    assert open_signed(good, trusted).manifest.name == "bolt"
    with pytest.raises(CheckFailed, match="is not signed"):
        open_signed(make_bundle(tmp_path / "bare.edge"), trusted)
    theirs = generate_keys(tmp_path / "theirs")
    with pytest.raises(CheckFailed, match="another key than the pinned"):
        open_signed(make_bundle(tmp_path / "foreign.edge", keys=theirs), trusted)
    other = open_bundle(make_bundle(tmp_path / "other.edge", keys=keys, name="other"))
    this = open_bundle(good)
    write_raw_bundle(good, this.manifest_bytes, this.read_all(), other.signature)
    with pytest.raises(CheckFailed, match="bad signature"):
        open_signed(good, trusted)


def test_an_altered_member_of_a_signed_bundle(good, keys) -> None:
    bundle = open_bundle(good)
    members = bundle.read_all() | {"graphs/fp32.onnx": b"evil"}
    write_raw_bundle(good, bundle.manifest_bytes, members, bundle.signature)
    with pytest.raises(EdgeError):
        verify_bundle(good, keys.public)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_altered_byte_of_a_signed_bundle_passes_unnoticed(good, keys, data) -> None:
    """Either it is refused, or all that it then says is what was signed."""
    raw = good.read_bytes()
    expected = open_bundle(good).read_all()
    altered = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    good.write_bytes(bytes(altered))
    try:
        found = open_signed(good, load_public_key(keys.public)).read_all()
    except EdgeError as error:
        assert str(error).isprintable()
    else:
        assert found == expected
    finally:
        good.write_bytes(raw)


def test_a_rollback_counter_cannot_go_down(tmp_path, keys) -> None:
    path = make_bundle(tmp_path / "a.edge", keys=keys, counter=3)
    trusted = load_public_key(keys.public)
    open_signed(path, trusted, 3)
    with pytest.raises(CheckFailed, match="counter is 3, this station has committed 4"):
        open_signed(path, trusted, 4)
    assert sign_bundle(path, keys.private, counter=5).manifest.rollback_counter == 5
    open_signed(path, trusted, 4)
    with pytest.raises(InputError, match="cannot lower"):
        sign_bundle(path, keys.private, counter=4)


def test_a_graph_with_external_data_reads_no_file(tmp_path) -> None:
    """ONNX may keep weights in other files; a bundle's graph may not, or it could read any file of the station."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    location = weights.external_data.add()
    location.key, location.value = "location", "/etc/passwd"
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("frame", "score")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["frame", "w"], ["score"])], "g", value[:1], value[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = make_bundle(tmp_path / "external.edge")
    bundle = open_bundle(path)
    members = bundle.read_all() | {"graphs/fp32.onnx": model.SerializeToString()}
    from edge.bundle import write_bundle

    evil = write_bundle(path, bundle.manifest, members)
    with pytest.raises(InputError):
        OnnxRuntimeEngine(evil, "fp32")


def test_a_manifest_cannot_name_a_release_out_of_its_folder(good) -> None:
    bundle = open_bundle(good)
    for name in ("../../etc", "a/b", "", "x" * 65, "a\nb"):
        told = json.loads(bundle.manifest_bytes) | {"name": name}
        write_raw_bundle(good, json.dumps(told).encode(), bundle.read_all(), None)
        with pytest.raises(InputError, match="bad manifest"):
            open_bundle(good)
