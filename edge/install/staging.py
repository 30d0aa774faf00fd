"""Bundles on their way in: appended to a part file, so that an interrupted copy goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from edge.errors import CheckFailed, InputError
from edge.install.layout import Layout

MAX_BYTES = 2 << 30  # edge.bundle.MAX_BUNDLE_BYTES, without importing all that reads bundles
CHUNK_BYTES = 1 << 20
RESERVE_BYTES = 8 << 20  # stays free for the log, the state and the link


def part_path(layout: Layout, sha256: str) -> Path:
    """Where the bundle with this SHA-256 is collected. Raises InputError unless it is 64 hex digits."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InputError("bad --sha256", "expected 64 hex digits", "let edge-flash call this command")
    return layout.staging / f"{sha256}.part"


def staged_bytes(layout: Layout, sha256: str) -> int:
    """How many bytes of the bundle have arrived."""
    path = part_path(layout, sha256)
    return path.stat().st_size if path.is_file() else 0


def receive(layout: Layout, sha256: str, size: int, stream: BinaryIO) -> None:
    """Append what `stream` brings to the part file until it holds `size` bytes; then check its SHA-256.

    Raises InputError if the disk has no room or the stream ends early (what came is kept for the next try), CheckFailed
    if the whole has another hash (the part is thrown away).
    """
    if not 0 < size <= MAX_BYTES:
        raise InputError("bundle is too large", f"{size} bytes, limit {MAX_BYTES}", "export a smaller model")
    path = part_path(layout, sha256)
    present = staged_bytes(layout, sha256)
    _check_room(layout, size - present)
    try:
        _append(path, stream, size - present)
    except OSError as error:
        raise InputError(f"cannot write {path}", error.strerror or str(error), "free space on the station") from error
    arrived = path.stat().st_size
    if arrived < size:
        raise InputError("copy interrupted", f"{arrived} of {size} bytes arrived", "flash again: it resumes")
    require_whole(layout, sha256)


def require_whole(layout: Layout, sha256: str) -> Path:
    """The part file, complete. Raises InputError if it is absent; CheckFailed, removing it, if its hash is wrong."""
    path = part_path(layout, sha256)
    if not path.is_file():
        raise InputError(f"no staged bundle {sha256[:12]}", "nothing arrived", "run edge-flash")
    found = file_sha256(path)
    if found != sha256:
        path.unlink()
        raise CheckFailed(
            "the copied bundle differs from its source",
            f"expected SHA-256 {sha256[:12]}, found {found[:12]}",
            "flash again: it is copied afresh",
        )
    return path


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def clear(layout: Layout) -> None:
    """Throw away everything that is staged."""
    for path in layout.staging.glob("*.part"):
        path.unlink(missing_ok=True)


def _append(path: Path, stream: BinaryIO, missing: int) -> None:
    with path.open("ab") as file:
        while missing > 0 and (chunk := stream.read(min(CHUNK_BYTES, missing))):
            file.write(chunk)
            missing -= len(chunk)
        file.flush()
        os.fsync(file.fileno())


def _check_room(layout: Layout, missing: int) -> None:
    status = os.statvfs(layout.staging)
    free = status.f_bavail * status.f_frsize
    if free < missing + RESERVE_BYTES:
        raise InputError(
            f"no room on {layout.root}",
            f"{missing / 1e6:.1f} MB to come and {RESERVE_BYTES / 1e6:.0f} MB reserve, {free / 1e6:.1f} MB free",
            "free space, or keep fewer releases: edge-flash --keep 1",
        )
