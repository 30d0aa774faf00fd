"""The board's state out of sysfs: a tree as a Jetson Orin NX on JetPack 6 has it stands in for the board."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from edge.board import BoardWatch, look, power_mode
from edge.power import watts

ORIN = Path(__file__).parent / "tensorrt" / "board_orin_nx"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The tree, to be changed by the test."""
    return Path(shutil.copytree(ORIN, tmp_path / "board"))


def put(board: Path, path: str, text: str) -> None:
    file = board / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def test_a_jetson_is_read_whole() -> None:
    state = look(ORIN)
    assert state.power_mode == "25W"
    assert state.gpu_mhz == 918 and state.cpu_mhz == pytest.approx(729.6)
    assert state.temperature_c == pytest.approx(53.875), "the switched-off zone of -256 degrees does not count"
    assert state.throttled == (), "a fan slows nothing down"
    assert state.over_current == 2
    assert state.watts == pytest.approx(19.056 * 0.528)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    state = look(tmp_path)
    assert state == type(state)(None, None, None, None, (), 0, None)
    with BoardWatch(tmp_path) as watch:
        pass
    assert watch.facts() == {} and watch.watts is None


def test_a_mode_without_a_name_keeps_its_number(board: Path) -> None:
    put(board, "var/lib/nvpmodel/status", "pmode:0009")
    assert power_mode(board) == "mode 9"


def test_rails_are_summed_where_there_is_no_whole(board: Path) -> None:
    """AGX Orin: VIN_SYS_5V0 is one rail of several; NC is not connected."""
    hwmon = "sys/class/hwmon/hwmon4"
    for number, (label, volt, ampere) in enumerate(
        [("VDD_GPU_SOC", 19000, 1000), ("VIN_SYS_5V0", 5000, 2000), ("NC", 9999, 9999)], 1
    ):
        put(board, f"{hwmon}/in{number}_label", label)
        put(board, f"{hwmon}/in{number}_input", str(volt))
        put(board, f"{hwmon}/curr{number}_input", str(ampere))
    assert watts(board / "sys/class/hwmon") == pytest.approx(29.0)


def test_what_changed_while_watching_is_told(board: Path) -> None:
    with BoardWatch(board, interval_s=0.005) as watch:
        put(board, "sys/class/thermal/cooling_device1/cur_state", "1")
        put(board, "sys/class/devfreq/17000000.gpu/cur_freq", "306000000")
        put(board, "sys/class/hwmon/hwmon3/oc1_event_cnt", "1")
        put(board, "sys/class/hwmon/hwmon4/curr1_input", "1000")
        end = time.monotonic() + 5
        while len(watch.states) < 4 and time.monotonic() < end:
            time.sleep(0.005)
    facts = watch.facts()
    assert facts["gpu_mhz"] == "306..918" and facts["power_mode"] == "25W"
    assert facts["throttled"] == "gpu-throttle-alert, 1 over-current events"
    assert watch.watts is not None and 19.056 * 0.528 < watch.watts < 19.056


def test_a_quiet_board_says_so() -> None:
    with BoardWatch(ORIN) as watch:
        pass
    assert watch.facts()["throttled"] == "no" and watch.facts()["temperature_c"] == "54"
