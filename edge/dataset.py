"""Which images a data folder holds, and the split that training, calibration and evaluation agree on.

Two layouts: MVTec (`train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/<name>_mask.png`) and a plain
folder of normal images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import InputError
from edge.files import sha256_of
from edge.images import list_images
from edge.manifest import DataFingerprint

MARKED = "marked-"  # begins the names of pictures that an operator marked as false alarms


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

    Validation is `blocks` runs of neighbouring names: neighbours are often the same part or second, and a random split
    would put copies of the training images into the validation set. For the same reason each run ends where names
    change most nearby. Pictures that begin with MARKED always train: they were picked by their score, so they are no
    sample to fit a threshold on. At least one image stays on each side; raises InputError for fewer than two images.
    """
    ordered = sorted(p for p in paths if not p.name.startswith(MARKED))
    if len(ordered) < 2:
        raise InputError("too few normal images", f"found {len(ordered)}, need 2 at least", "add images of good parts")
    blocks = max(1, min(blocks, round(len(ordered) * fraction)))
    wanted = min(max(round(len(ordered) * fraction), blocks), len(ordered) - 1)
    runs = _snapped(_runs(len(ordered), wanted, blocks), [_tokens(p) for p in ordered])
    chosen = {i for start, end in runs for i in range(start, end)}
    held_out = {ordered[i] for i in chosen}
    return tuple(p for p in sorted(paths) if p not in held_out), tuple(ordered[i] for i in sorted(chosen))


def fingerprint(root: Path, paths: Sequence[Path]) -> DataFingerprint:
    """SHA-256 over the sorted (name relative to `root`, file hash) pairs of `paths`."""
    lines = sorted(f"{p.relative_to(root)}\0{sha256_of(p.read_bytes())}\n" for p in paths)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return DataFingerprint(name=root.resolve().name, frames=len(lines), sha256=digest)


def _runs(count: int, wanted: int, blocks: int) -> list[tuple[int, int]]:
    """`wanted` of `count` indices as (start, end) of `blocks` runs, one at the end of each of as many stretches."""
    runs = []
    for block in range(blocks):
        end = (block + 1) * count // blocks
        runs.append((end - ((block + 1) * wanted // blocks - block * wanted // blocks), end))
    return runs


def _snapped(runs: list[tuple[int, int]], names: list[list[str]]) -> list[tuple[int, int]]:
    """Each end of a run moved to the nearest of the places around where neighbouring names have least in common.

    An end moves by less than half the run and half the gap before it, so runs neither vanish nor meet.
    """
    moved, previous = [], 0
    for start, end in runs:
        reach = max(0, min(end - start - 1, start - previous - 1) // 2)
        moved.append((_change_near(start, reach, names), _change_near(end, reach, names)))
        previous = end
    return moved


def _change_near(place: int, reach: int, names: list[list[str]]) -> int:
    """The index i near `place` for which names i - 1 and i share the fewest leading tokens; the nearest of several."""
    if not 0 < place < len(names):
        return place
    near = range(max(1, place - reach), min(len(names) - 1, place + reach) + 1)
    return min(near, key=lambda i: (_shared(names[i - 1], names[i]), abs(i - place)))


def _shared(first: list[str], second: list[str]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _tokens(path: Path) -> list[str]:
    """A name as runs of digits and of other characters: g007_exp1 -> g, 007, _exp, 1."""
    return re.findall(r"\d+|\D+", path.stem)


def _mask_of(root: Path, image: Path) -> Path | None:
    folder = root / "ground_truth" / image.parent.name
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (folder / name).is_file():
            return folder / name
    return None
