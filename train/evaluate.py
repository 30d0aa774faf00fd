"""Evaluation on labelled test images, with the controls that unmask a trivial data set.

The test set chooses nothing: threshold and pixel threshold come from held-out normal images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.dataset import Dataset, list_dataset
from edge.errors import InputError
from edge.gate import auroc
from edge.images import read_image
from edge.locate import Affine, enlarged, laid_back
from edge.manifest import Threshold
from edge.preprocess import Preprocessing, prepared, region_of
from train.data import Frames, read_mask
from train.infer import Array, Scored
from train.metrics import aupro, balanced_accuracy, intersection_over_union, pixel_auroc, threshold_interval
from train.subject import Normals, RunSubject, Subject

WHOLE = 256  # pixels


@dataclass(frozen=True)
class Whole:
    """A whole picture, its longer side at most WHOLE pixels: where the view's pixels lie in it, its size (height,
    width), and its mask, bool of that size, or None."""

    place: Affine
    size: tuple[int, int]
    mask: NDArray[np.bool_] | None

    def heatmap(self, view: Array) -> Array:
        """The heatmap of the view, [H, W], in the whole picture: 0 where the model did not look."""
        return laid_back(view, self.place, self.size)


@dataclass(frozen=True)
class TestSet:
    """Test images as the model sees them: normal ones first. `masks` are bool [H, W], None where none is known.

    `wholes`, where parts are located: how each view lies in its whole picture, by which pixels are then judged.
    """

    paths: tuple[Path, ...]
    kinds: tuple[str, ...]  # folder names; "good" is normal
    frames: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_] | None, ...]
    wholes: tuple[Whole, ...] | None = None

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """[n], True for an anomaly."""
        return np.array([kind != "good" for kind in self.kinds], bool)


@dataclass(frozen=True)
class Evaluation:
    """Everything that the JSON file and the report show."""

    title: str
    data: Path
    test: TestSet
    scored: Scored
    threshold: Threshold | None
    threshold_interval: tuple[float, float] | None
    normals: Normals | None
    figures: dict[str, float | int | None]
    per_defect: dict[str, float | None]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures under the documented keys, and what they belong to."""
        return {
            **self.figures,
            "threshold_interval": self.threshold_interval,
            "per_defect_auroc": self.per_defect,
            "subject": self.title,
            "data": str(self.data),
            "notes": list(self.notes),
        }


def evaluate(subject: Subject, data: Path, remove_brightness: bool = False) -> Evaluation:
    """Score the test images under `data` and compare with their labels.

    `remove_brightness` shifts every image to the mean brightness of the held-out normals first: what a method still
    finds then, it did not read off the exposure. Raises InputError if there are no test images.
    """
    dataset = list_dataset(data)
    test, notes = load_test(dataset, subject)
    normals = subject.normals(dataset)
    brightness = test.frames.mean((1, 2, 3))
    contrast = test.frames.astype(np.float32).std((1, 2, 3))
    if remove_brightness:
        test = replace(test, frames=_shifted(test.frames, _target(normals, test)))
        notes.append("each image's mean brightness was removed before scoring")
    scored = subject.score(test.frames)
    bad = test.anomalous
    figures = {
        **_image_figures(scored.score, bad, subject.threshold),
        **_pixel_figures(test, scored, normals),
        "control_brightness_auroc": auroc(brightness[~bad], brightness[bad]),
        "control_contrast_auroc": auroc(contrast[~bad], contrast[bad]),
        "masked_error_auroc": auroc(scored.masked_error[~bad], scored.masked_error[bad]),
        "n_normal": int((~bad).sum()),
        "n_anomalous": int(bad.sum()),
    }
    kinds = np.array(test.kinds)
    per_defect = {
        kind: auroc(scored.score[~bad], scored.score[kinds == kind])
        for kind in dict.fromkeys(test.kinds)
        if kind != "good"
    }
    return Evaluation(
        title=subject.title,
        data=data,
        test=test,
        scored=scored,
        threshold=subject.threshold,
        threshold_interval=_interval(subject.threshold, normals),
        normals=normals,
        figures=figures,
        per_defect=per_defect,
        notes=tuple(notes),
    )


