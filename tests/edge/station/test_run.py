"""edge-run from camera to wire: a process, its pipeline, a kernel pseudo-terminal and a real receiver."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli.base import run
from edge.cli.run import command
from edge.images import read_image, write_png
from edge.station.events import EventStore
from firmware_bridge.messages import Acknowledge, AlarmCleared, Fault, Trigger, Verdict
from tests.edge.station.plc import Plc
from tests.edge.station.running import (
    ENGINE,
    is_running,
    objects,
    run_to_end,
    station,
    write_clip,
    write_folder,
)
from tests.edge.tiny_bundle import scene


def config_for(folder: Path, text: str) -> Path:
    path = folder / "station.toml"
    path.write_text(text)
    return path


def test_each_defect_of_a_clip_is_alarmed_once_and_kept(tiny: Path, plc: Plc, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 120, {40: 5, 80: 7})
    events = tmp_path / "events"
    code, out, err = run_to_end("--bundle", tiny, "--camera", clip, "--serial", plc.path, "--events", events, *ENGINE)
    assert (code, err) == (0, "")
    assert "120 frames, 2 alarms, 0 faults" in out and "next: edge-events list" in out
    assert plc.alarms() == [1, 2]
    assert [cleared.event for cleared in plc.all(AlarmCleared)] == [1, 2]
    assert [s.verdict for _, s in plc.states()][-1] is Verdict.FAULT  # stopping
    store = EventStore(events, must_exist=True)
    newest, oldest = store.find()
    assert (oldest.id, oldest.frame, newest.id, newest.frame) == ("A1", 41, "A2", 81)
    assert oldest.ended_at is not None and oldest.score is not None and oldest.score > (oldest.threshold or 0)
    assert len(oldest.model_hash) == 64 and oldest.config_version and oldest.latency_ms
    kept = read_image(events / oldest.frame_picture)
    assert (kept == scene(41, defect=True)).all()
    assert cv2.imread(str(events / oldest.overlay_picture)).shape == kept.shape
    store.close()


def test_json_has_one_object_per_change_and_event(tiny: Path, tmp_path: Path) -> None:
    plc = Plc(tmp_path / "port", "ascii")
    clip = write_clip(tmp_path / "clip.mkv", 60, {20: 5})
    code, out, err = run_to_end(
        "--bundle",
        tiny,
        "--camera",
        clip,
        "--events",
        tmp_path / "e",
        "--json",
        *ENGINE,
        "--serial",
        plc.path,
        "--wire",
        "ascii",
    )
    assert plc.alarms() == [1]
    plc.close()
    said = objects(out)
    assert code == 0 and "60 frames, 1 alarms" in err
    assert [o["change"] for o in said if o["type"] == "event"] == ["raised", "returned-to-normal"]
    assert said[-1]["type"] == "status" and said[-1]["verdict"] == "ok" and said[-1]["frames"] == 60


def test_a_killed_pipeline_is_fault_at_once_and_comes_back(
    tiny: Path, plc: Plc, good_parts: Path, tmp_path: Path
) -> None:
    config = config_for(tmp_path, "[camera]\nfps = 30\nloop = true\nrealtime = true\n[alarm]\nlatch = 'acknowledge'")
    arguments = ("--config", config, "--bundle", tiny, "--camera", good_parts, "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        plc.wait(Verdict.OK)
        child = running.child
        for number, deadline_s in ((signal.SIGKILL, 0.3), (signal.SIGSTOP, 1.0)):
            hit_s = time.monotonic()
            os.kill(child, number)
            blind_s = plc.wait(Verdict.FAULT, since_s=hit_s)
            assert blind_s - hit_s < deadline_s
            plc.wait(Verdict.OK, since_s=blind_s)
            child = running.other_child(child)
        code, out, err = running.stop()
    assert code == 0 and "SIGTERM" in out and err == ""
    assert not is_running(child)
    last = plc.states()[-1][1]
    assert (last.verdict, last.fault) == (Verdict.FAULT, Fault.STOPPING)
    assert not list((tmp_path / "events").glob("*-wal"))
    faults = sqlite3.connect(tmp_path / "events" / "events.db").execute("SELECT reason FROM events WHERE ended_at > 0")
    assert any("engine stuck" in reason for (reason,) in faults)


def test_a_lost_camera_and_a_failing_engine_are_faults_of_their_own(tiny: Path, plc: Plc, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    write_folder(folder, 40)
    for n in range(40, 42):  # fewer than make the pipeline give up and start anew
        write_png(folder / f"{n:04}.png", scene(n, poison=True))
    for n in range(42, 110):
        write_png(folder / f"{n:04}.png", scene(n))
    config = config_for(tmp_path, "[camera]\nfps = 30\nloop = true\nrealtime = true\nread_timeout_s = 0.5")
    arguments = ("--config", config, "--bundle", tiny, "--camera", folder, "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE):
        seen_s = plc.wait(Verdict.OK)
        engine_s = plc.wait(Verdict.FAULT, fault=Fault.ENGINE_ERROR, since_s=seen_s)
        healed_s = plc.wait(Verdict.OK, since_s=engine_s)
        shutil.rmtree(folder)
        plc.wait(Verdict.FAULT, fault=Fault.CAMERA_LOST, since_s=healed_s)


def test_a_blurred_picture_is_a_fault_in_time_and_a_black_one_is_never_scored(
    tiny: Path, plc: Plc, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    write_folder(folder, 45)
    for n in range(45, 110):  # 45 to 79 out of focus, then good ones, 95 to 109 black
        image = scene(n)
        if n < 80:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8)
        write_png(folder / f"{n:04}.png", image // 40 if n >= 95 else image)
    config = config_for(tmp_path, "[camera]\nfps = 30\nloop = true\nrealtime = true")
    arguments = ("--config", config, "--bundle", tiny, "--camera", folder, "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE):
        seen_s = plc.wait(Verdict.OK)
        blurred_s = plc.wait(Verdict.FAULT, fault=Fault.OUT_OF_FOCUS, since_s=seen_s)
        plc.wait(Verdict.FAULT, fault=Fault.PICTURE_BLACK, since_s=plc.wait(Verdict.OK, since_s=blurred_s))
    last_scored = {state.fault: state.frame % 110 for _, state in reversed(plc.states()) if state.fault}
    assert 45 + 12 <= last_scored[Fault.OUT_OF_FOCUS] <= 45 + 24  # half a second and a tenth, and this machine's rest
    assert last_scored[Fault.PICTURE_BLACK] < 95


def test_an_alarm_latches_until_the_receiver_acknowledges_it(tiny: Path, plc: Plc, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 200, {20: 5})
    config = config_for(tmp_path, "[camera]\nrealtime = true\n[alarm]\nlatch = 'acknowledge'")
    arguments = ("--config", config, "--bundle", tiny, "--camera", clip, "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        alarmed_s = plc.wait(Verdict.ALARM)
        time.sleep(1.0)  # the defect is long gone
        assert plc.states()[-1][1].verdict is Verdict.ALARM
        plc.send(Acknowledge(1))
        plc.wait(Verdict.OK, since_s=alarmed_s)
        assert running.stop(signal.SIGINT)[0] == 0
    store = EventStore(tmp_path / "events", must_exist=True)
    assert store.get("1").acknowledged_by == "serial"
    changes = [change for _, change, _ in store.journal("A1")]
    assert changes.index("pictures") < changes.index("acknowledged")
    store.close()


def test_each_announced_part_is_answered_once_and_in_time(tiny: Path, plc: Plc, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 150, {50: 100})
    arguments = ("--bundle", tiny, "--camera", clip, "--realtime", "--triggered", "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        plc.wait(Verdict.OK)
        plc.send(Trigger(11))
        good = plc.answer(11)
        assert good.verdict is Verdict.OK and good.latency_ms < 500 and good.score > 0
        time.sleep(1.7)
        for part in (12, 13):  # two bad parts in a row are two alarms
            plc.send(Trigger(part))
            assert plc.answer(part).verdict is Verdict.ALARM
        assert plc.alarms() == [1, 2]
        os.kill(running.child, signal.SIGSTOP)
        plc.send(Trigger(14))
        late = plc.answer(14)
        assert late.verdict is Verdict.FAULT and 450 <= late.latency_ms < 700
    assert sorted(r.trigger for r in plc.all(type(late))) == [11, 12, 13, 14]


def test_rubbish_on_the_line_and_a_peer_that_never_answers_change_nothing(
    tiny: Path, good_parts: Path, tmp_path: Path
) -> None:
    plc = Plc(tmp_path / "port", acks=False)
    arguments = ("--bundle", tiny, "--camera", good_parts, "--realtime", "--loop", "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        plc.wait(Verdict.OK)
        rubbish_s = time.monotonic()
        for _ in range(20):
            plc.send_raw(os.urandom(200))
            time.sleep(0.01)
        plc.wait(Verdict.OK, since_s=rubbish_s + 0.3)
        assert {s.verdict for at_s, s in plc.states() if at_s > rubbish_s} == {Verdict.OK}
        assert running.stop()[0] == 0
    plc.close()


def test_a_pipeline_that_takes_too_much_memory_is_killed_and_fault_is_held(
    tiny: Path, plc: Plc, good_parts: Path, tmp_path: Path
) -> None:
    config = config_for(tmp_path, "[supervisor]\nmemory_mb = 64\nrestarts = 1\n[camera]\nloop = true\nrealtime = true")
    arguments = ("--config", config, "--bundle", tiny, "--camera", good_parts, "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        plc.wait(Verdict.FAULT, fault=Fault.MEMORY_LIMIT)
        held_s = plc.wait(Verdict.FAULT, fault=Fault.RESTART_BUDGET_SPENT)
        time.sleep(1.5)
        assert {s.verdict for at_s, s in plc.states() if at_s >= held_s} == {Verdict.FAULT}
        assert not running.has_child and running.process.poll() is None


def test_the_pipeline_does_not_outlive_the_station(tiny: Path, good_parts: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", tiny, "--camera", good_parts, "--realtime", "--loop", "--events", tmp_path / "events")
    with station(*arguments, *ENGINE) as running:
        end_s = time.monotonic() + 10
        while not running.has_child and time.monotonic() < end_s:
            time.sleep(0.02)
        child = running.child
        running.stop(signal.SIGKILL)
        while is_running(child) and time.monotonic() < end_s:
            time.sleep(0.02)
        assert not is_running(child)


def test_a_killed_pipeline_is_missed_even_if_another_process_holds_its_channel(
    tiny: Path, plc: Plc, good_parts: Path, tmp_path: Path
) -> None:
    arguments = ("--bundle", tiny, "--camera", good_parts, "--realtime", "--loop", "--serial", plc.path)
    with station(*arguments, "--events", tmp_path / "events", *ENGINE) as running:
        plc.wait(Verdict.OK)
        child = running.child
        held = _sockets_of(child)
        hit_s = time.monotonic()
        os.kill(child, signal.SIGKILL)
        blind_s = plc.wait(Verdict.FAULT, since_s=hit_s)
        assert blind_s - hit_s < 0.3
        plc.wait(Verdict.OK, since_s=blind_s)
        running.stop()
    for descriptor in held:
        os.close(descriptor)
    faults = sqlite3.connect(tmp_path / "events" / "events.db").execute("SELECT reason FROM events WHERE ended_at > 0")
    assert any("its process is gone" in reason for (reason,) in faults)


def _sockets_of(pid: int) -> list[int]:
    """Copies of a process's sockets, as a child has them that has not come to exec yet."""
    library, process, pidfd_getfd = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid), 438
    sockets = [int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(fd).startswith("socket:")]
    copies = [int(library.syscall(pidfd_getfd, process, number, 0)) for number in sockets]
    os.close(process)
    assert len(copies) >= 2 and min(copies) >= 0, os.strerror(ctypes.get_errno())
    return copies


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-tools (Debian package)")
def test_a_killed_pipeline_leaves_no_process_that_holds_the_camera(tiny: Path, tmp_path: Path) -> None:
    camera = "gst:videotestsrc is-live=true pattern=black ! video/x-raw,width=64,height=64,framerate=30/1"
    with station("--bundle", tiny, "--camera", camera, "--events", tmp_path / "events", *ENGINE) as running:
        holders = _capturing(lambda: running.child)
        os.kill(holders[0], signal.SIGSTOP)  # it would not even notice a broken pipe
        child = running.child
        os.kill(child, signal.SIGKILL)
        assert _capturing(lambda: running.other_child(child)) != holders
        assert not is_running(holders[0])
        running.stop()


