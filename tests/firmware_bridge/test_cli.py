"""edge-bridge as a technician types it: words, exit codes, signals, pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest

from firmware_bridge import cli
from firmware_bridge.bridge import SerialBridge
from firmware_bridge.codec import encode
from firmware_bridge.lines import fake
from firmware_bridge.messages import (
    Acknowledge,
    AlarmCleared,
    AlarmFlags,
    AlarmRaised,
    Fault,
    Hello,
    Role,
    StationState,
    Trigger,
    TriggerResult,
    Verdict,
)
from firmware_bridge.show import line_of, words_of
from tests.firmware_bridge.vectors import GOOD, message_of

NOON = datetime(2026, 1, 2, 12, 3, 1, 250_000)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "firmware_bridge.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def appears(path) -> str:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return str(path)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_alarm_in_plain_words() -> None:
    words = "12:03:01.250 ALARM raised  event 17  score 4.31 > 2.90  frame 812  35 ms old"
    assert line_of(AlarmRaised(17, 4.31, 2.9, 812, 35), NOON) == words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (StationState(Verdict.OK, score=0.75, threshold=2.5, frame=8, uptime_ms=27066), "state OK  score 0.75 <= 2.50"),
        (StationState(Verdict.FAULT, fault=Fault.CAMERA_LOST), "state FAULT  camera lost  frame 0"),
        (StationState(Verdict.FAULT, fault=777), "state FAULT  fault 777"),
        (StationState(Verdict.ALARM, AlarmFlags.ACTIVE | AlarmFlags.LATCHED), "state ALARM  active, latched"),
        (StationState(unsent=3), "3 NOT SENT"),
        (AlarmCleared(17), "alarm cleared  event 17  returned to normal"),
        (TriggerResult(5, Verdict.FAULT, Fault.TRIGGER_TIMEOUT), "part 5 FAULT  trigger timeout"),
        (Hello(Role.STATION, 1, 1, 1000, "line\x1b4"), r"hello from station line\x1b4  heartbeat 1000 ms"),
        (Acknowledge(0), "operator acknowledges all"),
    ],
)
def test_words(message, words) -> None:
    assert words in words_of(message)


def test_every_vector_has_words() -> None:
    assert all(len(words_of(message_of(vector))) > 5 for vector in GOOD)


def test_watch_prints_each_message_once_acknowledges_and_ends_with_the_station(tmp_path) -> None:
    watching = start("watch", f"pty://{tmp_path}/wire", "--ack", "--changes")
    with SerialBridge(appears(tmp_path / "wire"), name="line 4") as bridge:
        bridge.publish(StationState(Verdict.OK))
        bridge.raise_alarm(AlarmRaised(17, 4.31, 2.9, 812, 35))
        until, commands = time.monotonic() + 10, []
        while not commands and time.monotonic() < until:
            commands = bridge.commands()
            time.sleep(0.01)
        assert commands == [Acknowledge(17)]
    code, out, err = ended(watching)
    assert (code, err) == (0, "")
    assert out.count("ALARM raised  event 17  score 4.31 > 2.90  frame 812") == 1
    assert "hello from station line 4" in out
    assert "state FAULT  stopping" in out
    assert "the wire has ended" in out
    assert not (tmp_path / "wire").is_symlink()


def test_watch_as_json_stops_after_count(tmp_path) -> None:
    watching = start("watch", f"pty://{tmp_path}/wire", "--json", "--count", "3")
    with SerialBridge(appears(tmp_path / "wire"), wire="cobs") as bridge:
        bridge.raise_alarm(AlarmRaised(17, 4.25, 2.5, 812))
        code, out, _ = ended(watching)
    assert code == 0
    objects = [json.loads(line) for line in out.splitlines()]
    assert [o["type"] for o in objects] == ["Hello", "StationState", "AlarmRaised"]
    assert objects[1]["score"] is None
    assert objects[2]["event"] == 17


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watch_ends_cleanly_on_a_signal(tmp_path, number) -> None:
    watching = start("watch", f"pty://{tmp_path}/wire")
    appears(tmp_path / "wire")
    time.sleep(0.2)
    watching.send_signal(number)
    assert ended(watching)[0] == 0
    assert not (tmp_path / "wire").is_symlink()


def test_a_tap_never_speaks(tmp_path) -> None:
    watching = start("watch", f"pty://{tmp_path}/wire", "--listen", "--count", "2")
    with SerialBridge(appears(tmp_path / "wire")) as bridge:
        assert ended(watching)[0] == 0
        assert bridge.status.received == 0


def test_send_waits_until_the_station_has_taken_it(tmp_path) -> None:
    sending = start("send", f"pty://{tmp_path}/wire", "trigger", "5", "--seconds", "15")
    with SerialBridge(appears(tmp_path / "wire")) as bridge:
        until, commands = time.monotonic() + 10, []
        while not commands and time.monotonic() < until:
            commands = bridge.commands()
            time.sleep(0.01)
        assert commands == [Trigger(5)]
        bridge.answer_trigger(TriggerResult(5, Verdict.ALARM, 0, 4.25, 2.5, 9, 40))
        code, out, _ = ended(sending)
    assert code == 0
    assert "part 5 ALARM  score 4.25 > 2.50  frame 9  after 40 ms" in out


def test_send_to_nobody_is_a_missing_station(tmp_path, capsys) -> None:
    assert cli.run(["send", f"pty://{tmp_path}/wire", "reset", "--seconds", "0.2"]) == 5
    assert "no answer within 0.2 s" in capsys.readouterr().err


def test_loopback_passes_on_loop_and_fails_where_nothing_comes_back(tmp_path, capsys) -> None:
    assert cli.run(["loopback", "loop://", "--frames", "3"]) == 0
    assert "3 blocks of 64 bytes came back whole" in capsys.readouterr().out
    assert cli.run(["loopback", f"pty://{tmp_path}/wire", "--frames", "1"]) == 4
    assert "0 of 64 bytes came back; join TX and RX" in capsys.readouterr().err


def test_gpio_test(capsys) -> None:
    assert cli.run(["gpio-test", "fake://relay?readback=relay"]) == 0
    assert "moved 6 times, seen by loop-back" in capsys.readouterr().out
    fake.forget_all()
    assert cli.run(["gpio-test", "fake://relay?stuck=0"]) == 4
    assert "jetson-gpio-pinmux-lookup" in capsys.readouterr().err
    fake.forget_all()


def test_decode_a_recording_and_a_pipe(tmp_path, capsys) -> None:
    recording = tmp_path / "wire.bin"
    recording.write_bytes(b"noise\0" + encode(AlarmRaised(17, 4.31, 2.9, 812), 3))
    assert cli.run(["decode", str(recording)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "unreadable: broken COBS  [6e 6f 69 73 65]"
    assert second.startswith("ALARM raised  event 17")
    line = "\n".join(v["line"] for v in GOOD).encode()
    command = [sys.executable, "-m", "firmware_bridge.cli", "decode", "-", "--wire", "ascii"]
    done = subprocess.run(command, input=line, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == len(GOOD)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["watch", "/dev/ttyUSB99"], 5, "no such device"),
        (["watch", "foo://bar"], 3, "foo"),
        (["watch", "loop://", "--wire", "morse"], 3, "choose one of cobs, ascii"),
        (["watch", "loop://", "--ack", "--listen"], 2, "choose one"),
        (["watch", "loop://", "--count", "-1"], 2, "--count"),
        (["send", "loop://", "dance"], 2, "acknowledge, shelve, trigger, reset"),
        (["send", "loop://", "shelve", "70000"], 2, "65535"),
        (["decode", "/no/such/file"], 3, "No such file"),
        (["gpio-test", "gpiod://none/PAC.06"], 5, "no GPIO chip"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)
def test_errors_are_one_line_and_the_right_code(arguments, code, words, capsys) -> None:
    assert cli.run(arguments) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_error(tmp_path) -> None:
    recording = tmp_path / "wire.bin"
    recording.write_bytes(encode(AlarmRaised(17, 4.31, 2.9, 812), 3) * 20_000)
    command = f"{sys.executable} -m firmware_bridge.cli decode {recording} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""
