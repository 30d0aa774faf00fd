"""From typing edge-run to the first verdict, and the memory of the whole station (both processes, without torch).

    python -m benchmarks.station_start [--cases sagan:128:16 ...] [--starts 5] [--backends openvino onnxruntime]

The first verdict is the first line of `--json` that says OK. Memory is taken after 300 frames: RSS of each process, and
PSS, which counts pages that both share (libraries, mostly) once. Random weights; they decide nothing here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.case import Case
from tests.edge.station.running import Running, station


def main() -> None:
    """Print a table."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        print("| case | first verdict, median | worst | station RSS | pipeline RSS | both RSS | both PSS |")
        print("|---|---|---|---|---|---|---|")
        for text in options.cases:
            case = _case(text)
            bundle = _bundle(options.bundles or Path(name), case)
            for backend in options.backends:
                _row(options, case, bundle, backend)


def _row(options: argparse.Namespace, case: Case, bundle: Path, backend: str) -> None:
    starts_s, memory = [], {}
    for number in range(options.starts):
        with tempfile.TemporaryDirectory() as name:
            arguments: list[object] = ["--bundle", bundle, "--camera", case.url, "--events", Path(name) / "events"]
            arguments += ["--threshold", 1e30, "--backend", backend, "--precision", options.precision, "--json"]
            with station(*arguments) as running:
                starts_s.append(_first_verdict_s(running))
                if number == options.starts - 1:
                    time.sleep(10.0)
                    memory = {"station": _memory_mb(running.process.pid), "pipeline": _memory_mb(running.child)}
                running.stop()
    rss, pss = (sum(m[key] for m in memory.values()) for key in ("Rss", "Pss"))
    print(
        f"| {case.method} {case.size} px, width {case.width}, {backend} {options.precision} "
        f"| {statistics.median(starts_s):.2f} s | {max(starts_s):.2f} s | {memory['station']['Rss']:.0f} MB "
        f"| {memory['pipeline']['Rss']:.0f} MB | {rss:.0f} MB | {pss:.0f} MB |",
        flush=True,
    )


def _first_verdict_s(running: Running) -> float:
    assert running.process.stdout is not None
    for line in running.process.stdout:
        if json.loads(line).get("verdict") == "ok":
            return time.monotonic() - running.started_s
    raise AssertionError("no verdict")


def _memory_mb(pid: int) -> dict[str, float]:
    """Of one process, by the kernel's names: Rss, Pss, in MB (10^6 bytes)."""
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) * 1024 / 1e6 for row in rows}


def _case(text: str) -> Case:
    method, size, width = text.split(":")
    return Case(method, int(size), int(width))


def _bundle(folder: Path, case: Case) -> Path:
    path = folder / f"{case.method}-{case.size}-{case.width}-{case.camera[0]}.edge"
    if not path.exists():
        from benchmarks.random_bundle import make_random_bundle

        folder.mkdir(parents=True, exist_ok=True)
        make_random_bundle(path, case)
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["sagan:128:16", "attention:256:24"], help="METHOD:SIZE:WIDTH")
    parser.add_argument("--backends", nargs="+", default=["openvino", "onnxruntime"])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--bundles", type=Path, help="keep bundles in this folder, and take those that are there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
