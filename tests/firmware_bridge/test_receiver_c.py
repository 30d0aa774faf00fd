"""The C99 receiver, compiled with every warning an error and with the sanitizers, against the Python side."""

from __future__ import annotations

import math
import os
import queue
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from firmware_bridge.bridge import SerialBridge
from firmware_bridge.codec import BadFrame, Decoder, encode
from firmware_bridge.messages import Acknowledge, AlarmRaised, StationState, Trigger, TriggerResult, Verdict
from firmware_bridge.outbox import Heard
from firmware_bridge.pty_port import PtyPort
from tests.firmware_bridge.test_codec import mutated
from tests.firmware_bridge.vectors import BAD, GOOD

HERE = Path(__file__).parent / "c"
RECEIVER = Path(__file__).parents[2] / "firmware_bridge" / "receiver"
WARNINGS = "-std=c99 -Wall -Wextra -Werror -pedantic -Wconversion -Wshadow".split()
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WIRES = [bytes.fromhex(v["wire"]) for v in GOOD]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Compiles `name.c` (and the example where asked) once; gives the program's path."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: apt-get install gcc")
    folder, done = tmp_path_factory.mktemp("c"), {}

    def build(name: str, *more: Path) -> Path:
        if name not in done:
            sources = [HERE / f"{name}.c", *more]
            command = ["gcc", *WARNINGS, *SANITIZERS, "-O2", "-g", f"-I{RECEIVER}", "-o", folder / name, *sources]
            subprocess.run(command, check=True)
            done[name] = folder / name
        return done[name]

    return build


