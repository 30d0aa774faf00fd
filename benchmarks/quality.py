"""How well a method finds defects: over sets and seeds, few normals, few known anomalies, and disturbed pictures.

    python -m benchmarks.quality sets DATA [DATA ...] --minutes 15 --seeds 0 1 2 > table.md
    python -m benchmarks.quality normals DATA --counts 20 50 100 --minutes 5
    python -m benchmarks.quality known DATA --counts 0 1 5 10 --minutes 5
    python -m benchmarks.quality robust RUN DATA
    python -m benchmarks.quality parts RUN DATA
    python -m benchmarks.quality marks DATA --steps 600 --rate 0.05
    python -m benchmarks.quality rates RUN [RUN ...]

DATA are folders in MVTec layout. Each prints a markdown table; runs are kept under --runs. Minutes are wall-clock
minutes on the threads given, or with --cpu the process's CPU minutes; --steps counts training steps instead, so that
other work on the machine changes nothing. `robust` and `parts` take a trained run: the first disturbs the test
pictures, the second scores with each part of the attention method's score alone. `marks` plays an operator who marks
false alarms, `rates` compares stated false-alarm rates with unseen normal pictures. Nothing here chooses anything:
figures are for people.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quality_alarms import marks, rates
from benchmarks.quality_runs import RESERVED, head, known_folder, linked, number, row, spread, trained_figures
from edge.dataset import list_dataset
from edge.gate import auroc
from edge.images import read_image
from edge.preprocess import preprocess
from train.augment.normal import compressed
from train.checkpoint import load_run
from train.evaluate import evaluate, load_test
from train.method import Option
from train.methods import build
from train.subject import RunSubject

Frames = NDArray[np.uint8]
FIGURES = ("image_auroc", "pixel_auroc", "aupro", "false_alarm_rate", "detection_rate")
CONTROLS = ("control_brightness_auroc", "control_contrast_auroc")


def main(arguments: Sequence[str]) -> int:
    """Run one table."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    for line in TABLES[given.table](given):
        print(line, flush=True)
    return 0


def sets(given: argparse.Namespace) -> Iterator[str]:
    """Mean and deviation over seeds of each set, controls beside them, brightness removed and not."""
    names = (*FIGURES, *CONTROLS)
    yield from head("set", "runs", *names)
    for data in given.paths:
        found = [trained_figures(given, data, f"{data.name}-{seed}", seed) for seed in given.seeds]
        yield row(data.name, str(len(found)), *(spread([f[name] for f in found]) for name in names))


def normals(given: argparse.Namespace) -> Iterator[str]:
    """Figures over the number of normal training images; the last row has all."""
    data = given.paths[0]
    every = len(list_dataset(data).train_normal)
    yield from head("normals", *FIGURES)
    for count in (*(c for c in given.counts if c < every), every):
        folder = linked(data, given.runs / f"{data.name}-{count}-data", count, 0)
        found = [trained_figures(given, folder, f"{data.name}-n{count}-{s}", s) for s in given.seeds]
        yield row(str(count), *(spread([f[name] for f in found]) for name in FIGURES))


def known(given: argparse.Namespace) -> Iterator[str]:
    """Figures over the number of known anomalies, always on the same test images."""
    data = given.paths[0]
    folder = linked(data, given.runs / f"{data.name}-reserved-data", None, RESERVED)
    yield from head("known anomalies", *FIGURES)
    for count in given.counts:
        few = known_folder(data, given.runs / f"{data.name}-known{count}", count)
        found = [trained_figures(given, folder, f"{data.name}-k{count}-{s}", s, few) for s in given.seeds]
        yield row(str(count), *(spread([f[name] for f in found]) for name in FIGURES))


