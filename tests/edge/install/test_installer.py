from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import CheckFailed, EdgeError, InputError
from edge.install import release as releases
from edge.install import staging
from edge.install.installer import Installer, check_current
from edge.install.layout import Layout, Trial
from export.sign import KeyPair
from tests.edge.install.bundles import make_bundle, stage

MakeInstaller = Callable[..., Installer]


@pytest.fixture
def flash(tmp_path: Path, layout: Layout, keys: KeyPair, installer_of: MakeInstaller):
    """Makes, stages and installs a bundle called `name`."""

    def run(name: str, counter: int = 0, keep: int = 3, **station: frozenset[str]) -> str:
        bundle = make_bundle(tmp_path / f"{name}.edge", keys=keys, name=name, counter=counter)
        installer = installer_of(**station)
        installer.keep = keep
        return installer.install(stage(layout, bundle))

    return run


def name_of(layout: Layout) -> str | None:
    current = layout.current_id()
    return current.rsplit("-", 1)[0] if current else None


def test_a_release_is_installed_and_sealed(layout, flash) -> None:
    release = flash("bolt")
    folder = layout.releases / release
    assert layout.current.resolve() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    assert stat.S_IMODE((folder / "bundle.edge").stat().st_mode) == 0o444
    assert layout.state().good == (release,)
    assert layout.trial() is None
    assert not list(layout.staging.iterdir())


def test_the_steps_come_in_order(layout, keys, tmp_path, installer_of) -> None:
    installer = installer_of()
    installer.install(stage(layout, make_bundle(tmp_path / "b.edge", keys=keys)))
    assert installer.station.history == ["prepare bolt", "restart bolt"]
    assert [line.split(":")[0] for line in installer.said] == [
        "verify",
        "build and self-test",
        "switch and health probe",
    ]
    assert len(layout.log_tail(10)) == 3


def test_a_failed_self_test_leaves_the_running_station_alone(layout, flash) -> None:
    good = flash("first")
    with pytest.raises(CheckFailed, match="golden frames differ"):
        flash("second", bad_golden=frozenset({"second"}))
    assert layout.current_id() == good
    assert releases.installed(layout) == [good]
    assert "golden frames differ" in layout.log_tail(1)[0]


def test_an_unhealthy_release_is_rolled_back(layout, flash, keys, tmp_path, installer_of) -> None:
    good = flash("first")
    installer = installer_of(sick=frozenset({"second"}))
    bundle = make_bundle(tmp_path / "second.edge", keys=keys, name="second")
    with pytest.raises(CheckFailed, match="not healthy"):
        installer.install(stage(layout, bundle))
    assert layout.current_id() == good
    assert installer.station.history == ["prepare second", "restart second", "restart first"]
    assert any("rolled back: first-" in line for line in installer.said)
    assert layout.state().good == (good,)


def test_a_first_release_that_fails_leaves_nothing_current(layout, flash) -> None:
    with pytest.raises(CheckFailed):
        flash("first", sick=frozenset({"first"}))
    assert layout.current_id() is None
    assert not layout.current.is_symlink()


def test_rollback_goes_one_proven_release_back(layout, flash, installer_of) -> None:
    flash("a"), flash("b"), flash("c")
    installer_of().roll_back()
    assert name_of(layout) == "b"
    installer_of().roll_back()
    assert name_of(layout) == "a"
    with pytest.raises(InputError, match="nothing to roll back to"):
        installer_of().roll_back()


def test_keep_limits_the_releases(layout, flash) -> None:
    for name in "abcd":
        flash(name, keep=2)
    assert [r[0] for r in releases.installed(layout)] == ["c", "d"]


def test_the_same_bundle_again_changes_nothing(layout, flash, keys, tmp_path, installer_of) -> None:
    release = flash("bolt")
    installer = installer_of()
    assert installer.install(stage(layout, tmp_path / "bolt.edge")) == release
    assert installer.station.history == []


def test_a_downgrade_is_refused_also_by_rollback(layout, flash, installer_of) -> None:
    flash("old", counter=1)
    flash("new", counter=5)
    with pytest.raises(CheckFailed, match="downgrade: its rollback counter is 4"):
        flash("older", counter=4)
    with pytest.raises(CheckFailed, match="downgrade"):
        installer_of().roll_back()
    assert name_of(layout) == "new"


def test_a_failed_release_does_not_raise_the_counter(layout, flash) -> None:
    flash("old", counter=1)
    with pytest.raises(CheckFailed):
        flash("new", counter=9, sick=frozenset({"new"}))
    assert layout.state().lowest_counter == 1


