"""First installation: the files it writes, that it may run again, and (slow) the real thing from a wheelhouse."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from edge.deploy import bootstrap
from edge.station.config import load_config
from export.flash_bootstrap import DEPLOY
from export.sign import KeyPair, generate_keys
from export.wheelhouse import PYTHONS, Target, build_own_wheel, fill, missing_from
from tests.export.flash.conftest import Desk


@pytest.fixture
def sent(tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that edge-flash unpacks on the station, without wheels."""
    folder = tmp_path / "sent"
    (folder / "wheels").mkdir(parents=True)
    for name in DEPLOY:
        (folder / name).write_bytes(files("edge.deploy").joinpath(name).read_bytes())
    shutil.copy(keys.public, folder / "trusted.pub")
    monkeypatch.setattr(bootstrap, "HERE", folder)
    return folder


def plan(tmp_path: Path, owner: str = "root") -> bootstrap.Plan:
    return bootstrap.Plan(
        tmp_path / "opt", tmp_path / "etc", owner, owner, sys.executable, "edge-anomaly[device]", False
    )


def test_files_are_written_once_and_the_second_run_changes_nothing(sent, tmp_path, keys) -> None:
    there = plan(tmp_path, getpass.getuser())
    first = bootstrap.folders(there) + bootstrap.settings(there) + bootstrap.service(there)
    assert any("trusted.pub written" in line for line in first)
    unit = (tmp_path / "etc/systemd/system/edge-station.service").read_text()
    assert "@" not in unit.replace("@", "", 0) or "@ROOT@" not in unit
    assert f"EDGE_ROOT={tmp_path}/opt" in unit
    (tmp_path / "etc/edge/station.toml").write_text('name = "mine"\n')
    again = bootstrap.folders(there) + bootstrap.settings(there) + bootstrap.service(there)
    assert again == ["unchanged", "unchanged", "unchanged"]
    assert (tmp_path / "etc/edge/station.toml").read_text() == 'name = "mine"\n', "settings are never replaced"


def test_another_key_does_not_replace_the_pinned_one(sent, tmp_path, capsys, monkeypatch) -> None:
    there = plan(tmp_path)
    bootstrap.settings(there)
    pinned = (tmp_path / "etc/edge/trusted.pub").read_bytes()
    shutil.copy(generate_keys(tmp_path / "theirs").public, sent / "trusted.pub")
    with pytest.raises(bootstrap.BootstrapError, match="pins another key") as refused:
        bootstrap.settings(there)
    assert refused.value.exit_code == 4
    assert (tmp_path / "etc/edge/trusted.pub").read_bytes() == pinned


def test_one_sudo_line_and_no_more(sent, tmp_path) -> None:
    bootstrap.service(plan(tmp_path, "inspector"))
    line = (tmp_path / "etc/sudoers.d/edge-station").read_text()
    assert line.startswith("inspector ALL=(root) NOPASSWD: ")
    assert line.endswith("systemctl restart edge-station.service\n")
    assert oct((tmp_path / "etc/sudoers.d/edge-station").stat().st_mode)[-3:] == "440"


def test_without_the_rights_it_says_so(sent, capsys) -> None:
    code = bootstrap.main(["--root", "/proc/edge", "--etc", "/proc/edge", "--owner", "root", "--files-only"])
    assert code == 3
    assert "bootstrap needs root" in capsys.readouterr().err


def test_an_empty_wheelhouse_is_told(sent, tmp_path, capsys) -> None:
    words = ["--root", str(tmp_path / "o"), "--etc", str(tmp_path / "e"), "--owner", getpass.getuser(), "--files-only"]
    assert bootstrap.main([*words, "--python", sys.executable]) == 3
    assert "make wheelhouse" in capsys.readouterr().err