def robust(given: argparse.Namespace) -> Iterator[str]:
    """AUROC, false alarms and detections at the stored threshold, with disturbed test pictures.

    The camera's pictures are disturbed, before parts are located and sizes changed.
    """
    subject = RunSubject(load_run(given.paths[0]))
    test, _ = load_test(list_dataset(given.paths[1]), subject)
    paths, bad, threshold = test.paths[:: given.every], test.anomalous[:: given.every], subject.threshold
    yield from head("disturbance", "image_auroc", "false alarms", "detected")
    for name, change in DISTURBANCES.items():
        random = np.random.default_rng(0)
        seen = [preprocess(change(read_image(path), random), subject.preprocessing) for path in paths]
        score = subject.score(np.stack(seen)).score
        rates = [f"{(score[s] > threshold.value).mean():.3f}" if threshold else "-" for s in (~bad, bad)]
        yield row(name, f"{auroc(score[~bad], score[bad]):.3f}", *rates)


def parts(given: argparse.Namespace) -> Iterator[str]:
    """What each part of the attention method's score finds alone, and all together."""
    run = load_run(given.paths[0])
    names = ("attention_part", "middle_part", "deep_part")
    yield from head("parts of the score", "image_auroc", "pixel_auroc", "aupro")
    for chosen in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)):
        weights: dict[str, Option] = {n: float(w) for n, w in zip(names, chosen, strict=True)}
        config = replace(run.method.config, options={**run.method.config.options, **weights})
        method = build(run.record.method, config)
        method.networks.load_state_dict(run.method.networks.state_dict())
        method.networks.eval()
        figures = evaluate(RunSubject(replace(run, method=method)), given.paths[1]).figures
        label = " + ".join(n.removesuffix("_part") for n, w in zip(names, chosen, strict=True) if w)
        yield row(label, *(number(figures[name]) for name in ("image_auroc", "pixel_auroc", "aupro")))


def _scaled(gain: float, offset: float = 0.0) -> Callable[[Frames, np.random.Generator], Frames]:
    def change(frame: Frames, random: np.random.Generator) -> Frames:
        mean = frame.mean() if offset else 0.0
        return _rounded((frame - mean) * gain + mean)

    return change


def _blurred(frame: Frames, random: np.random.Generator) -> Frames:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.0), np.uint8).reshape(frame.shape)


def _noisy(frame: Frames, random: np.random.Generator) -> Frames:
    return _rounded(frame + random.normal(0, 5, frame.shape))


def _compressed(frame: Frames, random: np.random.Generator) -> Frames:
    planes = frame.reshape(*frame.shape[:2], -1).astype(np.float32)
    return np.asarray(compressed(planes, 50), np.uint8).reshape(frame.shape)


def _placed(angle: float, shift: float) -> Callable[[Frames, np.random.Generator], Frames]:
    def change(frame: Frames, random: np.random.Generator) -> Frames:
        height, width = frame.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        matrix[:, 2] += (shift * width, shift * height)
        moved = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(moved, np.uint8).reshape(frame.shape)

    return change


def _rounded(image: NDArray[np.floating]) -> Frames:
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


DISTURBANCES: dict[str, Callable[[Frames, np.random.Generator], Frames]] = {
    "none": lambda frame, random: frame,
    "brightness +20 %": _scaled(1.2),
    "brightness -20 %": _scaled(0.8),
    "contrast +20 %": _scaled(1.2, 1.0),
    "contrast -20 %": _scaled(0.8, 1.0),
    "blur, 1 pixel": _blurred,
    "noise, 5 grey levels": _noisy,
    "JPEG, quality 50": _compressed,
    "shift, 3 %": _placed(0.0, 0.03),
    "turned by 3 degrees": _placed(3.0, 0.0),
}
TABLES = {
    "sets": sets,
    "normals": normals,
    "known": known,
    "robust": robust,
    "parts": parts,
    "marks": marks,
    "rates": rates,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("quality-runs"))
    parser.add_argument("--model", default="auto")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--cpu", action="store_true", help="minutes are of this process's CPU time")
    parser.add_argument("--every", type=int, default=1, help="`robust` takes every so many test pictures")
    parser.add_argument("--rate", type=float, default=0.01, help="stated false-alarm rate of `marks`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[])
    parser.add_argument("--image-size", type=int)
    parser.add_argument(
        "--locate", default="auto", choices=("auto", "on", "turn", "off"), help="as edge-train takes it"
    )
    parser.add_argument("--width", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, an option of the method")
    parser.add_argument("--remove-brightness", action="store_true")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
