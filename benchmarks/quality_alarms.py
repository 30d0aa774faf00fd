"""False alarms: what an operator's marks change, and whether the stated rate holds on normal pictures never seen."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_runs import head, linked, row, trained
from edge.dataset import Dataset, list_dataset
from edge.gate import auroc
from edge.images import encode_png, read_image
from edge.station.channel import Pictures
from edge.station.collect import collect
from edge.station.events import EventRecord, EventStore
from edge.threshold import fit_threshold, frames_per_independent, rate_interval
from train.checkpoint import load_run
from train.data import Frames
from train.subject import RunSubject

Floats = NDArray[np.floating]
STATED = (0.01, 0.001)


def marks(given: argparse.Namespace) -> Iterator[str]:
    """False alarms and detections on pictures that nobody marked, before and after the operator's marks.

    The normal test pictures are cut in two by name. The first half comes by at the station: of each two neighbours the
    operator sees one and marks it if it is a false alarm, the other is kept to count (the same parts in other
    pictures). The second half are parts that the station never saw.
    """
    data = given.paths[0]
    folder = linked(data, given.runs / f"{data.name}-data", None, 0)
    seen, same, others = shown(list_dataset(folder).test_normal)
    yield from head("model", "threshold", "same parts, false alarms", "other parts, false alarms", "detected", "AUROC")
    for seed in given.seeds:
        before = Scorer(trained(given, folder, f"{data.name}-unmarked-{seed}", seed))
        limit = before.threshold(given.rate)
        wrong = [p for p, score in zip(seen, before(seen), strict=True) if score > limit]
        yield before.line(f"before, {len(wrong)} of {len(seen)} marked", limit, (same, others))
        refitted = before.threshold(given.rate, wrong)
        yield before.line("threshold fitted again with the marks", refitted, (same, others))
        joined = _joined(data, given.runs / f"{data.name}-marked-{seed}-data", wrong)
        after = Scorer(trained(given, joined, f"{data.name}-marked-{seed}", seed))
        yield after.line("trained again with the marks", after.threshold(given.rate), (same, others))


def rates(given: argparse.Namespace) -> Iterator[str]:
    """Each run's stated rate and interval, and what the normal test pictures of its data show."""
    names = ("run", "stated", "held out", "worth", "interval", "unseen", "false alarms", "their interval", "agree")
    yield from head(*names)
    for folder in given.paths:
        scorer = Scorer(folder)
        held_out, unseen = scorer(scorer.held_out), scorer(scorer.data.test_normal)
        for stated in STATED:
            yield row(folder.name, *rate_cells(held_out, unseen, stated))


def rate_cells(held_out: Floats, unseen: Floats, stated: float) -> list[str]:
    """One line of `rates`: both scores [n] in the order of their names. The two intervals agree if they meet."""
    fit = fit_threshold(held_out, stated, in_order=True)
    low, high = fit.rate_interval
    over, count = int((unseen > fit.value).sum()), len(unseen)
    together = frames_per_independent(unseen)
    found = rate_interval(over / together, count / together, 0.95)
    return [
        f"{stated:.1%}",
        str(len(held_out)),
        f"{len(held_out) / frames_per_independent(held_out):.0f}",
        f"{low:.2%} to {high:.2%}",
        f"{count}, worth {count / together:.0f}",
        f"{over} ({over / count:.1%})",
        f"{found[0]:.2%} to {found[1]:.2%}",
        "yes" if found[0] <= high and low <= found[1] else "no",
    ]


def shown(normals: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """(pictures that the operator sees, other pictures of the same parts, pictures of other parts), by name."""
    first, second = normals[: len(normals) // 2], normals[len(normals) // 2 :]
    return list(first[::2]), list(first[1::2]), list(second)


class Scorer:
    """A trained run on pictures by path; each is scored once."""

    def __init__(self, folder: Path) -> None:
        run = load_run(folder)
        self.subject, root = RunSubject(run), Path(run.record.data_root)
        self.data: Dataset = list_dataset(root)
        self.held_out = [root / name for name in run.record.validation]
        self._known: dict[Path, float] = {}

    def __call__(self, paths: Sequence[Path]) -> Floats:
        """Scores [n]."""
        new = [p for p in paths if p not in self._known]
        if new:
            frames = Frames(new, self.subject.preprocessing).take(range(len(new))).numpy()
            self._known.update(zip(new, map(float, self.subject.score(frames).score), strict=True))
        return np.array([self._known[p] for p in paths])

    def threshold(self, rate: float, marked: Sequence[Path] = ()) -> float:
        """For the stated rate, from the held-out pictures and those that were marked."""
        return fit_threshold([*self(self.held_out), *self(marked)], rate, in_order=True).value

    def line(self, name: str, limit: float, normals: tuple[Sequence[Path], Sequence[Path]]) -> str:
        """A row of `marks`."""
        bad = self(self.data.test_anomalous)
        counts = [f"{int((self(paths) > limit).sum())} of {len(paths)}" for paths in normals]
        quality = auroc(np.concatenate([self(paths) for paths in normals]), bad)
        return row(name, f"{limit:.1f}", *counts, f"{(bad > limit).mean():.3f}", f"{quality:.3f}")


def _joined(data: Path, folder: Path, wrong: Sequence[Path]) -> Path:
    """`data` as links, joined by the pictures `wrong` as the product does it: alarm, mark, edge-events collect."""
    shutil.rmtree(folder, ignore_errors=True)
    linked(data, folder, None, 0)
    store = folder.with_name(f"{folder.name}-events")
    shutil.rmtree(store, ignore_errors=True)
    with closing(EventStore(store)) as events:
        for number, path in enumerate(wrong, 1):
            events.add(EventRecord(id=f"A{number}", kind="alarm", number=number, began_at=float(number)))
            events.save_pictures(Pictures(f"A{number}", 0, encode_png(read_image(path)), b""))
            events.mark(f"A{number}", "false-alarm", "benchmark")
    collect([store], "false-alarm", folder / "train" / "good")
    return folder
