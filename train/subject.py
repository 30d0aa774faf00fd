"""What is evaluated: a run in torch, or a bundle on an engine. Both score preprocessed frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge.bundle import Bundle, open_bundle
from edge.dataset import Dataset
from edge.errors import InputError
from edge.manifest import Threshold
from edge.preprocess import Preprocessing
from train.checkpoint import Run, load_run
from train.data import Frames
from train.infer import Array, Scored
from train.method import Explanation

Frame = NDArray[np.uint8]
PIXEL_QUANTILE = 0.99  # of the heatmap over held-out normals: above it a pixel counts as marked


@dataclass(frozen=True)
class Normals:
    """What is known of held-out normal frames: quantile of their heatmaps, their mean grey level, and their scores in
    order [n], or None if those are not all at hand."""

    pixel_threshold: float
    brightness: float
    scores: Array | None = None


class Subject(Protocol):
    """Something that scores frames, with the threshold that belongs to it."""

    @property
    def title(self) -> str:
        """One line: method, precision, back end."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """What the frames must have gone through."""
        ...

    @property
    def threshold(self) -> Threshold | None:
        """The decision threshold, if one was fitted."""
        ...

    def score(self, frames: NDArray[np.uint8]) -> Scored:
        """Outputs over frames, uint8 [n, H, W, C]."""
        ...

    def normals(self, data: Dataset) -> Normals | None:
        """Figures of the held-out normal frames; None if they cannot be had."""
        ...

    def explain(self, frame: Frame) -> Explanation | None:
        """Reconstruction and attention for one frame, uint8 [H, W, C]; None if only scores can be had."""
        ...


class RunSubject:
    """A run folder, scored by the module that is exported."""

    def __init__(self, run: Run) -> None:
        self._run, self._scorer = run, run.scorer()

    @property
    def title(self) -> str:
        """See Subject."""
        return f"{self._run.record.method} {self._run.parameters / 1e6:.2f} M parameters, torch fp32"

    @property
    def preprocessing(self) -> Preprocessing:
        """See Subject."""
        return self._run.preprocessing

    @property
    def threshold(self) -> Threshold | None:
        """See Subject."""
        return self._run.record.threshold

    @property
    def run(self) -> Run:
        """The run itself."""
        return self._run

    def score(self, frames: NDArray[np.uint8]) -> Scored:
        """See Subject."""
        return _by_module(self._scorer, frames)

    def normals(self, data: Dataset) -> Normals | None:
        """See Subject; the images may have moved to `data`."""
        try:
            paths = self._run.validation_paths()
        except InputError:
            try:
                paths = self._run.validation_paths(data.root)
            except InputError:
                return None
        frames = Frames(paths, self.preprocessing).take(range(len(paths))).numpy()
        scored = self.score(frames)
        return replace(_normals(scored.heatmap, float(frames.mean())), scores=scored.score)

    def explain(self, frame: Frame) -> Explanation | None:
        """See Subject."""
        explain = getattr(self._scorer, "explain", None)
        if explain is None:
            return None
        with torch.no_grad():
            found: Explanation = explain(torch.from_numpy(frame[None]))
        return found


class BundleSubject:
    """A bundle, scored by an engine as on the station."""

    def __init__(self, bundle: Bundle, precision: str, backend: str, threads: int) -> None:
        from edge.engine.open import candidates_of, open_candidate

        self._bundle = bundle
        candidate = candidates_of(bundle, precision, backend)[0]
        self._variant = bundle.manifest.variants[candidate[1]]
        self._engine = open_candidate(bundle, candidate, threads)

    @property
    def title(self) -> str:
        """See Subject."""
        return f"{self._bundle.manifest.name}: {self._bundle.manifest.model.method}, {self._engine.description}"

    @property
    def preprocessing(self) -> Preprocessing:
        """See Subject."""
        return self._bundle.manifest.preprocessing

    @property
    def threshold(self) -> Threshold | None:
        """See Subject."""
        return self._variant.threshold

    def score(self, frames: NDArray[np.uint8]) -> Scored:
        """See Subject."""
        outputs = [self._engine.infer(frame) for frame in frames]
        score = np.array([out.score for out in outputs], np.float32)
        error = np.array([out.masked_error for out in outputs], np.float32)
        return Scored(score, error, np.stack([out.heatmap for out in outputs]))

    def normals(self, data: Dataset) -> Normals | None:
        """See Subject; from the golden frames, which are held-out normals."""
        heatmaps = np.asarray(self._bundle.read_array(self._variant.golden.heatmap), np.float32)
        frames = np.asarray(self._bundle.read_array(self._bundle.manifest.golden_frames))
        return _normals(heatmaps, float(np.median(frames.mean((1, 2, 3)))))

    def explain(self, frame: Frame) -> Explanation | None:
        """A bundle gives scores only."""
        return None


def open_subject(path: Path, precision: str = "fp32", backend: str = "onnxruntime", threads: int = 0) -> Subject:
    """A run folder or a bundle file. Raises InputError if it is neither."""
    if path.is_dir():
        return RunSubject(load_run(path))
    return BundleSubject(open_bundle(path), precision, backend, threads)


def _by_module(scorer: nn.Module, frames: NDArray[np.uint8], batch_size: int = 16) -> Scored:
    parts: list[tuple[Array, Array, Array]] = []
    with torch.no_grad():
        for start in range(0, len(frames), batch_size):
            score, error, heatmap = scorer(torch.from_numpy(frames[start : start + batch_size]))
            parts.append((score.numpy(), error.numpy(), heatmap.numpy()))
    score, error, heatmap = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scored(score, error, heatmap)


def _normals(heatmaps: Array, brightness: float) -> Normals:
    return Normals(float(np.quantile(heatmaps, PIXEL_QUANTILE)), brightness)
