from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest

from edge.errors import CheckFailed, InputError
from edge.files import sha256_of
from edge.install import staging
from edge.install.layout import Layout

DATA = bytes(range(256)) * 5000
SHA256 = sha256_of(DATA)


@pytest.fixture
def ready(layout: Layout) -> Layout:
    layout.prepare()
    return layout


def test_a_copy_that_was_cut_goes_on_where_it_stopped(ready) -> None:
    with pytest.raises(InputError, match="copy interrupted: 1000 of 1280000 bytes"):
        staging.receive(ready, SHA256, len(DATA), io.BytesIO(DATA[:1000]))
    assert staging.staged_bytes(ready, SHA256) == 1000
    staging.receive(ready, SHA256, len(DATA), io.BytesIO(DATA[1000:]))
    assert staging.require_whole(ready, SHA256).read_bytes() == DATA


def test_more_bytes_than_announced_are_left_out(ready) -> None:
    staging.receive(ready, SHA256, len(DATA), io.BytesIO(DATA + b"more"))
    assert staging.staged_bytes(ready, SHA256) == len(DATA)


def test_a_copy_that_differs_is_thrown_away(ready) -> None:
    with pytest.raises(CheckFailed, match="differs from its source"):
        staging.receive(ready, SHA256, len(DATA), io.BytesIO(DATA[:-1] + b"x"))
    assert staging.staged_bytes(ready, SHA256) == 0


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", "0" * 63, "0" * 63 + "G", "0" * 64 + "\n"])
def test_a_staged_name_is_a_hash_and_nothing_else(ready, sha256) -> None:
    with pytest.raises(InputError):
        staging.part_path(ready, sha256)


def test_a_bundle_over_the_limit_is_refused_before_it_is_copied(ready) -> None:
    with pytest.raises(InputError, match="too large"):
        staging.receive(ready, SHA256, 1 << 40, io.BytesIO(b""))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_told_and_the_part_is_kept(tmp_path: Path, monkeypatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this kernel gives no tmpfs here")
    try:
        small = Layout(disk / "station")
        small.prepare()
        with pytest.raises(InputError, match="no room"):
            staging.receive(small, SHA256, len(DATA), io.BytesIO(DATA))
        monkeypatch.setattr(staging, "_check_room", lambda *_: None)
        with pytest.raises(InputError, match="No space left on device"):
            staging.receive(small, SHA256, len(DATA), io.BytesIO(DATA))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
