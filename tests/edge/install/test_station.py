"""The station made of commands, and edge-install as it is typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge.cli.base import run
from edge.cli.install import app
from edge.errors import CheckFailed, MissingError
from edge.install import station as stations
from edge.install.station import CommandStation, default_prepare, default_probe, split_command
from tests.edge.install.bundles import make_bundle, stage

OK = ("true",)


def station(**changes) -> tuple[CommandStation, list[str]]:
    said: list[str] = []
    settings = {
        "prepare_commands": (OK,),
        "restart_command": OK,
        "probe_command": OK,
        "healthy_s": 0.0,
        "timeout_s": 0.3,
    }
    return CommandStation(**settings | changes, report=said.append), said


def test_prepare_relays_what_its_commands_say_and_names_the_one_that_failed(tmp_path) -> None:
    made, said = station(prepare_commands=(("sh", "-c", "echo building $EDGE_CACHE $0"), OK), cache=tmp_path)
    made.prepare(Path("b.edge"))
    assert said == [f"building {tmp_path} b.edge"]
    made, _ = station(prepare_commands=(("sh", "-c", "echo golden frames differ; exit 4"),))
    with pytest.raises(CheckFailed, match="exit code 4: golden frames differ"):
        made.prepare(Path("b.edge"))


def test_a_build_that_the_kernel_killed_is_told_as_such() -> None:
    made, _ = station(prepare_commands=(("sh", "-c", "kill -9 $$"),))
    with pytest.raises(CheckFailed, match="out of memory"):
        made.prepare(Path("b.edge"))


def test_output_cannot_paint_on_the_terminal() -> None:
    made, said = station(prepare_commands=(("sh", "-c", "printf 'a\\033[2Jb\\n'"),))
    made.prepare(Path("b.edge"))
    assert said == ["a\\x1b[2Jb"]


def test_restart_and_probe_say_why(tmp_path) -> None:
    with pytest.raises(CheckFailed, match="did not start: no camera"):
        station(restart_command=("sh", "-c", "echo no camera; exit 1"))[0].restart()
    with pytest.raises(CheckFailed, match="not healthy: FAULT"):
        station(probe_command=("sh", "-c", "echo FAULT; exit 3"))[0].probe()
    with pytest.raises(MissingError, match="no command"):
        station(restart_command=("/no/such/program",))[0].restart()


def test_health_must_last_without_a_gap(tmp_path) -> None:
    """Well, sick, well...: a service that systemd restarts again and again never counts as healthy."""
    flips = tmp_path / "n"
    flips.write_text("0")
    command = f"n=$(cat {flips}); echo $((n + 1)) > {flips}; exit $((n % 2))"
    made, _ = station(probe_command=("sh", "-c", command), healthy_s=0.2, timeout_s=1.0)
    with pytest.raises(CheckFailed, match="not healthy"):
        made.probe()
    station(healthy_s=0.2, timeout_s=5.0)[0].probe()


def test_tensorrt_engines_are_built_before_the_self_test(monkeypatch) -> None:
    build, test = default_prepare("tensorrt", "int8")
    assert build[1:] == ("-m", "edge.cli.build", "--precision", "int8")
    assert test[2:] == ("edge.cli.install", "self-test", "--backend", "tensorrt", "--precision", "int8")
    assert [c[2] for c in default_prepare("onnxruntime", "auto")] == ["edge.cli.install"]
    monkeypatch.setattr("edge.engine.open.is_installed", lambda name: name == "tensorrt")
    assert [c[2] for c in default_prepare("auto", "auto")] == ["edge.cli.build", "edge.cli.install"]


def test_commands_are_split_like_a_shell_does(monkeypatch) -> None:
    assert split_command("sh -c 'a b'", default_probe) == ("sh", "-c", "a b")
    assert "is-active" in split_command(None, default_probe)[2]
    if not Path("/run/systemd/system").is_dir():
        with pytest.raises(MissingError, match="systemd does not run here"):
            stations.default_restart()


def test_edge_install_as_it_is_typed(tmp_path, layout, keys, capsys) -> None:
    sha256 = stage(layout, make_bundle(tmp_path / "b.edge", keys=keys, counter=2))
    config = tmp_path / "station.toml"
    config.write_text('[engine]\nbackend = "onnxruntime"\nprecision = "fp32"\n')
    here = ["--root", str(layout.root), "--key", str(keys.public)]
    commands = ["--restart-command", "true", "--probe-command", "true", "--healthy-s", "0"]
    assert run(app, ["install", "--sha256", sha256, *here, "--config", str(config), *commands]) == 0
    assert "3 golden frames" in capsys.readouterr().out
    assert run(app, ["check", *here]) == 0
    assert run(app, ["status", *here, "--probe-command", "true"]) == 0
    assert "station: healthy" in capsys.readouterr().out
    assert run(app, ["status", "--json", *here, "--probe-command", "/no/such"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["health"].startswith("unknown") and told["lowest_counter"] == 2
    assert run(app, ["recover", *here]) == 0
    assert run(app, ["rollback", *here, *commands]) == 3
    assert run(app, ["log", "--root", str(layout.root), "-n", "2"]) == 0
    assert "nothing to roll back to" in capsys.readouterr().out
    (layout.current / "bundle.edge").resolve().chmod(0o666)
    assert run(app, ["check", *here]) == 4


def test_self_test_of_a_bundle_that_lies(tmp_path, capsys) -> None:
    bundle = make_bundle(tmp_path / "b.edge", golden_shift=0.1)
    words = ["self-test", "--backend", "onnxruntime", "--precision", "fp32", str(bundle)]
    assert run(app, words) == 4
    assert "misses the golden frames" in capsys.readouterr().err
    assert run(app, ["self-test", "--backend", "nonsense", str(bundle)]) == 3


def test_the_program_starts_as_a_module() -> None:
    import subprocess

    done = subprocess.run([sys.executable, "-m", "edge.cli.install", "--help"], capture_output=True, check=False)
    assert done.returncode == 0