def test_unsigned_and_foreign_bundles_never_reach_the_releases(layout, tmp_path, keys, installer_of) -> None:
    from export.sign import generate_keys

    theirs = generate_keys(tmp_path / "theirs")
    for signer, words in ((None, "is not signed"), (theirs, "bad signature")):
        sha256 = stage(layout, make_bundle(tmp_path / "x.edge", keys=signer))
        with pytest.raises(CheckFailed, match=words):
            installer_of().install(sha256)
        assert releases.installed(layout) == []
        assert staging.staged_bytes(layout, sha256) == 0


def test_two_installs_at_once_are_refused(layout, keys, tmp_path, installer_of) -> None:
    sha256 = stage(layout, make_bundle(tmp_path / "b.edge", keys=keys))
    with layout.locked(), pytest.raises(CheckFailed, match="another flash is running"):
        installer_of().install(sha256)
    installer_of().install(sha256)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda folder: (folder / "bundle.edge").write_bytes((folder / "bundle.edge").read_bytes()[:-100]),
        lambda folder: (folder / "extra.so").write_bytes(b"x"),
        lambda folder: ((folder / "release.json").unlink(), (folder / "release.json").symlink_to("/etc/passwd")),
        lambda folder: (folder / "bundle.edge").chmod(0o666),
        lambda folder: (
            folder.rename(folder.with_name("other-000000000000")) and folder.symlink_to("other-000000000000")
        ),
        lambda folder: flip_byte_of_a_member(folder / "bundle.edge"),
    ],
    ids=["truncated", "extra file", "link", "writable", "folder is a link", "member altered"],
)
def test_a_tampered_release_does_not_start(layout, flash, keys, tamper) -> None:
    from edge.signature import load_public_key

    folder = layout.releases / flash("bolt")
    check_current(layout, load_public_key(keys.public))
    folder.chmod(0o755), (folder / "bundle.edge").chmod(0o644)
    tamper(folder)
    with pytest.raises(EdgeError):
        check_current(layout, load_public_key(keys.public))


def flip_byte_of_a_member(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    position = raw.find(b"ReduceMean")
    raw[position] ^= 1
    path.write_bytes(raw)


def test_a_current_link_that_leaves_the_releases_is_refused(layout, flash, keys, tmp_path) -> None:
    from edge.signature import load_public_key

    release = flash("bolt")
    layout.current.unlink()
    layout.current.symlink_to(tmp_path / release)
    with pytest.raises(EdgeError, match="tampered"):
        check_current(layout, load_public_key(keys.public))


def test_a_damaged_release_folder_is_replaced_when_flashed_again(layout, flash, tmp_path, installer_of) -> None:
    release = flash("bolt")
    path = layout.releases / release / "bundle.edge"
    path.chmod(0o644)
    path.write_bytes(b"junk")
    assert installer_of().install(stage(layout, tmp_path / "bolt.edge")) == release
    assert path.read_bytes() == (tmp_path / "bolt.edge").read_bytes()


def test_status_tells_what_is_there(layout, flash, installer_of) -> None:
    flash("a", counter=2)
    told = installer_of(sick=frozenset({"a"})).status()
    assert told["current"].startswith("a-")
    assert told["lowest_counter"] == 2
    assert told["health"] == "no fresh frame"
    assert [(r["name"], r["proven"]) for r in told["releases"]] == [("a", True)]


def test_recovery_after_a_power_cut_on_trial_restarts_the_old_release(layout, flash, installer_of) -> None:
    old, new = flash("old"), flash("new")
    layout.save_state(layout.state().model_copy(update={"good": (old,)}))
    layout.save_trial(Trial(old=old, new=new))
    installer = installer_of()
    assert installer.status()["trial"] == new
    installer.recover()
    assert layout.current_id() == old
    assert installer.station.history == ["restart old"]
    assert layout.trial() is None


def test_everything_is_durable_before_the_switch(layout, flash, keys, tmp_path, installer_of, monkeypatch) -> None:
    """Power may fail right after the rename: what it points at must be on the disk by then."""
    synced: set[str] = set()
    order: list[tuple[str, set[str]]] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_fsync(descriptor)

    def replace(source, target) -> None:
        order.append((Path(target).name, set(synced)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    release = flash("bolt")
    before = dict(order)
    new = layout.releases / f".new-{release}"
    assert {str(new), str(new / "bundle.edge"), str(new / "release.json")} <= before[release]
    assert {str(layout.releases), str(layout.root)} <= before["current"]
    assert list(before).index("trial.json") < list(before).index("current") < list(before).index("state.json")


def test_a_name_cannot_forge_a_log_line(layout, flash) -> None:
    layout.prepare()
    layout.log("ok\n2026-01-01T00:00:00 all is well \x1b[2J")
    assert len(layout.log_tail(10)) == 1
    assert "\\n2026" in layout.log_tail(1)[0]
    assert "\x1b" not in layout.log_file.read_text()


def test_an_unwritable_root_is_an_input_error(keys) -> None:
    with pytest.raises(InputError, match="cannot write"), Layout(Path("/proc/nowhere")).locked():
        pass
