from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.cli.base import run
from edge.cli.doctor import doctor
from edge.doctor import software
from edge.doctor.board import JETPACKS, SWAP_COMMAND
from edge.doctor.finding import Finding, Report
from edge.doctor.machine import LiveMachine, Ran, RecordedMachine
from edge.doctor.report import examine, lines_of

ORIN = Path(__file__).parent / "boards" / "orin_nx_jetpack_6_2"
KEY = "/etc/edge/trusted.pub"


def findings_of(machine: RecordedMachine) -> dict[str, Finding]:
    return {f.topic: f for f in examine(machine, "/opt/edge", KEY).findings}


def board(**changes: Ran) -> RecordedMachine:
    """The recorded Orin NX with some commands answering otherwise; keys are the first word or the python topic."""
    machine = RecordedMachine.load(ORIN)
    commands = dict(machine.commands)
    for key, ran in changes.items():
        name = key.replace("_", "-")
        hits = [c for c in commands if c[0] == name or c == ("python", f"# {key}") or " ".join(c).startswith(name)]
        commands |= dict.fromkeys(hits or [(name,)], ran)
    return RecordedMachine(ORIN, commands)


def test_a_healthy_jetson_is_recognised() -> None:
    report = examine(RecordedMachine.load(ORIN), "/opt/edge", KEY)
    assert (report.l4t, report.jetpack) == ("36.4.3", "6.2")
    assert report.board is not None and "Orin NX" in report.board
    assert report.backends == ["onnxruntime", "tensorrt"]
    assert report.gaps == []
    assert report.disk_free_bytes == 40_000_000_000


def test_since_jetpack_6_a_gpio_chip_proves_no_pin() -> None:
    finding = findings_of(RecordedMachine.load(ORIN))["gpio"]
    assert finding.level == "warn"
    assert "never moves" in finding.found
    assert finding.fix is not None and "jetson-io" in finding.fix


NO_MODULE = Ran(1, "ModuleNotFoundError: No module named 'x'")


@pytest.mark.parametrize(
    ("topic", "changes", "level", "found", "fix"),
    [
        ("tensorrt", {"tensorrt": NO_MODULE}, "gap", "hides the system's TensorRT 10.3.0", "sed -i 's/include-system"),
        ("tensorrt", {"tensorrt": NO_MODULE, "/usr/bin/python3": NO_MODULE}, "gap", "not installed", "apt-get install"),
        ("tensorrt", {"tensorrt": Ran(-11, "")}, "gap", "does not start", "apt-get install --reinstall"),
        ("pycuda", {"pycuda": NO_MODULE}, "gap", "built on the device", "pip install 'pycuda>=2025.1.2'"),
        ("pycuda", {"pycuda": Ran(1, "pycuda._driver.RuntimeError: no device")}, "gap", "no device", "apt-get"),
        ("onnxruntime", {"onnxruntime": Ran(132, "Illegal instruction")}, "gap", "Illegal instruction", "pip install"),
        ("openvino", {"openvino": Ran(1, "boom")}, "gap", "boom", "pip install openvino"),
        ("signatures", {"cryptography": NO_MODULE}, "gap", "no signatures", "pip install cryptography"),
        ("opencv", {"opencv": NO_MODULE}, "gap", "does not import", "opencv-python-headless"),
        ("gstreamer", {"gst-launch-1.0": Ran(127, "not installed")}, "warn", "not installed", "gstreamer1.0-tools"),
        ("serial", {"systemctl is-active nvgetty": Ran(0, "active")}, "gap", "nvgetty", "disable --now nvgetty"),
        ("power", {"nvpmodel": Ran(0, "NV Power Mode: 15W\n2\n")}, "warn", "15W is not the fastest", "nvpmodel -m 0"),
        ("power", {"nvpmodel": Ran(1, "denied")}, "warn", "denied", "sudo nvpmodel -q"),
        ("disk", {"free-bytes": Ran(0, "100000000")}, "warn", "0.1 GB", "apt-get clean"),
    ],
)
def test_every_gap_has_its_one_mending_command(topic, changes, level, found, fix) -> None:
    finding = findings_of(board(**changes))[topic]
    assert finding.level == level
    assert found in finding.found
    assert finding.fix is not None and fix in finding.fix
    assert "\n" not in finding.fix


