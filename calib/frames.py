"""Which frames calibration sees: the training part sets the ranges, the held-out part judges and fits thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.dataset import list_dataset, split_validation
from edge.errors import InputError
from edge.images import read_image
from edge.manifest import ImageStatistics
from edge.preprocess import Prepared, Preprocessing, prepared

DEFAULT_FRAMES = 200
KEPT_BYTES = 256 << 20  # preprocessed frames kept in memory; the rest is read again


@dataclass(frozen=True)
class CalibrationFrames:
    """Paths in fixed order. `labels` are true for the anomalous ones among `test` (empty where there is no test part).

    `asked` and `len(calibration)` differ only where the caller asked for no number.
    """

    root: Path
    asked: int
    calibration: tuple[Path, ...]
    held_out: tuple[Path, ...]
    test: tuple[Path, ...]
    labels: tuple[bool, ...]


def choose_frames(root: Path, count: int | None, use_all: bool = False) -> CalibrationFrames:
    """Choose `count` calibration frames, spread evenly over the training part of `root`.

    Without `count`: 200 of them, or all where there are fewer or `use_all` is set. Raises InputError if the folder has
    no such layout or holds fewer than `count`.
    """
    dataset = list_dataset(root)
    training, held_out = split_validation(dataset.train_normal)
    if count is not None and not 1 <= count <= len(training):
        raise InputError(
            f"asked for {count} calibration frames",
            f"{root} has {len(training)} besides the {len(held_out)} held out for the threshold",
            f"add images of good parts, or say --frames {len(training)} or --frames all",
        )
    used = count or (len(training) if use_all else min(DEFAULT_FRAMES, len(training)))
    test = dataset.test_normal + dataset.test_anomalous if dataset.test_normal and dataset.test_anomalous else ()
    return CalibrationFrames(
        root=root,
        asked=used,
        calibration=tuple(training[i] for i in _spread(len(training), used)),
        held_out=held_out,
        test=test,
        labels=tuple(i >= len(dataset.test_normal) for i in range(len(test))),
    )


class Frames(Sequence[NDArray[np.uint8]]):
    """Preprocessed frames [H, W, C] of `paths`, read on demand and kept while they fit into memory.

    A file that cannot be read or preprocessed raises InputError naming it: no frame is ever left out silently.
    """

    def __init__(self, paths: Sequence[Path], spec: Preprocessing, kept_bytes: int = KEPT_BYTES) -> None:
        self.paths, self._spec = tuple(paths), spec
        self._room = kept_bytes
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        frame = self._kept.get(index)
        if frame is None:
            frame = _prepared(self.paths[index], self._spec).frame
            if frame.nbytes <= self._room:
                self._room -= frame.nbytes
                self._kept[index] = frame
        return frame

    def brightness(self) -> float:
        """The median of the pictures' mean grey levels, of whole pictures if parts are located."""
        if self._spec.locate is None:
            return float(np.median([frame.mean() for frame in self]))
        return float(np.median([_prepared(path, self._spec).overview.mean() for path in self.paths]))


def require_familiar(frames: Frames, known: ImageStatistics, root: Path) -> None:
    """Raise InputError if the frames are not of the kind that the model was trained on.

    Their median brightness (grey levels) must lie within the range of the training images, widened by 25 levels.
    """
    brightness = frames.brightness()
    low, _, high = known.brightness
    if not low - 25.0 <= brightness <= high + 25.0:
        raise InputError(
            f"{root} does not hold the kind of images that the model was trained on",
            f"their median brightness is {brightness:.0f}, in training it lay between {low:.0f} and {high:.0f}",
            "give the training folder, or train on these images",
        )


def _prepared(path: Path, spec: Preprocessing) -> Prepared:
    image = read_image(path)
    try:
        return prepared(image, spec)
    except InputError as error:
        raise InputError(f"cannot use {path}", f"{error.what}, {error.why}", error.fix) from error


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` indices spread evenly over `count`: neighbours by name are often the same part."""
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
