"""The papers' data sets, made from public images in EDGE_TEST_DATA (or ../shared/data beside the repository)."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError

Images = NDArray[np.uint8]
SIDE = 84


@dataclass(frozen=True)
class Trial:
    """One training and its test: uint8 [n, H, W, C]. `row` names the table's row, such as the normal digit."""

    row: str
    train: Images
    normal: Images
    anomalous: Images
    known: Images | None = None


def data_root() -> Path:
    """Where the public images lie. Raises InputError if they do not."""
    root = Path(os.environ.get("EDGE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        raise InputError(f"no folder {root}", "it holds the papers' public images", "set EDGE_TEST_DATA")
    return root


def mnist() -> dict[str, NDArray[np.uint8]]:
    """x_train [60000, 28, 28], y_train, x_test [10000, 28, 28], y_test."""
    folder = data_root() / "mnist"
    arrays: dict[str, NDArray[np.uint8]] = {}
    for part in ("train", "test"):
        with np.load(next(folder.glob(f"*{part}*.npz"))) as file:
            arrays[f"x_{part}"], arrays[f"y_{part}"] = file["x"], file["y"]
    return arrays


def cifar() -> dict[str, dict[str, Images]]:
    """part -> class -> images BGR [n, 32, 32, 3]; the reduced, lossy copy."""
    found: dict[str, dict[str, list[Images]]] = {"train": {}, "test": {}}
    with zipfile.ZipFile(data_root() / "cifar10_subset" / "cifar10_subset.zip") as archive:
        for name in sorted(archive.namelist()):
            parts = name.split("/")
            if not name.endswith("/") and len(parts) >= 3 and parts[-3] in found:
                image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
                found[parts[-3]].setdefault(parts[-2], []).append(np.asarray(image, np.uint8))
    return {part: {kind: np.stack(images) for kind, images in kinds.items()} for part, kinds in found.items()}


def noisy(digits: Images, noise_mean: float, random: np.random.Generator) -> Images:
    """ADDA's and SPADER's noisy MNIST, [n, 84, 84, 1].

    Each digit at a side of 28..56 pixels, anywhere on 84x84, plus N(0, s^2), s = |N(noise_mean, 30^2)| per image,
    clipped to 0..255. Sizes, clipping and the absolute value are not stated by the papers and are ours.
    """
    return np.stack([_noisy(digit, noise_mean, random) for digit in digits])


def noisy_trial(normal: int, known: int | None, noise_mean: float, counts: tuple[int, int], seed: int) -> Trial:
    """One digit normal, nine anomalous (without the known one), made anew per seed; `counts` are (training, test)."""
    sets, random = mnist(), np.random.default_rng(seed)
    train, test = counts
    of = {digit: sets["x_test"][sets["y_test"] == digit] for digit in range(10)}
    pool = sets["x_train"][sets["y_train"] == normal]
    odd = [digit for digit in range(10) if digit not in (normal, known)]
    return Trial(
        row=str(normal) if known is None else f"{normal}, known {known}",
        train=noisy(random.permutation(pool)[:train], noise_mean, random),
        normal=noisy(_drawn(of[normal], test, random), noise_mean, random),
        anomalous=noisy(np.concatenate([_drawn(of[d], max(1, test // 9), random) for d in odd]), noise_mean, random),
        known=None
        if known is None
        else noisy(
            random.permutation(sets["x_train"][sets["y_train"] == known])[: max(8, train // 4)], noise_mean, random
        ),
    )


def one_class_mnist(normal: int, counts: tuple[int, int], seed: int) -> Trial:
    """One digit normal, nine anomalous, 32x32 (padded)."""
    sets, random = mnist(), np.random.default_rng(seed)
    train, test = counts
    pool = random.permutation(sets["x_train"][sets["y_train"] == normal])[:train]
    chosen = random.permutation(len(sets["x_test"]))[: 5 * test]
    x, y = sets["x_test"][chosen], sets["y_test"][chosen]
    return Trial(str(normal), _padded(pool), _padded(x[y == normal]), _padded(x[y != normal]))


def one_class_cifar(normal: str, counts: tuple[int, int], seed: int) -> Trial:
    """One class normal, nine anomalous."""
    sets, random = cifar(), np.random.default_rng(seed)
    train, test = counts
    odd = np.concatenate([_drawn(x, max(1, test // 3), random) for kind, x in sets["test"].items() if kind != normal])
    return Trial(
        normal, random.permutation(sets["train"][normal])[:train], _drawn(sets["test"][normal], test, random), odd
    )


def leave_one_out_cifar(anomalous: str, counts: tuple[int, int], seed: int) -> Trial:
    """Nine classes normal, one anomalous (its training images too, as skip-GANomaly's split)."""
    sets, random = cifar(), np.random.default_rng(seed)
    train, test = counts
    normal = [kind for kind in sets["train"] if kind != anomalous]
    pool = random.permutation(np.concatenate([sets["train"][kind] for kind in normal]))[:train]
    good = random.permutation(np.concatenate([sets["test"][kind] for kind in normal]))[:test]
    bad = random.permutation(np.concatenate([sets["test"][anomalous], sets["train"][anomalous]]))[:test]
    return Trial(anomalous, pool, good, bad)


def _noisy(digit: Images, noise_mean: float, random: np.random.Generator) -> Images:
    side = int(random.integers(28, 57))
    x, y = (int(random.integers(0, SIDE - side + 1)) for _ in range(2))
    canvas = np.zeros((SIDE, SIDE))
    canvas[y : y + side, x : x + side] = cv2.resize(digit, (side, side), interpolation=cv2.INTER_LINEAR)
    canvas += random.normal(0, abs(random.normal(noise_mean, 30)), canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)[:, :, None]


def _padded(digits: Images) -> Images:
    return np.pad(digits, ((0, 0), (2, 2), (2, 2)))[:, :, :, None]


def _drawn(images: Images, count: int, random: np.random.Generator) -> Images:
    return np.asarray(random.permutation(images)[:count], np.uint8)
