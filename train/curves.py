"""The loss curves of a run, as numbers and as a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.files import atomic_path, write_atomic

HEADER = ("phase", "epoch", "name", "value")


@dataclass(frozen=True)
class Point:
    """One figure of one epoch (counted from 1 within its phase)."""

    phase: str
    epoch: int
    name: str
    value: float


def write_curves(folder: Path, points: Sequence[Point]) -> None:
    """losses.csv and losses.png under `folder`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((p.phase, p.epoch, p.name, repr(p.value)) for p in points)
    write_atomic(folder / "losses.csv", text.getvalue().encode())
    if points:
        _draw(folder / "losses.png", points)


def read_curves(folder: Path) -> list[Point]:
    """What write_curves wrote as losses.csv."""
    with (folder / "losses.csv").open(newline="") as file:
        return [Point(r["phase"], int(r["epoch"]), r["name"], float(r["value"])) for r in csv.DictReader(file)]


def _draw(file: Path, points: Sequence[Point]) -> None:
    from matplotlib.figure import Figure

    phases = list(dict.fromkeys(p.phase for p in points))
    figure = Figure(figsize=(6.4 * len(phases), 4), layout="constrained")
    for place, phase in enumerate(phases):
        axes = figure.add_subplot(1, len(phases), place + 1)
        mine = [p for p in points if p.phase == phase]
        for name in dict.fromkeys(p.name for p in mine):
            line = [(p.epoch, p.value) for p in mine if p.name == name]
            axes.plot(*zip(*line, strict=True), label=name, marker=".", linewidth=2 if name == "validation" else 1)
        if all(p.value > 0 and math.isfinite(p.value) for p in mine):
            axes.set_yscale("log")
        axes.set(title=phase, xlabel="epoch", ylabel="loss")
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