def read_by_c(program: Path, data: bytes) -> list[str]:
    done = subprocess.run([program], input=data, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def read_by_python(data: bytes) -> list[str]:
    return [_line(item) for item in Decoder().feed(data)]


def _line(item) -> str:
    if isinstance(item, BadFrame):
        return f"bad {item.reason.value}"
    return "ok " + encode(item.message, item.sequence, item.session).hex()


@pytest.mark.parametrize("vector", GOOD, ids=lambda v: v["name"])
def test_c_reads_and_writes_each_good_frame(built, vector) -> None:
    for tail in (b"", b"\x07\x01\x02"):
        assert read_by_c(built("driver"), bytes.fromhex(vector["wire"]) + tail) == ["ok " + vector["wire"]]


def test_c_refuses_each_bad_frame_for_the_same_reason_and_is_in_step_again(built) -> None:
    stream = b"".join(bytes.fromhex(v["wire"]) + WIRES[0] for v in BAD)
    expected = [line for v in BAD for line in (f"bad {v['reason']}", "ok " + WIRES[0].hex())]
    assert read_by_c(built("driver"), stream) == expected


@pytest.mark.parametrize("count", [10_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_c_and_python_say_the_same_of_damaged_frames(built, count) -> None:
    rng = random.Random(count + 1)
    for _ in range(max(1, count // 100_000)):
        stream = b"".join(mutated(rng, WIRES) + b"\0" + rng.choice(WIRES) for _ in range(min(count, 100_000)))
        assert read_by_c(built("driver"), stream) == read_by_python(stream)


def test_c_and_python_agree_on_whole_frames_with_any_payload(built) -> None:
    from firmware_bridge.codec import seal

    rng = random.Random(5)
    stream = b"".join(
        seal(bytes([1, rng.choice(range(0x30))]) + rng.randbytes(rng.randint(6, 60))) for _ in range(20_000)
    )
    ours, theirs = read_by_python(stream), read_by_c(built("driver"), stream)
    assert [line[:3] for line in ours] == [line[:3] for line in theirs]
    assert any(line.startswith("ok") for line in ours)


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_c_fuzz_under_the_sanitizers(built, count) -> None:
    seeds = "\n".join(wire.hex() for wire in WIRES)
    done = subprocess.run(
        [built("fuzz"), str(count), "3"], input=seeds, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    frames, wrong = map(int, done.stdout.split())
    assert frames == count
    assert wrong <= count / 65536 + 5 * math.sqrt(count / 65536) + 1


def test_c_tells_repetitions_as_python_does_and_answers_each(built) -> None:
    rng, heard, newest, frames, expected = random.Random(9), Heard(), 65500, [], []
    for _ in range(2000):
        number = (newest - rng.randint(0, 31)) & 0xFFFF if rng.random() < 0.6 else newest + rng.randint(1, 40) & 0xFFFF
        newest = number if (number - newest) & 0xFFFF < 0x8000 else newest
        frame = encode(AlarmRaised(1, 4.25, 2.5, 812), number, 0x5500)
        frames.append(frame)
        expected.append("bad duplicate" if heard.knows(number) else "ok " + frame.hex())
        heard.note(number)
    done = subprocess.run([built("driver"), "receive"], input=b"".join(frames), capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert [line for line in lines if not line.startswith("say")] == expected
    assert len([line for line in lines if line.startswith("say")]) == len(frames) + 1  # hello, and one answer each


def test_the_header_uses_nothing_but_string_h() -> None:
    includes = {line for line in (RECEIVER / "edge_receiver.h").read_text().splitlines() if line.startswith("#include")}
    assert includes == {f"#include <{name}.h>" for name in ("stdbool", "stddef", "stdint", "string")}
    assert not any(word in (RECEIVER / "edge_receiver.h").read_text() for word in ("malloc", "printf", "free("))


class Board:
    """The example program on a pseudo-terminal, as a microcontroller at the end of a cable."""

    def __init__(self, program: Path, tty: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([program, tty], text=True, bufsize=1, **pipes)
        self.lines: queue.Queue[str] = queue.Queue()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def press(self, key: str) -> None:
        self.process.stdin.write(key)
        self.process.stdin.flush()

    def expect(self, line: str) -> None:
        assert self.lines.get(timeout=60) == line

    def close(self) -> None:
        self.press("q")
        assert self.process.wait(10) == 0
        self.thread.join(10)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def cable(tmp_path):
    """Two paths whose bytes cross, as two ends of a null-modem cable; `cut` stops the flow."""
    ends = [PtyPort(f"pty://{tmp_path}/{name}") for name in ("station", "board")]
    keep = [os.open(end.far, os.O_RDWR | os.O_NOCTTY) for end in ends]  # no hang-up when a program leaves
    cut, stop = threading.Event(), threading.Event()

    def pump(source: PtyPort, sink: PtyPort) -> None:
        sink._was_open = True
        while not stop.is_set():
            data = source.read()
            if data and not cut.is_set():
                sink.write(data)

    threads = [threading.Thread(target=pump, args=pair) for pair in (ends, ends[::-1])]
    for thread in threads:
        thread.start()
    yield f"{tmp_path}/station", f"{tmp_path}/board", cut
    stop.set()
    for thread in threads:
        thread.join(10)
    for descriptor in keep:
        os.close(descriptor)
    for end in ends:
        end.close()


def wait_for(bridge: SerialBridge, number: int = 1) -> list:
    until, got = time.monotonic() + 60, []
    while len(got) < number and time.monotonic() < until:
        got += bridge.commands()
        time.sleep(0.01)
    return got


def test_the_example_board_and_the_bridge_talk(built, cable) -> None:
    station_end, board_end, cut = cable
    board = Board(built("board_posix", RECEIVER / "example.c"), board_end)
    try:
        board.expect("relay off")
        with SerialBridge(f"{station_end}?heartbeat_s=0.2") as bridge:
            bridge.publish(StationState(Verdict.OK))
            board.expect("relay on")
            bridge.raise_alarm(AlarmRaised(17, 4.25, 2.5, 812))
            board.expect("alarm 17 4.25 2.50")
            board.press("a")
            assert wait_for(bridge) == [Acknowledge(17)]
            board.press("t")
            assert wait_for(bridge) == [Trigger(1)]
            bridge.answer_trigger(TriggerResult(1, Verdict.OK))
            board.expect("part 1 good")
            bridge.publish(StationState(Verdict.FAULT, fault=1))
            board.expect("relay off")
            bridge.publish(StationState(Verdict.OK))
            board.expect("relay on")
            cut.set()  # the watchdog of 3 s drops the relay
            board.expect("relay off")
            cut.clear()
            board.expect("relay on")
        board.expect("relay off")  # the station's last words
    finally:
        board.close()
    assert board.lines.empty()
