"""Power may fail at any moment: the installer is killed before every one of its file operations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.install.layout import Layout, Trial
from export.sign import KeyPair
from tests.edge.install.bundles import make_bundle, stage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def station(tmp_path: Path, layout: Layout, keys: KeyPair, installer_of) -> dict[str, str]:
    """Release `older` and `old` are installed (old is current), `new` is staged; the ids by name."""
    ids = {}
    for name in ("older", "old"):
        bundle = make_bundle(tmp_path / f"{name}.edge", keys=keys, name=name)
        ids[name] = installer_of().install(stage(layout, bundle))
    return ids


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of fsyncs are slow on a disk, and a kill loses no cache."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder) / "station"


def cuts(scenario: str, layout: Layout, keys: KeyPair, work: Path) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "tests.edge.install.power_cut"]
    arguments = [str(layout.root), str(work), str(keys.public), scenario]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    assert all(row["clean"] for row in rows)
    return rows


def test_a_cut_while_installing_leaves_the_old_or_the_new_release(station, layout, keys, tmp_path, work) -> None:
    bundle = make_bundle(tmp_path / "new.edge", keys=keys, name="new")
    stage(layout, bundle)
    rows = cuts("install", layout, keys, work)
    new = str(rows[-1]["again"])
    assert len(rows) > 60
    assert new.startswith("new-")
    assert {row["at_once"] for row in rows} == {row["recovered"] for row in rows} == {station["old"], new}
    assert {row["again"] for row in rows} == {new}
    committed = [row["recovered"] == new for row in rows]
    assert committed == sorted(committed), "once committed, never back"


def test_a_cut_while_going_back_from_a_sick_release_ends_at_the_old_one(station, layout, keys, tmp_path, work) -> None:
    stage(layout, make_bundle(tmp_path / "new.edge", keys=keys, name="new"))
    rows = cuts("unhealthy", layout, keys, work)
    assert len(rows) > 60
    assert {row["recovered"] for row in rows} == {station["old"]}


def test_a_cut_while_rolling_back_leaves_one_of_the_two(station, layout, keys, tmp_path, work) -> None:
    rows = cuts("rollback", layout, keys, work)
    assert {row["recovered"] for row in rows} == {station["old"], station["older"]}


def test_a_cut_while_recovering_is_recovered(station, layout, keys, tmp_path, work) -> None:
    layout.switch(station["older"])
    layout.save_trial(Trial(old=station["old"], new=station["older"]))
    (layout.releases / ".new-half").mkdir()
    rows = cuts("recover", layout, keys, work)
    assert {row["recovered"] for row in rows} == {station["old"]}