def test_the_station_toml_that_is_written_is_one_that_edge_run_takes(sent, tmp_path) -> None:
    bootstrap.settings(plan(tmp_path))
    config = load_config(tmp_path / "etc/edge/station.toml", {})
    assert config.engine.key == tmp_path / "etc/edge/trusted.pub"


def test_systemd_accepts_the_units(sent, tmp_path) -> None:
    """With every program and folder that they name in place, systemd-analyze has nothing to say."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: sudo apt-get install -y systemd")
    there = plan(tmp_path, getpass.getuser())
    programs = there.root / "venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("edge-run", "edge-install"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    bootstrap.service(there)
    units = [str(there.etc / "systemd/system" / u) for u in bootstrap.UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "edge-" in line]
    assert (done.returncode, said) == (0, [])
    unit = Path(units[1]).read_text()
    for wanted in ("Type=notify", "WatchdogSec=10", "Restart=always", "SupplementaryGroups=video dialout gpio render"):
        assert wanted in unit


def test_bootstrap_over_ssh_without_wheels_and_with_an_old_python(desk: Desk, tmp_path: Path) -> None:
    words = ["--bootstrap", desk.sshd.target, "--wheelhouse", tmp_path / "none", "--python", sys.executable]
    code, said = desk.flash(*words, options=desk.sshd.options())
    assert code == 3 and "make wheelhouse" in said
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\necho cp38 aarch64 0 root 3.8\n")
    old.chmod(0o755)
    code, said = desk.flash("--bootstrap", desk.sshd.target, "--python", old, options=desk.sshd.options())
    assert code == 3 and "Python 3.8" in said and "JetPack 6" in said


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_every_device_dependency_has_a_wheel_for_the_jetson(python, tmp_path) -> None:
    """Needs the package index. pycuda is the one exception: source only, built on the station."""
    target = Target(python)
    fill(tmp_path, (target,), build_own_wheel(tmp_path / "own"))
    folder = tmp_path / target.folder
    assert missing_from(folder, target) == []
    names = {w.name.split("-")[0] for w in folder.glob("*.whl")}
    assert names >= {"numpy", "onnxruntime", "gpiod", "cryptography", "pyserial", "cobs", "pip", "edge_anomaly"}
    assert ("tomli" in names) == (python == "310"), "markers are those of the station, not of this machine"
    (folder / next(w.name for w in folder.glob("gpiod-*"))).unlink()
    assert [r.name for r in missing_from(folder, target)] == ["gpiod"]


@pytest.mark.slow
def test_a_bare_station_is_bootstrapped_from_a_wheelhouse_twice(desk: Desk, tmp_path: Path) -> None:
    """The real thing with this machine's Python: venv, offline pip, units; then the installed program runs."""
    target = Target("{}{}".format(*sys.version_info[:2]), platform.machine(), (17, 24, 26, 27, 28, 31, 34, 35, 36))
    fill(tmp_path / "wheelhouse", (target,), build_own_wheel(tmp_path / "own"))
    root = tmp_path / "bare"
    files_only = ("--bootstrap-option=--files-only", f"--bootstrap-option=--etc={tmp_path}/etc")
    words = [
        "--bootstrap",
        desk.sshd.target,
        "--wheelhouse",
        tmp_path / "wheelhouse",
        "--python",
        sys.base_prefix + "/bin/python3",
    ]
    words += ["--public-key", desk.keys.public, *files_only]
    bare = Desk(desk.sshd, root, desk.keys, desk.capture)
    code, said = bare.flash(*words, options=desk.sshd.options())
    assert code == 0, said
    assert "program: edge-anomaly[device] from" in said
    version = subprocess.run([root / "venv/bin/edge-install", "--help"], capture_output=True, text=True, check=False)
    assert version.returncode == 0, version.stderr
    code, said = bare.flash(*words, options=desk.sshd.options())
    assert code == 0 and "program: unchanged" in said and "service: unchanged" in said
    assert os.access(tmp_path / "etc/edge/station.toml", os.R_OK)
