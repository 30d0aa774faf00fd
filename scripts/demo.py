"""The whole line on one machine: pictures, training, export, INT8, a station on a camera clip, alarms on a serial port.

`make demo` runs this. It prints every command before it runs it, so that each can be typed by hand; nothing here does
what a command does not. The serial port is a pseudo-terminal that the kernel makes.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from edge.errors import EdgeError, UsageError
from edge.station.events import EventStore
from scripts.demo_camera import Part, make_camera, parts_of_clip, summary

BIN = Path(sys.executable).parent
CHECK_FAILED = 4
MARK = ".demo"  # in the folder that a demo made, so that the next one may empty it


def main() -> int:
    """Run all steps; returns the exit code of the first command that fails, else 0."""
    options = _options()
    try:
        _empty(options.out)
        _line(options)
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--data", type=Path, help="folder of normal images or MVTec layout; default: generated bolts")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=2.5, help="training time")
    parser.add_argument("--epochs", type=int, help="instead of --minutes: the same training on every machine")
    parser.add_argument("--bolts", type=int, default=600, help="good bolts to draw, without --data")
    parser.add_argument("--calibrate", default="", help="more options of edge-calibrate")
    return parser.parse_args()


def _empty(out: Path) -> None:
    """Make the folder, or empty the one that an earlier demo left; nobody else's."""
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).exists():
        raise UsageError(f"{out} is not empty", "it holds something else than a demo", "name another folder with OUT=")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()


def _line(options: argparse.Namespace) -> None:
    started_s, out = time.monotonic(), options.out
    data, camera, parts = _pictures(options)
    bundle, report = out / ("part.edge" if options.data else "bolt.edge"), out / "report.html"
    length = ("--epochs", options.epochs) if options.epochs else ("--minutes", options.minutes)
    _run("edge-train", "--data", data, "--out", out / "run", *length, "--image-size", 128)
    if (data / "test" / "good").is_dir():
        _run("edge-eval", out / "run", "--data", data, "--html", report)
    _run("edge-export", out / "run", "--out", bundle, "--data", data)
    _calibrate(bundle, data, shlex.split(options.calibrate))
    _run("edge-report", bundle, "--out", bundle.with_suffix(".html"))
    _station(bundle, camera, out)
    report = report if report.exists() else bundle.with_suffix(".html")
    print(f"\n{summary(parts, _alarms(out / 'events'))}")
    print(f"the demo took {time.monotonic() - started_s:.0f} s; open {report} in a browser")


def _pictures(options: argparse.Namespace) -> tuple[Path, Path, list[Part]]:
    """The data folder, the camera that will watch, and what passes it."""
    out: Path = options.out
    if options.data is not None:
        return options.data, out / "camera", make_camera(options.data, out / "camera")
    data, clip = out / "bolts", out / "camera.mp4"
    test = max(12, options.bolts // 5)
    _run("edge-bolts", data, "--train", options.bolts, "--test", test, "--size", 128, "--seed", 1, "--clip", clip)
    return data, clip, parts_of_clip(clip.with_suffix(".json"))


def _calibrate(bundle: Path, data: Path, more: list[str]) -> None:
    """INT8, if its decisions are those of fp32; the gate's refusal is an answer, and the station then runs without."""
    try:
        _run("edge-calibrate", bundle, "--data", data, "--frames", "all", "--auto-exclude", *more)
    except subprocess.CalledProcessError as refused:
        if refused.returncode != CHECK_FAILED:
            raise
        print("INT8 was refused; the station runs the other precisions")


def _run(name: str, *arguments: object) -> None:
    command = [name, *map(str, arguments)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run([str(BIN / name), *command[1:]], check=True)


def _station(bundle: Path, camera: Path, out: Path) -> None:
    """edge-bridge makes the serial port and plays the PLC; edge-run writes to it."""
    port, events = out / "wire", out / "events"
    print(f"\n$ edge-bridge watch pty://{port} --changes --ack &", flush=True)
    watcher = subprocess.Popen([str(BIN / "edge-bridge"), "watch", f"pty://{port}", "--changes", "--ack"])
    try:
        _wait_for(port)
        _run("edge-run", "--bundle", bundle, "--camera", camera, "--realtime", "--serial", port, "--events", events)
    finally:
        watcher.terminate()
        watcher.wait(10)


def _alarms(events: Path) -> list[int]:
    """The frames at which the station raised an alarm."""
    store = EventStore(events, must_exist=True)
    found = [event.frame for event in store.find("kind = 'alarm'") if event.frame is not None]
    store.close()
    return found


def _wait_for(port: Path, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not port.exists():
        if time.monotonic() > deadline_s:
            raise SystemExit(f"edge-bridge did not make {port} within {timeout_s:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
