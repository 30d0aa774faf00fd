"""Which images a data folder holds, and the split that training, calibration and evaluation agree on.

Two layouts: MVTec (`train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/<name>_mask.png`) and a plain
folder of normal images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError
from edge.files import sha256_of
from edge.images import list_images
from edge.manifest import DataFingerprint


@dataclass(frozen=True)
class Dataset:
    """Paths only; nothing is read. `masks` maps an anomalous test image to its mask (absent: no mask is known)."""

    root: Path
    train_normal: tuple[Path, ...]
    test_normal: tuple[Path, ...]
    test_anomalous: tuple[Path, ...]
    masks: dict[Path, Path]


def list_dataset(root: Path) -> Dataset:
    """The images under `root`. Raises InputError if it is missing or holds no normal images."""
    if not root.is_dir():
        raise InputError(f"no data folder {root}", "it does not exist or is not a folder", "check the path")
    if not (root / "train" / "good").is_dir():
        return Dataset(root, tuple(list_images(root)), (), (), {})
    good, test = root / "test" / "good", root / "test"
    defects = sorted(d for d in test.iterdir() if d.is_dir() and d != good) if test.is_dir() else []
    anomalous = tuple(p for d in defects for p in list_images(d))
    return Dataset(
        root=root,
        train_normal=tuple(list_images(root / "train" / "good")),
        test_normal=tuple(list_images(good)) if good.is_dir() else (),
        test_anomalous=anomalous,
        masks={p: m for p in anomalous if (m := _mask_of(root, p)) is not None},
    )


def split_validation(
    paths: Sequence[Path], fraction: float = 0.2, blocks: int = 5
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Split normal images, in name order, into (training, validation).

    Validation is `blocks` contiguous runs of names: neighbours by name are often the same part or second, and a random
    split would put copies of the training images into the validation set. At least one image stays on each side; raises
    InputError for fewer than two images.
    """
    ordered = sorted(paths)
    if len(ordered) < 2:
        raise InputError("too few normal images", f"found {len(ordered)}, need 2 at least", "add images of good parts")
    blocks = max(1, min(blocks, round(len(ordered) * fraction)))
    wanted = min(max(round(len(ordered) * fraction), blocks), len(ordered) - 1)
    chosen = set(_block_indices(len(ordered), wanted, blocks))
    kept = tuple(p for i, p in enumerate(ordered) if i not in chosen)
    return kept, tuple(ordered[i] for i in sorted(chosen))


def fingerprint(root: Path, paths: Sequence[Path]) -> DataFingerprint:
    """SHA-256 over the sorted (name relative to `root`, file hash) pairs of `paths`."""
    lines = sorted(f"{p.relative_to(root)}\0{sha256_of(p.read_bytes())}\n" for p in paths)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return DataFingerprint(name=root.resolve().name, frames=len(lines), sha256=digest)


def _block_indices(count: int, wanted: int, blocks: int) -> list[int]:
    """`wanted` of `count` indices as `blocks` runs, one at the end of each of `blocks` equal stretches."""
    indices: list[int] = []
    for block in range(blocks):
        end = (block + 1) * count // blocks
        size = (block + 1) * wanted // blocks - block * wanted // blocks
        indices += range(end - size, end)
    return indices


def _mask_of(root: Path, image: Path) -> Path | None:
    folder = root / "ground_truth" / image.parent.name
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (folder / name).is_file():
            return folder / name
    return None
