"""edge-run as a process of its own, as a plant runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from edge.images import write_png
from tests.edge.tiny_bundle import SIZE, scene

EDGE_RUN = Path(sys.executable).parent / "edge-run"
ENGINE = ("--backend", "onnxruntime", "--threads", "1")


def write_clip(path: Path, frames: int, defects: dict[int, int], fps: float = 30.0) -> Path:
    """A lossless clip of scenes; `defects` maps a first frame to the number of frames that show the defect."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), fps, (SIZE, SIZE))
    assert writer.isOpened()
    for n in range(frames):
        writer.write(scene(n, defect=any(start <= n < start + count for start, count in defects.items())))
    writer.release()
    return path


def write_folder(path: Path, frames: int) -> Path:
    """A folder of good scenes, to be played round and round as a camera."""
    path.mkdir()
    for n in range(frames):
        write_png(path / f"{n:04}.png", scene(n))
    return path


class Running:
    """A started edge-run."""

    def __init__(self, *arguments: object) -> None:
        self.started_s = time.monotonic()
        self.process = subprocess.Popen(
            self.arguments(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def arguments(self, arguments: tuple[object, ...]) -> list[str]:
        """The whole command line."""
        return [str(EDGE_RUN), *map(str, arguments)]

    @property
    def has_child(self) -> bool:
        """Whether a pipeline runs now."""
        return bool(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())

    @property
    def child(self) -> int:
        """Process id of the pipeline."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def other_child(self, than: int, timeout_s: float = 60.0) -> int:
        """Wait until the pipeline is another process."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            try:
                if (child := self.child) != than:
                    return child
            except (IndexError, FileNotFoundError):
                pass
            time.sleep(0.02)
        raise AssertionError("no new pipeline")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Ask it to end; (exit code, standard output, standard error)."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout_s: float = 120.0) -> tuple[int, str, str]:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err


@contextmanager
def station(*arguments: object) -> Iterator[Running]:
    """Start edge-run; whatever happens, it and its pipeline are gone afterwards."""
    running = Running(*arguments)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()


def run_to_end(*arguments: object, timeout_s: float = 120.0) -> tuple[int, str, str]:
    """Run edge-run until it ends by itself."""
    with station(*arguments) as running:
        return running.wait(timeout_s)


def objects(output: str) -> list[dict[str, object]]:
    """The JSON objects that `--json` printed."""
    return [json.loads(line) for line in output.splitlines()]


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def open_files(pid: int) -> int:
    """Open file descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))