def copied(tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(ORIN, tmp_path / "board"))


def test_low_memory_advises_swap(tmp_path) -> None:
    tree = copied(tmp_path)
    (tree / "proc/meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 500000 kB\nSwapFree: 0 kB\n")
    assert findings_of(RecordedMachine.load(tree))["memory"].fix == SWAP_COMMAND


@pytest.mark.parametrize(
    ("node", "topic", "group"),
    [("video0", "cameras", "video"), ("ttyTHS1", "serial", "dialout"), ("gpiochip0", "gpio", "gpio")],
)
def test_rights_are_tried_not_read(tmp_path, node, topic, group) -> None:
    tree = copied(tmp_path)
    (tree / "dev" / node).chmod(0o400)
    machine = RecordedMachine.load(tree)
    finding = findings_of(machine)[topic]
    assert finding.level == "gap" and finding.fix == "sudo udevadm trigger"
    outsider = RecordedMachine(tree, {**machine.commands, ("groups",): Ran(0, "users")})
    assert findings_of(outsider)[topic].fix == f"sudo usermod -aG {group} $USER"


def test_an_old_jetpack_is_told(tmp_path) -> None:
    tree = copied(tmp_path)
    (tree / "etc/nv_tegra_release").write_text("# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref")
    finding = findings_of(RecordedMachine.load(tree))["board"]
    assert finding.level == "gap" and "JetPack 5.1.2" in finding.found


def test_the_release_package_answers_where_the_file_is_gone(tmp_path) -> None:
    tree = copied(tmp_path)
    (tree / "etc/nv_tegra_release").unlink()
    package = ("dpkg-query", "-W", "-f", "${Version}", "nvidia-l4t-core")
    machine = RecordedMachine.load(tree)
    told = RecordedMachine(tree, {**machine.commands, package: Ran(0, "36.4.7-20250101")})
    assert examine(told, "/opt/edge", KEY).jetpack == "6.2.1"


def test_the_table_knows_every_supported_release() -> None:
    assert JETPACKS["36.3"] == "6.0" and JETPACKS["39.2"] == "7.2"


def test_on_this_machine_it_runs_and_prints_json(capsys) -> None:
    code = run(doctor, ["--json"])
    report = Report.model_validate_json(capsys.readouterr().out)
    assert code == (5 if report.gaps else 0)
    assert "onnxruntime" in report.backends
    assert {f.topic for f in report.findings} >= {"tensorrt", "pycuda", "opencv", "memory", "disk", "gpio", "serial"}


def test_the_command_examines_a_recorded_board(capsys) -> None:
    assert run(doctor, ["--recorded", str(ORIN)]) == 0
    said = capsys.readouterr().out
    assert "JetPack 6.2" in said and "mend: " in said and "0 gaps" in said
    assert run(doctor, ["--recorded", "/nowhere"]) == 3


def test_a_trial_run_that_hangs_or_is_absent_is_told() -> None:
    live = LiveMachine("/no/such/python")
    assert live.python("print(1)").code == 127
    assert software.onnxruntime(live).level == "gap"
    assert live.read("/no/such/file") is None
    assert live.free_bytes("/no/such/folder") > 0


def test_lines_show_the_mending_command_under_each_gap() -> None:
    lines = list(lines_of(examine(board(pycuda=NO_MODULE), "/opt/edge", KEY)))
    at = next(i for i, line in enumerate(lines) if line.startswith("GAP"))
    assert lines[at + 1].strip().startswith("mend: ")
    assert lines[-1].startswith("1 gap;")


def test_recorded_trees_are_plain_data() -> None:
    assert all({"command", "code", "output"} == set(row) for row in json.loads((ORIN / "commands.json").read_text()))