def _capturing(of: Callable[[], int]) -> list[int]:
    """The capture processes of a pipeline, as soon as it has any.

    A child between fork and exec is none yet: it still holds all that the pipeline holds, its sockets among them.
    """
    end_s = time.monotonic() + 15
    while time.monotonic() < end_s:
        try:
            tasks = Path(f"/proc/{of()}/task").iterdir()
            children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
            found = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith("gst-launch")]
        except (OSError, IndexError):
            found = []
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("no capture process")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--serial", "/dev/ttyNOT_THERE"), 5, "/dev/ttyNOT_THERE"),
        (("--gpio", "gpiod://no-such-chip/X"), 5, "gpiod"),
        (("--gpio", "fake://relay?stuck=0"), 4, "pinmux"),
        (("--camera", "/dev/video99"), 5, "video99"),
        (("--camera", "pattern://?missing=true"), 5, "missing"),
        (("--bundle", "not-there.edge"), 3, "not-there.edge"),
        (("--precision", "int4"), 3, "int4"),
        (("--backend", "tensorrt"), 5, "tensorrt"),
        (("--wire", "morse"), 3, "morse"),
        (("--config", "no.toml"), 3, "no.toml"),
        (("--sink", "smoke=signals"), 3, "smoke"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    tiny: Path,
    good_parts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, str],
    code: int,
    words: str,
) -> None:
    chosen = {"--bundle": str(tiny), "--camera": str(good_parts), "--events": str(tmp_path / "e"), **dict([arguments])}
    assert run(command, [word for pair in chosen.items() for word in pair]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ") and words in err


def test_an_altered_bundle_is_refused(tiny: Path, good_parts: Path, tmp_path: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[data.index(b"fp32.onnx") + 200] ^= 1
    altered = tmp_path / "altered.edge"
    altered.write_bytes(data)
    code, _, err = run_to_end("--bundle", altered, "--camera", good_parts, "--events", tmp_path / "e", *ENGINE)
    assert code in (3, 4) and err.count("\n") == 1 and "altered.edge" in err
