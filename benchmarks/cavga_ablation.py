"""CAVGA's ablation, on generated bolts and on digits: one loss on against off, everything else the same.

    python benchmarks/cavga_ablation.py bolts  [--epochs 40] [--seeds 0 1 2]
    python benchmarks/cavga_ablation.py digits [--epochs 40] [--digits 0 1 4]

bolts:  the attention expansion loss (cavga-d) and the complementary guided attention loss (cavga-d-w), on and off, with
        the same pictures, start, order and noise. IoU of heatmap > 0.5 with the defect (the paper's rule), pixel AUROC
        of the raw heatmap, and how much of a good picture the attention covers. 64x64, colour.
digits: one digit normal, nine anomalous. AUROC of the score, of the masked error, and of mean brightness alone. The
        options ONE_CLASS were chosen by looking at digit 8, which is therefore no fair test of them.
Epochs are fixed beforehand; no figure of the test pictures chooses anything.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import paper_data as data
import torch
from numpy.typing import NDArray

from edge.cli.base import stage
from train.bolts import DEFECTS, Defect, draw_scene, render
from train.data import ArrayFrames, Known
from train.evaluate import upsampled
from train.infer import Scored, score_frames
from train.loop import Loop, Plan
from train.method import Method, MethodConfig, Option
from train.methods import build
from train.metrics import auroc, intersection_over_union, pixel_auroc
from train.noise import seed_of
from train.processes import open_fabric

Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # uint8 [n, H, W, C]; masks uint8 [n, H, W], 0 or 255
SIDE = 64
CASES: dict[str, tuple[str, str]] = {"cavga-d": ("ae", "L_ae"), "cavga-d-w": ("cga", "L_cga")}
ONE_CLASS: dict[str, Option] = {"rows": 2, "top": 0.05}


def bolts_drawn(count: int, defects: tuple[Defect | None, ...], part: str) -> Pictures:
    """`count` bolts, whose defects take turns; a picture depends on (part, defect, number) alone."""
    scenes = [
        draw_scene(np.random.default_rng(seed_of(part, str(defects[n % len(defects)]), n)), defects[n % len(defects)])
        for n in range(count)
    ]
    images, masks = zip(*(render(scene, SIDE) for scene in scenes), strict=True)
    return np.stack(images), np.stack(masks)


def trained(
    name: str, images: NDArray[np.uint8], known: Known | None, options: dict[str, Option], asked: argparse.Namespace
) -> Method:
    """`name` after the asked epochs on `images`; the last tenth is held out and only looked at."""
    height, width, channels = images.shape[1:]
    torch.manual_seed(asked.seed)
    method = build(name, MethodConfig(height, width, channels, asked.width, options))
    held = max(2, len(images) // 10)
    frames = ArrayFrames(images[held:]), ArrayFrames(images[:held]), known
    plan = Plan(asked.batch, asked.seed, epochs=asked.epochs)
    Loop(method, plan, frames, open_fabric("cpu"), lambda loop: None).run()
    method.networks.eval()
    return method


def located(name: str, good: Scored, bad: Scored, masks: NDArray[np.uint8]) -> dict[str, float | None]:
    """IoU at 0.5 and pixel AUROC on the bad pictures, the attention's cover of the good ones, image AUROC."""
    maps = [upsampled(heatmap, SIDE, SIDE) for heatmap in bad.heatmap]
    truth = [mask > 0 for mask in masks]
    return {
        "IoU at 0.5": intersection_over_union(maps, truth, 0.5),
        "pixel AUROC": pixel_auroc(maps, truth),
        "marked of a good picture": float((good.heatmap > 0.5).mean()),
        "mean heatmap of a good picture": float(good.heatmap.mean()),
        "image AUROC": auroc(good.score, bad.score),
        "masked error AUROC": auroc(good.masked_error, bad.masked_error),
    }


def bolts(asked: argparse.Namespace) -> None:
    """One line per loss, on and off, mean and deviation over seeds."""
    train, _ = bolts_drawn(200, (None,), "train")
    known_images, known_masks = bolts_drawn(20, DEFECTS, "known")
    good, bad = bolts_drawn(50, (None,), "test"), bolts_drawn(50, DEFECTS, "test")
    marks = torch.from_numpy((known_masks > 0).astype(np.uint8))
    known = Known(Path(), (), torch.from_numpy(known_images), marks)
    first = True
    for name, (term, loss) in CASES.items():
        if name not in asked.methods:
            continue
        for on in (True, False):
            options: dict[str, Option] = {"learning_rate": asked.rate} | ({} if on else {term: 0.0})
            figures = []
            for seed in asked.seeds:
                asked.seed = seed
                method = trained(name, train, known if name.endswith("-w") else None, options, asked)
                scored = [score_frames(method.scorer(), ArrayFrames(part[0])) for part in (good, bad)]
                figures.append(located(name, scored[0], scored[1], bad[1]))
            if first:
                print("| method | loss | " + " | ".join(figures[0]) + " |\n" + "|---" * (2 + len(figures[0])) + "|")
                first = False
            cells = " | ".join(_spread([f[key] for f in figures]) for key in figures[0])
            print(f"| {name} | {loss} {'on' if on else 'off'} | {cells} |", flush=True)


def digits(asked: argparse.Namespace) -> None:
    """One line per digit."""
    print("| normal | score | masked error | brightness alone |\n|---|---|---|---|")
    asked.seed = asked.seeds[0]
    for digit in asked.digits:
        trial = data.one_class_mnist(digit, (asked.images, 900), asked.seed)
        method = trained("cavga-d", trial.train, None, {"learning_rate": asked.rate} | ONE_CLASS, asked)
        good, bad = (score_frames(method.scorer(), ArrayFrames(x)) for x in (trial.normal, trial.anomalous))
        found = [auroc(getattr(good, part), getattr(bad, part)) for part in ("score", "masked_error")]
        found.append(auroc(trial.normal.mean((1, 2, 3)), trial.anomalous.mean((1, 2, 3))))
        print(f"| {digit} | " + " | ".join(_spread([value]) for value in found) + " |", flush=True)


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{np.mean(known):.3f}" + (f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else "")


def main(arguments: list[str]) -> int:
    """Run a table and print it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("bolts", "digits"))
    parser.add_argument("--methods", nargs="+", default=list(CASES))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--digits", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--images", type=int, default=2000, help="training pictures of a digit")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    {"bolts": bolts, "digits": digits}[asked.table](asked)
    stage("ablation", time.monotonic() - began, f"{asked.table}, {asked.epochs} epochs, width {asked.width}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
