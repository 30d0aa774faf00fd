"""A bundle: one file, NAME.edge, holding graphs, thresholds, golden frames and the manifest that vouches for them.

It is a stored (uncompressed) zip. Order of trust: the file's bounds, then the signature over the manifest bytes, then
the manifest, then each member against its SHA-256 when it is read. No pickle, no external data, no links.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from edge.errors import CheckFailed, InputError
from edge.files import sha256_of, write_atomic
from edge.manifest import SCHEMA_VERSION, Manifest, Member

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MAX_MANIFEST_BYTES = 4 << 20
MAX_BUNDLE_BYTES = 2 << 30
MAX_MEMBERS = 1000
MAX_DIRECTORY_BYTES = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Members are read and checked on demand; the file is not kept open."""

    path: Path
    manifest: Manifest
    manifest_bytes: bytes
    signature: bytes | None

    def read(self, member: str) -> bytes:
        """Bytes of `member`, checked against the manifest. Raises CheckFailed if they differ, InputError if unknown."""
        expected = self.manifest.members.get(member)
        if expected is None:
            raise InputError(
                f"{self.path} has no {member}",
                f"it holds {', '.join(sorted(self.manifest.members))}",
                "export or calibrate again",
            )
        with _opened(self.path) as archive:
            data = _member_bytes(archive, member, expected.size_bytes, self.path)
        found = sha256_of(data)
        if found != expected.sha256:
            raise CheckFailed(
                f"{self.path}: {member} was altered",
                f"expected SHA-256 {expected.sha256[:12]}, found {found[:12]}",
                "copy the bundle again from its source",
            )
        return data

    def read_array(self, member: str) -> NDArray[np.generic]:
        """The .npy array in `member` (pickled objects are refused)."""
        loaded: NDArray[np.generic] = np.load(io.BytesIO(self.read(member)), allow_pickle=False)
        return loaded

    def read_all(self) -> dict[str, bytes]:
        """Every member, checked."""
        return {name: self.read(name) for name in self.manifest.members}

    @property
    def identity(self) -> str:
        """SHA-256 of the manifest bytes: names model, graphs, thresholds and all other content."""
        return sha256_of(self.manifest_bytes)


def open_bundle(path: Path, trust: Callable[[bytes, bytes | None], None] | None = None) -> Bundle:
    """Open NAME.edge and check its outline.

    `trust(manifest bytes, signature)` is called before anything in the bundle is parsed and raises what it does not
    like; `edge.signature.open_signed` passes the check against a pinned key. Raises InputError if the file is missing,
    truncated, not a bundle or of another schema; CheckFailed if members and manifest disagree.
    """
    with _opened(path) as archive:
        names = _checked_names(archive, path)
        manifest_bytes = _member_bytes(archive, MANIFEST, None, path)
        signature = _member_bytes(archive, SIGNATURE, 64, path) if SIGNATURE in names else None
    if trust is not None:
        trust(manifest_bytes, signature)
    manifest = parse_manifest(manifest_bytes, str(path))
    if names - {MANIFEST, SIGNATURE} != set(manifest.members):
        different = sorted((names - {MANIFEST, SIGNATURE}) ^ set(manifest.members))
        raise CheckFailed(
            f"{path} does not hold what its manifest lists",
            f"differing: {', '.join(different)[:200]}",
            "copy or export it again",
        )
    return Bundle(path, manifest, manifest_bytes, signature)


def write_bundle(
    path: Path, manifest: Manifest, members: Mapping[str, bytes], signature: bytes | None = None
) -> Bundle:
    """Write a whole bundle or nothing. Fills `manifest.members` from `members`; returns the bundle as read back."""
    listed = {name: Member(sha256=sha256_of(data), size_bytes=len(data)) for name, data in sorted(members.items())}
    manifest_bytes = manifest.model_copy(update={"members": listed}).model_dump_json(indent=1).encode()
    write_raw_bundle(path, manifest_bytes, members, signature)
    return open_bundle(path)


