"""edge-build, then edge-run, on a stand-in for a Jetson: a GPU that fails is a fault of the station, then it heals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cli.base import run
from edge.cli.build import command as build
from edge.station.events import EventStore
from firmware_bridge.messages import Verdict
from tests.edge.station.plc import Plc
from tests.edge.station.running import run_to_end, station, write_folder
from tests.edge.tiny_bundle import make_tiny_bundle

ENGINE = ("--backend", "tensorrt", "--precision", "fp32")
CAMERA = "[camera]\nfps = 30\nloop = true\nrealtime = true\n"


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[Plc]:
    """A receiver at tmp_path/port."""
    receiver = Plc(tmp_path / "port")
    yield receiver
    receiver.close()


def test_a_gpu_that_fails_is_a_fault_and_the_engine_is_made_anew(
    jetson, plc: Plc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "failing"
    monkeypatch.setenv("FAKE_GPU", json.dumps({"fail_while": str(failing)}))
    bundle = make_tiny_bundle(tmp_path / "tiny.edge")
    assert run(build, [str(bundle), "--precision", "fp32"]) == 0
    write_folder(tmp_path / "camera", 40)
    config = tmp_path / "station.toml"
    config.write_text(CAMERA)
    arguments = ("--config", config, "--bundle", bundle, "--camera", tmp_path / "camera", "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        seen_s = plc.wait(Verdict.OK)
        pipeline = running.child
        failing.touch()
        plc.until(lambda: any(state.faults for _, state in plc.states()) or None, 60.0, "a fault counted")
        plc.wait(Verdict.OK, since_s=seen_s + 0.001)
        assert running.child == pipeline, "a fresh context in the same process was enough"
        assert running.stop()[0] == 0
    store = EventStore(tmp_path / "events", must_exist=True)
    (fault,) = [event for event in store.find() if "CUDA failed" in (event.reason or "")]
    assert "injected by" in fault.reason and fault.ended_at is not None
    store.close()


def test_a_station_without_an_engine_says_what_to_type(jetson, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.edge")
    write_folder(tmp_path / "camera", 3)
    code, _, error = run_to_end(
        "--bundle", bundle, "--camera", tmp_path / "camera", "--events", tmp_path / "e", *ENGINE
    )
    assert code == 5
    assert "nothing was built yet" in error and f"edge-build {bundle} --precision fp32" in error
