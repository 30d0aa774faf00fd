"""Every method on the same real images, trained for the same short CPU time, with the controls beside it.

    python -m benchmarks.methods train DATA [DATA ...] --runs RUNS --seconds 6
    python -m benchmarks.methods train DATA [DATA ...] --runs RUNS --seconds 6 --remove-brightness
    python -m benchmarks.methods latency --runs RUNS
    python -m benchmarks.methods table > table.md

`train` fills --json (docs/results/methods.json), an entry for each method, set, and form of the set: as it is, or with
every image's mean brightness removed before training and test. What is in the file already is not done again, so it can
be stopped and started. Time is this process's CPU time on one thread: what else runs on the machine changes nothing.
`latency` adds the exported graph's median on one thread to every entry of the method (wall clock: keep the machine
quiet). The same anomalies of each set are reserved as known ones and never tested, whether a method uses them or not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from benchmarks.graphs import Call, frames, in_turn, onnxruntime_call
from benchmarks.quality import RESERVED, known_folder, linked
from edge.dataset import list_dataset
from edge.files import write_atomic
from edge.images import read_image, write_png
from edge.preprocess import Preprocessing, preprocess
from export.graph import graph_from_scorer
from export.rewrites.table import rewritten
from train.checkpoint import Run, load_run
from train.evaluate import evaluate
from train.loop import Plan
from train.method import Option
from train.methods import METHODS
from train.processes import open_fabric
from train.session import Request, start
from train.subject import RunSubject

Entry = dict[str, Any]
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "balanced_accuracy")
CONTROLS = ("control_brightness_auroc", "control_contrast_auroc")
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "methods.json"
SEARCH: dict[str, Option] = {"search_steps": 100}  # anogan's; 500 as published would take an hour a set
SEARCHED = 50  # good and bad test images of anogan, spread over all


def main(arguments: Sequence[str]) -> int:
    """Run one of the three."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    {"train": train, "latency": latency, "table": table}[given.what](given)
    return 0


def train(given: argparse.Namespace) -> None:
    """Every method on every set, in the form that was asked for."""
    for data in given.data:
        for name in given.methods or METHODS:
            entries = read(given.json)
            if not any(_key(entry) == (name, data.name, given.remove_brightness) for entry in entries):
                entry = trained(given, name, data)
                write(given.json, [*read(given.json), entry])
                print(json.dumps(entry), flush=True)


def trained(given: argparse.Namespace, name: str, data: Path) -> Entry:
    """Train and evaluate one method on one form of one set; its graph is exported if that was not done yet."""
    row, removed = METHODS[name], given.remove_brightness
    label = data.name + ("-flat" if removed else "")
    source = prepared(data, given.runs / "data" / label, given.size, removed)
    tested = linked(source, given.runs / "data" / f"{label}-tested", None, RESERVED)
    known = known_folder(source, given.runs / "data" / f"{label}-known", RESERVED) if row.needs_known else None
    if row.no_export:
        tested = fewer(tested, given.runs / "data" / f"{label}-fewer")
    out, started = given.runs / f"{label}-{name}", time.process_time()
    plan = Plan(given.batch_size, given.seed, minutes=given.seconds / 60)
    options = dict(SEARCH) if row.no_export else {}
    size = (given.size, given.size)
    session = start(Request(name, tested, out, plan, size, given.width, known=known, options=options, threads=1))
    session.clock = time.process_time
    progress = session.train(open_fabric("cpu"))[1].progress
    run = load_run(out)
    figures = evaluate(RunSubject(run), tested).figures
    if not row.no_export:
        export(run, given.runs / "graphs" / f"{name}.onnx")
    return {
        "name": name,
        "set": data.name,
        "brightness_removed": removed,
        **{key: _rounded(figures[key]) for key in (*FIGURES, *CONTROLS)},
        "n_normal": figures["n_normal"],
        "n_anomalous": figures["n_anomalous"],
        "known_anomalies": RESERVED if known else 0,
        "parameters": run.parameters,
        "image_size": given.size,
        "base_width": given.width,
        "batch_size": given.batch_size,
        "seed": given.seed,
        "steps": progress.images // given.batch_size,
        "cpu_s": round(progress.seconds, 1),
        "whole_cpu_s": round(time.process_time() - started, 1),
        "p50_ms": None,
    }