def write_raw_bundle(path: Path, manifest_bytes: bytes, members: Mapping[str, bytes], signature: bytes | None) -> None:
    """Write the zip with these exact manifest bytes (signing must not re-serialise them)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _ordered(manifest_bytes, members, signature):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    write_atomic(path, buffer.getvalue())


def array_bytes(array: NDArray[np.generic]) -> bytes:
    """`array` as .npy bytes, the form golden arrays have in a bundle."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def parse_manifest(data: bytes, source: str) -> Manifest:
    """The manifest in `data`. Raises InputError naming every bad field, or the schema found and the one expected."""
    version = re.search(rb'"schema_version"\s*:\s*(\d+)', data[:4096])
    if version and int(version[1]) != SCHEMA_VERSION:
        raise InputError(
            f"{source} has bundle schema {int(version[1])}",
            f"this version reads schema {SCHEMA_VERSION}",
            "update edge-anomaly or export again",
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise InputError(f"{source} has a bad manifest", fields, "export it again") from error


def _ordered(manifest: bytes, members: Mapping[str, bytes], signature: bytes | None) -> list[tuple[str, bytes]]:
    head = [(MANIFEST, manifest)] + ([(SIGNATURE, signature)] if signature is not None else [])
    return head + sorted(members.items())


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise InputError(
                f"{path} is too large", f"{size} bytes, limit {MAX_BUNDLE_BYTES}", "export a smaller model"
            )
        _check_end(path, size)
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise InputError(
            f"no bundle {path}", "the file does not exist", "check the path, or make one with edge-export"
        ) from error
    except InputError:
        raise
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole bundle", str(error), "copy it again, or make one with edge-export"
        ) from error


def _check_end(path: Path, size: int) -> None:
    """Bound the zip's directory before zipfile reads it into memory: ours has no comment, no zip64 and few members."""
    with path.open("rb") as file:
        file.seek(max(0, size - 42))
        tail = file.read(42)
    end = tail[-22:]
    if len(end) < 22 or end[:4] != b"PK\5\6" or end[20:] != b"\0\0" or tail[:4] == b"PK\6\7":
        raise zipfile.BadZipFile("it does not end as a bundle does")
    members, directory = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if members > MAX_MEMBERS or directory > MAX_DIRECTORY_BYTES:
        raise InputError(
            f"{path} is refused",
            f"{members} members in a directory of {directory} bytes, limits {MAX_MEMBERS} and {MAX_DIRECTORY_BYTES}",
            "make it with edge-export",
        )


def _checked_names(archive: zipfile.ZipFile, path: Path) -> set[str]:
    entries = archive.infolist()
    names = [e.filename for e in entries]
    reason = None
    if len(entries) > MAX_MEMBERS:
        reason = f"{len(entries)} members, limit {MAX_MEMBERS}"
    elif sum(e.file_size for e in entries) > path.stat().st_size:
        reason = "its members claim more bytes than the file has"
    elif len(set(names)) != len(names):
        reason = "two members have the same name"
    elif bad := next((e for e in entries if not _is_plain(e)), None):
        reason = f"member {bad.filename[:80]!r} is compressed, encrypted, a link, or has an unsafe name"
    elif MANIFEST not in names:
        reason = f"it has no {MANIFEST}"
    if reason:
        raise InputError(f"{path} is refused", reason, "make it with edge-export")
    return set(names)


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    safe_name = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._/-]{0,199}", entry.filename) and ".." not in entry.filename
    stored = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
    return bool(safe_name) and stored and not is_link and not entry.flag_bits


def _member_bytes(archive: zipfile.ZipFile, name: str, size: int | None, path: Path) -> bytes:
    limit = MAX_MANIFEST_BYTES if size is None else size
    try:
        if archive.getinfo(name).file_size > limit:
            raise InputError(
                f"{path}: {name} is too large",
                f"{archive.getinfo(name).file_size} bytes, limit {limit}",
                "copy it again from its source",
            )
        return archive.read(name)
    except InputError:
        raise
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: cannot read {name}", str(error), "copy it again from its source") from error
