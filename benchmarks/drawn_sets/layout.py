"""The drawn sets as folders in MVTec's layout; every picture can also be drawn by itself."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.drawn_sets import caps, gear, leather, pcb, pills, washer, weave
from benchmarks.drawn_sets.camera import photographed, photographed_mask
from benchmarks.drawn_sets.drawing import Floats, Pixels, Random, uniform

GOOD = "good"
TEST_GOOD = 30  # good test pictures of a set
TEST_BAD = 12  # test pictures of each kind of defect
SEVERITY_SEED = 77


@dataclass(frozen=True)
class DrawnSet:
    """`draw(random, kind, severity)` gives a scene and where it is defective; `kind` is None for a good one."""

    draw: Callable[[Random, str | None, float], tuple[Floats, Floats]]
    kinds: tuple[str, ...]
    training: int


SETS = {
    "caps": DrawnSet(caps.draw, caps.KINDS, caps.TRAINING),
    "pcb": DrawnSet(pcb.draw, pcb.KINDS, pcb.TRAINING),
    "weave": DrawnSet(weave.draw, weave.KINDS, weave.TRAINING),
    "pills": DrawnSet(pills.draw, pills.KINDS, pills.TRAINING),
    "gear": DrawnSet(gear.draw, gear.KINDS, gear.TRAINING),
    "leather": DrawnSet(leather.draw, leather.KINDS, leather.TRAINING),
    "washer": DrawnSet(washer.draw, washer.KINDS, washer.TRAINING),
}


def good_picture(name: str, split: str, index: int) -> Pixels:
    """Picture `index` of the good ones of set `name`, BGR [H, W, 3] or grey [H, W]; `split`: train or test."""
    random = _random(name, split, GOOD, index)
    scene, _ = SETS[name].draw(random, None, 0.0)
    return photographed(random, scene)


def bad_picture(name: str, kind: str, index: int) -> tuple[Pixels, Pixels]:
    """Test picture `index` of one kind of defect, as `good_picture` gives it, and its mask [H, W], 0 or 255."""
    random = _random(name, "test", kind, index)
    scene, marked = SETS[name].draw(random, kind, severity(index))
    return photographed(random, scene), photographed_mask(marked)


def severity(index: int) -> float:
    """How severe the defect of picture `index` is, 0..1; every third is subtle."""
    random = np.random.default_rng([SEVERITY_SEED, index])
    return uniform(random, 0.0, 0.2) if index % 3 == 0 else uniform(random, 0.4, 1.0)


def write(name: str, folder: Path) -> None:
    """Write set `name` to `folder`: train/good, test/good, test/<kind> and ground_truth/<kind>."""
    for index in range(SETS[name].training):
        _write(folder / "train" / GOOD / f"{index:03d}.png", good_picture(name, "train", index))
    for index in range(TEST_GOOD):
        _write(folder / "test" / GOOD / f"{index:03d}.png", good_picture(name, "test", index))
    for kind in SETS[name].kinds:
        for index in range(TEST_BAD):
            picture, mask = bad_picture(name, kind, index)
            _write(folder / "test" / kind / f"{index:03d}.png", picture)
            _write(folder / "ground_truth" / kind / f"{index:03d}_mask.png", mask)


def _write(path: Path, image: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"cannot write {path}")


def _random(name: str, split: str, kind: str, index: int) -> Random:
    """Every picture has a seed of its own, so that none depends on which others are drawn."""
    return np.random.default_rng([zlib.crc32(name.encode()), zlib.crc32(f"{split}/{kind}".encode()), index])
