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

BIN = Path(sys.executable).parent
CHECK_FAILED = 4


def main() -> int:
    """Run all steps; returns the exit code of the first command that fails, else 0."""
    options = _options()
    started_s = time.monotonic()
    out: Path = options.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    data, clip = options.data or out / "bolts", out / "camera.mp4"
    try:
        if options.data is None:
            _run("edge-bolts", data, "--train", 240, "--test", 60, "--size", 128, "--seed", 1, "--clip", clip)
        else:
            clip = _folder_as_camera(data, out / "camera")
        _run("edge-train", "--data", data, "--out", out / "run", "--minutes", options.minutes, "--image-size", 128)
        if (data / "test").is_dir():
            _run("edge-eval", out / "run", "--data", data, "--html", out / "report.html")
        _run("edge-export", out / "run", "--out", out / "bolt.edge", "--data", data)
        _calibrate(out / "bolt.edge", data)
        _run("edge-report", out / "bolt.edge", "--out", out / "bolt.html")
        _station(out / "bolt.edge", clip, out)
    except subprocess.CalledProcessError as failed:
        return failed.returncode
    report = next(p for p in (out / "report.html", out / "bolt.html") if p.exists())
    print(f"\nthe demo took {time.monotonic() - started_s:.0f} s; open {report} in a browser")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--data", type=Path, help="folder of normal images or MVTec layout; default: generated bolts")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--minutes", type=float, default=2.5, help="training time")
    return parser.parse_args()


def _calibrate(bundle: Path, data: Path) -> None:
    """INT8, if its decisions are those of fp32; the gate's refusal is an answer, and the station then runs without."""
    try:
        _run("edge-calibrate", bundle, "--data", data, "--frames", "all", "--auto-exclude")
    except subprocess.CalledProcessError as refused:
        if refused.returncode != CHECK_FAILED:
            raise
        print("INT8 was refused; the station runs the other precisions")


def _run(name: str, *arguments: object) -> None:
    command = [name, *map(str, arguments)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    subprocess.run([str(BIN / name), *command[1:]], check=True)


def _folder_as_camera(data: Path, camera: Path) -> Path:
    """A folder of links that plays the data's own test pictures: a few good ones, then one of each defect, repeated."""
    good = sorted((data / "test" / "good").glob("*")) or sorted(p for p in data.iterdir() if p.is_file())
    defects = sorted((data / "test").glob("*/*")) if (data / "test").is_dir() else []
    defects = [p for p in defects if p.parent.name != "good"]
    step = max(1, len(defects) // 6)
    order: list[Path] = []
    for index, defect in enumerate(defects[::step][:6]):
        order += [*good[index * 8 : index * 8 + 8], *([defect] * 4)]
    camera.mkdir()
    for index, path in enumerate([*order, *good[-8:]]):
        (camera / f"{index:04}{path.suffix}").symlink_to(path.resolve())
    return camera


def _station(bundle: Path, clip: Path, out: Path) -> None:
    """edge-bridge makes the serial port and plays the PLC; edge-run writes to it."""
    port = out / "wire"
    print(f"\n$ edge-bridge watch pty://{port} --changes --ack &", flush=True)
    watcher = subprocess.Popen([str(BIN / "edge-bridge"), "watch", f"pty://{port}", "--changes", "--ack"])
    try:
        _wait_for(port)
        _run(
            "edge-run", "--bundle", bundle, "--camera", clip, "--realtime", "--serial", port, "--events", out / "events"
        )
    finally:
        watcher.terminate()
        watcher.wait(10)


def _wait_for(port: Path, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not port.exists():
        if time.monotonic() > deadline_s:
            raise SystemExit(f"edge-bridge did not make {port} within {timeout_s:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