def load_test(dataset: Dataset, subject: Subject) -> tuple[TestSet, list[str]]:
    """The test images, without those that the run knew as anomalies. Raises InputError if there are none."""
    known = _known_names(subject)
    anomalous = tuple(p for p in dataset.test_anomalous if p.resolve() not in known)
    notes = []
    if len(anomalous) < len(dataset.test_anomalous):
        notes.append(
            f"{len(dataset.test_anomalous) - len(anomalous)} test images left out: they were known in training"
        )
    paths = (*dataset.test_normal, *anomalous)
    if not paths:
        raise InputError(f"no test images in {dataset.root}", "it has no test/good or test/<defect>", "see --help")
    spec = subject.preprocessing
    frames = Frames(paths, spec).take(range(len(paths))).numpy()
    masks = [np.zeros((spec.height, spec.width), bool) for _ in dataset.test_normal]
    found = [_mask(p, dataset.masks.get(p), spec) for p in anomalous]
    if any(mask is None for mask in found):
        notes.append(
            f"{sum(m is None for m in found)} of {len(found)} bad images have no mask; pixel figures ignore them"
        )
    notes += [
        _scarce(count, kind)
        for count, kind in ((len(dataset.test_normal), "good"), (len(anomalous), "bad"))
        if count < 2
    ]
    kinds = tuple("good" for _ in dataset.test_normal) + tuple(p.parent.name for p in anomalous)
    if spec.locate is not None:
        notes.append("parts were located; pixels are judged in whole pictures")
    wholes = tuple(_whole(path, dataset, spec) for path in paths) if spec.locate else None
    return TestSet(paths, kinds, frames, (*masks, *found), wholes), notes


def upsampled(heatmap: Array, spec_height: int, spec_width: int) -> Array:
    """A heatmap [h, w] at the frame's size, bilinear."""
    return np.asarray(cv2.resize(heatmap, (spec_width, spec_height), interpolation=cv2.INTER_LINEAR), np.float32)


def _interval(threshold: Threshold | None, normals: Normals | None) -> tuple[float, float] | None:
    if threshold is None or normals is None or normals.scores is None:
        return None
    return threshold_interval(normals.scores, threshold)


def _image_figures(score: Array, bad: NDArray[np.bool_], threshold: Threshold | None) -> dict[str, float | int | None]:
    normal, anomalous = score[~bad], score[bad]
    value = None if threshold is None else threshold.value
    return {
        "image_auroc": auroc(normal, anomalous),
        "balanced_accuracy": None if value is None else balanced_accuracy(normal, anomalous, value),
        "threshold": value,
        "false_alarm_rate": None if value is None or not normal.size else float((normal > value).mean()),
        "detection_rate": None if value is None or not anomalous.size else float((anomalous > value).mean()),
    }


def _pixel_figures(test: TestSet, scored: Scored, normals: Normals | None) -> dict[str, float | int | None]:
    height, width = test.frames.shape[1:3]
    pairs = [(upsampled(h, height, width), m) for h, m in zip(scored.heatmap, test.masks, strict=True)]
    if test.wholes is not None:
        pairs = [(whole.heatmap(view), whole.mask) for (view, _), whole in zip(pairs, test.wholes, strict=True)]
    heatmaps, masks = [h for h, m in pairs if m is not None], [m for _, m in pairs if m is not None]
    limit = None if normals is None else normals.pixel_threshold
    return {
        "pixel_auroc": pixel_auroc(heatmaps, masks),
        "aupro": aupro(heatmaps, masks),
        "iou": None if limit is None else intersection_over_union(heatmaps, masks, limit),
        "pixel_threshold": limit,
    }


def _known_names(subject: Subject) -> set[Path]:
    if not isinstance(subject, RunSubject) or subject.run.record.known_root is None:
        return set()
    root = Path(subject.run.record.known_root)
    return {(root / name).resolve() for name in subject.run.record.known}


def _mask(image: Path, mask: Path | None, spec: Preprocessing) -> NDArray[np.bool_] | None:
    """The mask as the model would see it; None if there is none or it is blank (it then says nothing)."""
    if mask is None:
        return None
    small = read_mask(image, mask, spec)
    return small if small.any() else None


def _whole(path: Path, dataset: Dataset, spec: Preprocessing) -> Whole:
    image = read_image(path)
    place, sides = prepared(image, spec).place, region_of(image, spec).shape[:2]
    if spec.region is not None:
        place = place - np.array([[0, 0, spec.region.x], [0, 0, spec.region.y]])
    scale = min(1.0, WHOLE / max(sides))
    size = max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))
    plain = spec.model_copy(update={"height": size[0], "width": size[1], "locate": None})
    mask = np.zeros(size, bool) if path in dataset.test_normal else _mask(path, dataset.masks.get(path), plain)
    return Whole(enlarged(place, size[1] / sides[1], size[0] / sides[0]), size, mask)


def _scarce(count: int, kind: str) -> str:
    if count == 0:
        return f"no {kind} test images, hence no AUROC and no balanced accuracy"
    return f"only one {kind} test image: AUROC and accuracy rest on it alone"


def _target(normals: Normals | None, test: TestSet) -> float:
    if normals is None:
        raise InputError(
            "cannot remove brightness", "the held-out normal images are gone", "give --data the folder that holds them"
        )
    return normals.brightness


def _shifted(frames: NDArray[np.uint8], target: float) -> NDArray[np.uint8]:
    means: Sequence[Any] | NDArray[np.floating[Any]] = frames.mean((1, 2, 3), keepdims=True)
    return np.asarray(np.clip(np.rint(frames - means + target), 0, 255), np.uint8)
