"""Immutable release folders: one signed bundle each, checked again whenever it is about to run."""

from __future__ import annotations

import os
import stat
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edge.bundle import Bundle
from edge.errors import CheckFailed, InputError
from edge.files import write_atomic
from edge.install.layout import Layout, ReleaseId, fsync
from edge.signature import PublicKey, open_signed

BUNDLE, NOTE = "bundle.edge", "release.json"


class Release(BaseModel):
    """release.json: for people and for `--status`; trust rests on the signature alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ReleaseId
    name: str
    method: str
    rollback_counter: int
    signed_by: str
    size_bytes: int
    installed_at: str


def release_id(bundle: Bundle) -> str:
    """Name and content of a bundle in one word: NAME-<12 hex digits of the manifest's SHA-256>."""
    return f"{bundle.manifest.name[:64]}-{bundle.identity[:12]}"


def add_release(layout: Layout, staged: Path, bundle: Bundle, key: PublicKey) -> str:
    """Put the staged bundle into its own folder, durable and whole or not there at all; return the release's id.

    A folder that is there already is kept if it is sound and replaced if it is not.
    """
    release = release_id(bundle)
    folder = layout.releases / release
    if folder.exists():
        try:
            check_release(layout, release, key, 0)
            return release
        except (CheckFailed, InputError):
            layout.remove(folder)
    new = layout.releases / f".new-{release}"
    layout.remove(new)
    new.mkdir()
    os.link(staged, new / BUNDLE)
    write_atomic(new / NOTE, _note(release, bundle, key).model_dump_json(indent=1).encode())
    for name in (BUNDLE, NOTE):
        (new / name).chmod(0o444)
        fsync(new / name)
    new.chmod(0o755)
    fsync(new)
    os.replace(new, folder)
    folder.chmod(0o555)
    fsync(layout.releases)
    return release


def check_release(layout: Layout, release: str, key: PublicKey, lowest_counter: int) -> Bundle:
    """Open an installed release after checking folder, signature, counter and the hash of every member.

    Raises CheckFailed if anything was tampered with, InputError if it is absent or not a bundle.
    """
    folder = layout.releases / release
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"no release {release}", f"{folder} is not there", "see edge-install status, or flash again")
    _check_folder(folder)
    bundle = open_signed(folder / BUNDLE, key, lowest_counter)
    if release_id(bundle) != release:
        raise _tampered(folder, f"it holds release {release_id(bundle)}")
    bundle.read_all()
    return bundle


def note_of(layout: Layout, release: str) -> Release | None:
    """release.json of a release, or None if it cannot be read."""
    try:
        return Release.model_validate_json((layout.releases / release / NOTE).read_bytes())
    except (OSError, ValueError):
        return None


def installed(layout: Layout) -> list[str]:
    """Ids of all release folders, sorted."""
    return sorted(p.name for p in layout.releases.glob("[!.]*") if p.is_dir())


def remove_leftovers(layout: Layout) -> None:
    """Remove what an interrupted installer left half-made."""
    (layout.root / ".current.new").unlink(missing_ok=True)
    for pattern in (".new-*", ".gone-*"):
        for folder in layout.releases.glob(pattern):
            layout.remove(folder)


def _check_folder(folder: Path) -> None:
    entries = {p.name: p.lstat() for p in folder.iterdir()}
    if set(entries) != {BUNDLE, NOTE}:
        raise _tampered(folder, f"it holds {', '.join(sorted(entries))[:200]}")
    for name, status in entries.items():
        if not stat.S_ISREG(status.st_mode):
            raise _tampered(folder, f"{name} is not a plain file")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _tampered(folder, f"{name} is open to other users")


def _tampered(folder: Path, why: str) -> CheckFailed:
    return CheckFailed(f"release {folder.name} was tampered with", why, "flash again, or edge-install rollback")


def _note(release: str, bundle: Bundle, key: PublicKey) -> Release:
    manifest = bundle.manifest
    return Release(
        id=release,
        name=manifest.name,
        method=manifest.model.method,
        rollback_counter=manifest.rollback_counter,
        signed_by=key.name,
        size_bytes=bundle.path.stat().st_size,
        installed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
