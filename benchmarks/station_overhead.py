"""What the station adds to the engine: from a frame's arrival to its verdict, against the bare engine call.

    python -m benchmarks.station_overhead [--cases sagan:128:16 ...] [--fps 50] [--frames 350] [--turns 2] [--threads 0]

Random weights. The bare engine is called in a process of its own, on the same pictures in the same rhythm (an engine
that rests between frames finds colder caches than one that is called without a pause). Station and bare engine take
turns. "Added" is the sum of all stages but the engine; "over" is that in per cent of the engine's own stage, which is
the same call on the same frames, and in brackets of the bare call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from edge.bundle import open_bundle
from edge.camera.pacing import Pacer
from edge.engine.open import open_engine
from edge.golden import golden_frames
from tests.edge.station.running import objects, run_to_end

CASES = ("sagan:128:16", "sagan:128:32", "attention:128:24", "attention:256:24")
CAMERAS = ("model", "640x480")
STAGES = ("wait", "preprocess", "health", "engine", "decide")


def main() -> None:
    """Print a table."""
    options = _options()
    if options.bare:
        print(json.dumps(bare_ms(options)))
        return
    if options.bundles is not None:
        options.bundles.mkdir(parents=True, exist_ok=True)
        return _table(options, options.bundles)
    with tempfile.TemporaryDirectory() as name:
        _table(options, Path(name))


def _table(options: argparse.Namespace, folder: Path) -> None:
    cases = [_case(text, camera) for camera in options.cameras for text in options.cases]
    bundles = {case: _bundle(folder, case) for case in cases}
    if options.make:
        return
    print("| case | bare | " + " | ".join(STAGES) + " | added | over | arrival to verdict p99 |")
    print("|" + "---|" * (len(STAGES) + 5))
    for case, bundle in bundles.items():
        for precision in options.precisions:
            _row(options, case, bundle, precision)


def _row(options: argparse.Namespace, case: Case, bundle: Path, precision: str) -> None:
    name = f"{case.method} {case.size} px, width {case.width}, {precision}, camera {case.camera[0]}x{case.camera[1]}"
    bare: list[float] = []
    turns: list[dict[str, Any]] = []
    for _ in range(options.turns):
        bare += _bare(options, bundle, precision)
        turns.append(_station(options, case, bundle, precision))
    middle = {s: statistics.median(t[s]["p50_ms"] for t in turns) for s in turns[0]}
    call, worst = statistics.median(bare), statistics.median(t["total"]["p99_ms"] for t in turns)
    added = sum(middle[s] for s in STAGES if s != "engine")
    cells = " | ".join(f"{value:.3f}" for value in (call, *(middle[s] for s in STAGES), added))
    over = f"{added / middle['engine']:.0%} ({added / call:.0%})"
    print(f"| {name} | {cells} | {over} | {worst:.1f} |", flush=True)


def _station(options: argparse.Namespace, case: Case, bundle: Path, precision: str) -> dict[str, Any]:
    """Stage times of the last 300 frames of a run."""
    with tempfile.TemporaryDirectory() as name:
        code, out, err = run_to_end(
            *("--bundle", bundle, "--camera", f"{case.url}&fps={options.fps}", "--events", Path(name) / "events"),
            *("--frames", options.frames, "--threshold", 1e30, "--backend", options.backend),
            *("--precision", precision, "--threads", options.threads, "--json"),
        )
    assert code == 0, err
    last = objects(out)[-1]
    assert not last["faults"], last
    return dict(last["stages"])  # type: ignore[call-overload]


def _bare(options: argparse.Namespace, bundle: Path, precision: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.station_overhead", "--bare", str(bundle), "--precisions", precision]
    for key in ("fps", "threads", "backend"):
        command += [f"--{key}", str(getattr(options, key))]
    return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def bare_ms(options: argparse.Namespace) -> list[float]:
    """Milliseconds of each engine call, at the camera's rhythm."""
    bundle = open_bundle(options.bare)
    engine = open_engine(bundle, options.precisions[0], options.backend, options.threads)
    frames, pacer = golden_frames(bundle), Pacer(options.fps)
    times = []
    for number in range(170):
        pacer.wait(1.0)
        start = time.perf_counter()
        engine.infer(frames[number % len(frames)])
        times.append(1000 * (time.perf_counter() - start))
    return times[20:]


def _case(text: str, camera: str) -> Case:
    method, size, width = text.split(":")
    across, down = (size, size) if camera == "model" else camera.split("x")
    return Case(method, int(size), int(width), (int(across), int(down)))


def _bundle(folder: Path, case: Case) -> Path:
    path = folder / f"{case.method}-{case.size}-{case.width}-{case.camera[0]}.edge"
    if not path.exists():
        from benchmarks.random_bundle import make_random_bundle

        make_random_bundle(path, case)
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, help="METHOD:SIZE:WIDTH")
    parser.add_argument("--cameras", nargs="+", default=CAMERAS, help="model (the model's size) or WIDTHxHEIGHT")
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--fps", type=float, default=50.0)
    parser.add_argument("--frames", type=int, default=350)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--bundles", type=Path, help="keep bundles in this folder, and take those that are there")
    parser.add_argument("--make", action="store_true", help="only make the bundles")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