def prepared(data: Path, folder: Path, size: int, removed: bool) -> Path:
    """A grey copy of `data`, already as the networks take it, so that no time goes into reading large pictures.

    `removed`: every image is shifted to the mean grey level of the training images, rounded and clipped to 0..255.
    """
    if (folder / "done").exists():
        return folder
    source, spec = list_dataset(data), Preprocessing(height=size, width=size, colour="grey")
    target = float(np.mean([_small(path, spec).mean() for path in source.train_normal]))
    for path in (*source.train_normal, *source.test_normal, *source.test_anomalous):
        frame = _small(path, spec)
        if removed:
            frame = np.clip(np.rint(frame - frame.mean() + target), 0, 255).astype(np.uint8)
        write_png(folder / path.relative_to(data).with_suffix(".png"), frame)
    for path, mask in source.masks.items():
        write_png(folder / "ground_truth" / path.parent.name / f"{path.stem}_mask.png", _small(mask, spec))
    write_atomic(folder / "done", b"")
    return folder


def fewer(data: Path, folder: Path) -> Path:
    """`data` as links, with SEARCHED good and bad test images."""
    source = list_dataset(data)
    for path in (*source.train_normal, *_spread(source.test_normal), *_spread(source.test_anomalous)):
        for original in (path, source.masks.get(path)):
            if original is not None and not (there := folder / original.relative_to(data)).exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                there.symlink_to(original.resolve())
    return folder


def export(run: Run, file: Path) -> None:
    """The scoring graph as edge-export makes it; nothing if it is there."""
    if not file.exists():
        write_atomic(file, rewritten(graph_from_scorer(run.scorer(), run.preprocessing)).SerializeToString())


def latency(given: argparse.Namespace) -> None:
    """Median milliseconds of each method's graph, in turn, so that a disturbance hits all alike."""
    calls: dict[str, Call] = {
        file.stem: onnxruntime_call(onnx.load(file), 1) for file in sorted((given.runs / "graphs").glob("*.onnx"))
    }
    times = in_turn(calls, frames(given.size)[..., :1], given.rounds, cpu_time=False)
    medians = {name: round(float(np.median(values)), 3) for name, values in times.items()}
    write(given.json, [{**entry, "p50_ms": medians.get(entry["name"])} for entry in read(given.json)])
    print(json.dumps(medians, indent=1))


def table(given: argparse.Namespace) -> None:
    """Markdown: a table for each set and form, methods in the order of the table of methods."""
    entries, order = read(given.json), list(METHODS)
    names = ("image AUROC", "pixel AUROC", "AUPRO", "balanced accuracy", "M parameters", "p50 ms", "steps", "CPU s")
    for group in dict.fromkeys((e["set"], e["brightness_removed"]) for e in entries):
        mine = [e for e in entries if (e["set"], e["brightness_removed"]) == group]
        brightness, contrast = (_shown(mine[0][name]) for name in CONTROLS)
        print(f"\n### {group[0]}{', every mean brightness removed' if group[1] else ''}\n")
        print(f"Controls: brightness alone {brightness}, contrast alone {contrast}.\n")
        print("| method | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        for entry in sorted(mine, key=lambda e: order.index(e["name"])):
            cells = [_shown(entry[key]) for key in FIGURES]
            cells += [f"{entry['parameters'] / 1e6:.2f}", _shown(entry["p50_ms"], 1)]
            print(f"| `{entry['name']}` | " + " | ".join([*cells, str(entry["steps"]), f"{entry['cpu_s']:.0f}"]) + " |")


def read(file: Path) -> list[Entry]:
    """The entries so far."""
    found: list[Entry] = json.loads(file.read_text()) if file.exists() else []
    return found


def write(file: Path, entries: list[Entry]) -> None:
    """One entry a line."""
    write_atomic(file, ("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n").encode())


def _key(entry: Entry) -> tuple[str, str, bool]:
    return entry["name"], entry["set"], entry["brightness_removed"]


def _small(path: Path, spec: Preprocessing) -> NDArray[np.uint8]:
    return preprocess(read_image(path), spec)[:, :, 0]


def _spread(paths: Sequence[Path]) -> list[Path]:
    return [paths[i] for i in np.linspace(0, len(paths) - 1, min(SEARCHED, len(paths))).astype(int)]


def _rounded(value: float | int | None) -> float | None:
    return None if value is None else round(value, 4)


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "latency", "table"))
    parser.add_argument("data", type=Path, nargs="*", help="folders in MVTec layout")
    parser.add_argument("--runs", type=Path, default=Path("method-runs"))
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--remove-brightness", action="store_true", help="from every image, in training and test")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=100)
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
