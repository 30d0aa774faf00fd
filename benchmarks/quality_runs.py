"""What the quality tables share: folders of links, trained runs that are kept, and rows of markdown."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.dataset import Dataset, list_dataset, split_validation
from train.checkpoint import load_run, read_record
from train.evaluate import evaluate
from train.loop import Plan
from train.method import Option
from train.methods import row_of
from train.processes import open_fabric
from train.session import Request, model_for, resume, start
from train.subject import RunSubject

RESERVED = 10  # anomalies that may be known; never tested, whatever the number that is


def trained_figures(
    given: argparse.Namespace, data: Path, name: str, seed: int, few: Path | None = None
) -> dict[str, float | int | None]:
    """Train with edge-train's defaults, unless the run is there already, and evaluate."""
    out = trained(given, data, name, seed, few)
    found = evaluate(RunSubject(load_run(out)), data, given.remove_brightness)
    print(f"{name}: {found.figures['image_auroc']:.4f} {found.per_defect}", file=sys.stderr, flush=True)
    return found.figures


def trained(given: argparse.Namespace, data: Path, name: str, seed: int, few: Path | None = None) -> Path:
    """The run folder `name`, trained on `data`; what is there already is not done again, what was stopped goes on."""
    out: Path = given.runs / name
    if not (out / "run.json").exists():
        taken = row_of(model_for(given.model, few))
        size = given.image_size or taken.image_size
        plan = _plan(given, data, taken.batch_size, seed)
        options = dict(_option(text) for text in given.set)
        width = given.width or taken.base_width
        request = Request(
            given.model, data, out, plan, (size, size), width, locating=given.locate, known=few, options=options
        )
        session = start(replace(request, threads=given.threads))
    elif read_record(out).finished:
        return out
    else:
        session = resume(out, None, None, given.threads)
    if given.cpu:
        session.clock = time.process_time
    session.train(open_fabric("cpu"))
    return out


def _plan(given: argparse.Namespace, data: Path, batch: int, seed: int) -> Plan:
    """So many steps if --steps was given, else so many minutes."""
    if given.steps is None:
        return Plan(batch, seed, None, given.minutes)
    training, _ = split_validation(list_dataset(data).train_normal)
    per_epoch = len(training) // min(batch, len(training))
    return Plan(batch, seed, max(1, round(given.steps / per_epoch)), None)


def linked(data: Path, folder: Path, normals: int | None, reserved: int) -> Path:
    """`data` again as links: `normals` training images spread over all, test images without the reserved anomalies."""
    if folder.exists():
        return folder
    source = list_dataset(data)
    kept = source.train_normal
    if normals is not None and normals < len(kept):
        kept = tuple(kept[i] for i in np.linspace(0, len(kept) - 1, normals).astype(int))
    left_out = set(_reserved(source, reserved))
    for path in (*kept, *source.test_normal, *source.test_anomalous):
        if path not in left_out:
            _link(path, folder / path.relative_to(data))
    for mask in source.masks.values():
        _link(mask, folder / mask.relative_to(data))
    return folder


def known_folder(data: Path, folder: Path, count: int) -> Path | None:
    """`count` of the reserved anomalies with their masks, as --known-anomalies takes them; None for 0."""
    if count == 0:
        return None
    source = list_dataset(data)
    for path in _reserved(source, RESERVED)[:count]:
        _link(path, folder / path.parent.name / path.name)
        if path in source.masks:
            _link(source.masks[path], folder / "ground_truth" / path.parent.name / source.masks[path].name)
    return folder


def _reserved(source: Dataset, count: int) -> list[Path]:
    """Anomalies from each defect folder in turn."""
    folders: dict[str, list[Path]] = {}
    for path in source.test_anomalous:
        folders.setdefault(path.parent.name, []).append(path)
    depth = max((len(paths) for paths in folders.values()), default=0)
    turns = [paths[i] for i in range(depth) for paths in folders.values() if i < len(paths)]
    return turns[:count]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source.resolve())


def _option(text: str) -> tuple[str, Option]:
    name, _, value = text.partition("=")
    return name, {"true": True, "false": False}[value] if value in ("true", "false") else float(value)


def head(*names: str) -> Iterator[str]:
    yield row(*(name.replace("_", " ") for name in names))
    yield row(*("---" for _ in names))


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def spread(values: Sequence[float | int | None]) -> str:
    """Mean and, with several values, deviation."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return "-"
    return f"{np.mean(known):.3f}" + (f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else "")
