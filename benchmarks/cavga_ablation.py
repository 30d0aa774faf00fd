"""CAVGA's ablation on generated bolts: one loss on against off, everything else the same.

    python benchmarks/cavga_ablation.py [--epochs 30] [--seeds 0 1 2] [--methods cavga-d cavga-d-w]

The attention expansion loss (cavga-d) and the complementary guided attention loss (cavga-d-w), on and off, with the
same pictures, start, order and noise. IoU of heatmap > 0.5 with the defect (the paper's rule), pixel AUROC of the raw
heatmap, and how much of a good picture it marks. 64x64, colour. cavga-d-w gives two rows from one network: its heatmap
made of the anomalous class's attention (the paper's), and of the normal class's. Epochs are fixed beforehand; no figure
of the test pictures chooses anything.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from paper_fit import fit

from edge.cli.base import stage
from edge.gate import auroc
from train.bolts import DEFECTS, Defect, draw_scene, render
from train.data import ArrayFrames, Known
from train.evaluate import upsampled
from train.infer import score_frames
from train.loop import Plan
from train.method import Method, MethodConfig, Option
from train.methods import build
from train.metrics import intersection_over_union, pixel_auroc
from train.noise import seed_of

Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # uint8 [n, H, W, C]; masks uint8 [n, H, W], 0 or 255
SIDE = 64
CASES: dict[str, tuple[str, str]] = {"cavga-d": ("ae", "L_ae"), "cavga-d-w": ("cga", "L_cga")}
MAPS = ("anomalous", "normal")  # classes


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
    """`name` after the asked epochs on `images`."""
    torch.manual_seed(asked.seed)
    method = build(name, MethodConfig(*images.shape[1:], asked.width, options))
    fit(method, images, known, Plan(asked.batch, asked.seed, epochs=asked.epochs), "cpu")
    return method


def with_map(method: Method, name: str, kind: str) -> Method:
    """The same weights, with a heatmap made of the attention of class `kind`."""
    c = method.config
    other = build(name, MethodConfig(c.height, c.width, c.channels, c.base_width, {**c.options, "map_of": kind}))
    other.networks.load_state_dict(method.networks.state_dict())
    return other


def located(method: Method, good_part: Pictures, bad_part: Pictures) -> dict[str, float | None]:
    """IoU at 0.5 and pixel AUROC on the bad pictures, the attention's cover of the good ones, image AUROC."""
    good, bad = (score_frames(method.scorer(), ArrayFrames(part[0])) for part in (good_part, bad_part))
    maps = [upsampled(heatmap, SIDE, SIDE) for heatmap in bad.heatmap]
    truth = [mask > 0 for mask in bad_part[1]]
    return {
        "IoU at 0.5": intersection_over_union(maps, truth, 0.5),
        "pixel AUROC": pixel_auroc(maps, truth),
        "marked of a good picture": float((good.heatmap > 0.5).mean()),
        "mean heatmap of a good picture": float(good.heatmap.mean()),
        "image AUROC": auroc(good.score, bad.score),
        "masked error AUROC": auroc(good.masked_error, bad.masked_error),
    }


def bolts(asked: argparse.Namespace) -> None:
    """One line per loss, on and off, and per heatmap; mean and deviation over seeds."""
    train, _ = bolts_drawn(200, (None,), "train")
    known_images, known_masks = bolts_drawn(20, DEFECTS, "known")
    test = bolts_drawn(50, (None,), "test"), bolts_drawn(50, DEFECTS, "test")
    marks = torch.from_numpy((known_masks > 0).astype(np.uint8))
    known = Known(Path(), (), torch.from_numpy(known_images), marks)
    first = True
    for name in asked.methods:
        weak, (term, loss) = name.endswith("-w"), CASES[name]
        for on in (True, False):
            options: dict[str, Option] = {"learning_rate": asked.rate} | ({} if on else {term: 0.0})
            figures: dict[str, list[dict[str, float | None]]] = {}
            for seed in asked.seeds:
                asked.seed = seed
                method = trained(name, train, known if weak else None, options, asked)
                for kind in MAPS if weak else MAPS[:1]:
                    figures.setdefault(kind, []).append(located(with_map(method, name, kind), *test))
            for kind, each in figures.items():
                if first:
                    columns = ("method", "loss", "heatmap", *each[0])
                    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
                    first = False
                heatmap = ("A of anomalous" if kind == "anomalous" else "1 - A of normal") if weak else "1 - A"
                cells = " | ".join(_spread([f[key] for f in each]) for key in each[0])
                print(f"| {name} | {loss} {'on' if on else 'off'} | {heatmap} | {cells} |", flush=True)


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{np.mean(known):.3f}" + (f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else "")


def main(arguments: list[str]) -> int:
    """Run the ablation and print it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    bolts(asked)
    stage("ablation", time.monotonic() - began, f"{asked.epochs} epochs, width {asked.width}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
