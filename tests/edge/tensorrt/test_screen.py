"""What is seen of a build, and what a build says of memory."""

from __future__ import annotations

import io

import pytest

from edge.errors import CheckFailed, InputError
from edge.tensorrt.process import MIB, require_memory, workspace_from
from edge.tensorrt.request import Told, error_from, error_told
from edge.tensorrt.screen import BuildScreen, expected_minutes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    now = [0.0]
    out = io.StringIO()
    screen = BuildScreen(out, clock=lambda: now[0])
    screen.told(Told(layers=300))
    screen.told(Told(phase="Building engine", steps=6))
    screen.told(Told(phase="Building engine", step=2))
    for second in range(25):
        now[0] = float(second)
        screen.tick()
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("300 layers; a first build on a Jetson takes about 2 to 20 minutes")
    assert lines[1:] == ["building, 0:10, Building engine 3/6", "building, 0:20, Building engine 3/6"]


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    out = Terminal()
    screen = BuildScreen(out, clock=lambda: 75.0)
    screen.told(Told(phase="Timing", steps=2))
    screen.told(Told(phase="Timing", step=0))
    screen.told(Told(phase="another", step=1))
    screen.tick()
    assert "[###############...............] building, 0:00, Timing 1/2" in out.getvalue()
    screen.told(Told(says="a warning"))
    assert "TensorRT: a warning\n" in out.getvalue()
    screen.clear()
    assert out.getvalue().endswith("\r\x1b[K")


def test_the_last_build_tells_more_than_a_rule_of_thumb() -> None:
    out = io.StringIO()
    BuildScreen(out, last_seconds=312.0).told(Told(layers=10))
    assert "the last build of this kind took 312 s" in out.getvalue()


def test_expected_minutes_in_words() -> None:
    assert expected_minutes(3) == "about 1 minute"
    assert expected_minutes(355) == "about 3 to 24 minutes"


@pytest.mark.parametrize(("available", "workspace"), [(100, 64), (1000, 500), (64000, 4096)])
def test_workspace_comes_from_free_memory(available: int, workspace: int) -> None:
    assert workspace_from(available * MIB) == workspace * MIB


def test_too_little_memory_is_told_before_the_build() -> None:
    require_memory(600 * MIB)
    with pytest.raises(InputError, match=r"100 MiB are available.*swap") as told:
        require_memory(100 * MIB)
    assert told.value.exit_code == 3


def test_errors_cross_the_process_as_they_were() -> None:
    told = Told.model_validate_json(error_told(CheckFailed("a", "b", "c")).model_dump_json())
    assert told.error is not None
    again = error_from(told.error)
    assert type(again) is CheckFailed and str(again) == "a: b; c"
