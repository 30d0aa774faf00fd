"""Can the camera be trusted? Compares each picture with the normal pictures of the training set.

This says "I cannot see" (FAULT) and nothing about the part; a defect must not trip it. Pure: pictures and the time come
in, problems go out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge.errors import InputError
from edge.manifest import ImageStatistics

HealthKind = Literal["frozen", "black", "saturated", "washed_out", "out_of_focus", "exposure_drift", "moved"]

_QUANTILES = (0.5, 50.0, 99.5)
_SEEN_WHITE = 250  # grey level from which a pixel counts as saturated
_ENOUGH_TO_SEE = 0.6  # of the lowest normal contrast; being out of focus takes less contrast away than that
_EDGE_SIDE = 64  # edges are compared at this size: fine enough for a shift of 2 %, 0.2 ms
_MARGIN = 14  # pixels of it by which a shift is searched, 22 %
_NOTHING_OF_THE_SCENE = 0.15  # a plate whose bolt is missing still agrees by 0.3
_FINGERPRINT_BYTES = 1 << 20
_IMMEDIATE: tuple[HealthKind, ...] = ("black", "saturated")  # beyond doubt in one picture, and must never be scored


class HealthLimits(BaseModel):
    """How far from the normal pictures is too far; every ratio is relative to the baseline's outer quantile."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    black_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.25
    white_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.35
    contrast_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.4
    sharpness_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.25
    brightness_margin: Annotated[float, Field(gt=0)] = 15.0
    agreement_needed: Annotated[float, Field(gt=0, lt=1)] = 0.3
    shift_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    hold_s: Annotated[float, Field(ge=0)] = 0.5
    clear_s: Annotated[float, Field(ge=0)] = 0.3
    frozen_s: Annotated[float, Field(gt=0)] = 0.5
    ignore: frozenset[HealthKind] = frozenset()


@dataclass(frozen=True, slots=True)
class HealthProblem:
    """One reason not to trust the camera; `text` has the figures, found against normal."""

    kind: HealthKind
    text: str


@dataclass(frozen=True, slots=True)
class _Measures:
    """Of one grey picture: mean, standard deviation, variance of the Laplacian, fraction of saturated pixels."""

    brightness: float
    contrast: float
    sharpness: float
    white: float


def baseline_from_images(images: Iterable[NDArray[np.uint8]]) -> tuple[ImageStatistics, NDArray[np.uint8]]:
    """Statistics and mean picture of preprocessed normal images, uint8 [H, W, C] of one shape.

    Two passes: the images are kept as given, so pass a list. Raises InputError if there is none or shapes differ.
    """
    kept = list(images)
    if not kept or any(image.shape != kept[0].shape for image in kept):
        raise InputError(
            "no baseline for the camera's health",
            f"{len(kept)} images, shapes {sorted({image.shape for image in kept})}",
            "pass at least one normal image, all preprocessed alike",
        )
    total = np.zeros(kept[0].shape, np.float64)
    for image in kept:
        total += image
    reference = np.rint(total / len(kept)).astype(np.uint8)
    edges = _edges(_grey(reference))
    measures = [_measures(_grey(image)) for image in kept]
    statistics = ImageStatistics(
        brightness=_quantiles([m.brightness for m in measures]),
        contrast=_quantiles([m.contrast for m in measures]),
        sharpness=_quantiles([m.sharpness for m in measures]),
        agreement=_quantiles([_agreement(edges, _edges(_grey(image)))[0] for image in kept]),
    )
    return statistics, reference


def fingerprint_of(image: NDArray[np.uint8]) -> int:
    """A number for the camera's own picture (not preprocessed): equal for bit-identical pictures.

    Of a large picture only every nth row is read: sensor noise changes every row.
    """
    step = max(1, image.nbytes // _FINGERPRINT_BYTES)
    return zlib.crc32(np.ascontiguousarray(image[::step]).data, image.shape[0])


class HealthMonitor:
    """Watches one camera; `update` with every picture, in order of time."""

    def __init__(
        self,
        baseline: ImageStatistics,
        reference: NDArray[np.uint8] | None,
        limits: HealthLimits | None = None,
    ) -> None:
        """`reference`: uint8 [H, W, C], the mean normal picture; None switches "moved" off."""
        self._baseline = baseline
        self._limits = limits or HealthLimits()
        grey = None if reference is None else _grey(reference)
        self._reference_edges = None if grey is None or not self._has_fixed_scene() else _edges(grey)
        self._reference_white = 0.0 if grey is None else float((grey >= _SEEN_WHITE).mean())
        self._timers = {kind: _Timer(self._hold_s(kind), self._limits.clear_s) for kind in get_args(HealthKind)}
        self._fingerprint: int | None = None
        self._since_s = 0.0
        self._repeated = False

    @property
    def repeated(self) -> bool:
        """Whether the last picture was bit-identical to the one before it; such a picture tells nothing new."""
        return self._repeated

    @property
    def description(self) -> str:
        """One line: what is checked and, if something cannot be, why."""
        kinds = [k for k in get_args(HealthKind) if k not in self._limits.ignore]
        if "moved" in kinds and self._reference_edges is None:
            kinds.remove("moved")
            return f"{', '.join(kinds)}; not moved: the normal pictures share no fixed scene"
        return ", ".join(kinds)

    def update(self, image: NDArray[np.uint8], fingerprint: int, now_s: float) -> tuple[HealthProblem, ...]:
        """Problems at `now_s`, given the preprocessed picture uint8 [H, W, C] and `fingerprint_of` the camera's own.

        A problem is told when it has lasted `hold_s` (black and saturated: at once) and until it has been away for
        `clear_s`.
        """
        found = self._found(_grey(image))
        frozen = self._frozen(fingerprint, now_s)
        if frozen:
            found["frozen"] = frozen
        told = []
        for kind, timer in self._timers.items():
            text = timer.update(found.get(kind) if kind not in self._limits.ignore else None, now_s)
            if text is not None:
                told.append(HealthProblem(kind, text))
        return tuple(told)

    def _frozen(self, fingerprint: int, now_s: float) -> str | None:
        self._repeated = fingerprint == self._fingerprint
        if not self._repeated:
            self._fingerprint, self._since_s = fingerprint, now_s
        still_s = now_s - self._since_s
        return f"bit-identical pictures for {still_s:.1f} s" if still_s >= self._limits.frozen_s else None

    def _found(self, grey: NDArray[np.uint8]) -> dict[HealthKind, str]:
        """What is wrong with this one picture. One cause only: a black picture is not out of focus as well."""
        m = _measures(grey)
        for kind, text in (
            ("black", self._black(m)),
            ("saturated", self._saturated(m)),
            ("washed_out", self._below(m.contrast, self._contrast_limit(), "contrast", self._baseline.contrast)),
        ):
            if text is not None:
                return {kind: text}  # type: ignore[dict-item]
        checks: dict[HealthKind, str | None] = {
            "out_of_focus": self._out_of_focus(m),
            "exposure_drift": self._drift(m),
        }
        if checks["out_of_focus"] is None:
            checks["moved"] = self._moved(grey)
        return {kind: text for kind, text in checks.items() if text is not None}

    def _black(self, m: _Measures) -> str | None:
        low = self._baseline.brightness[0]
        limit = min(max(6.0, self._limits.black_ratio * low), 0.5 * low)  # dark-field scenes are dark and not black
        return self._below(m.brightness, limit, "brightness", self._baseline.brightness)

    def _saturated(self, m: _Measures) -> str | None:
        limit = self._reference_white + self._limits.white_fraction * (1.0 - self._reference_white)
        high = self._baseline.brightness[2]
        if m.white < limit or m.brightness < min(high + 3.0, 0.5 * (high + 255.0)):
            return None
        return f"{100 * m.white:.0f} % of the pixels are saturated, normal {100 * self._reference_white:.0f} %"

    def _contrast_limit(self) -> float:
        return self._limits.contrast_ratio * self._baseline.contrast[0]

    def _out_of_focus(self, m: _Measures) -> str | None:
        """Not judged where there is much less to see than in any normal picture, such as an empty belt."""
        if m.contrast < _ENOUGH_TO_SEE * self._baseline.contrast[0]:
            return None
        limit = self._limits.sharpness_ratio * self._baseline.sharpness[0]
        return self._below(m.sharpness, limit, "sharpness", self._baseline.sharpness)

    def _below(self, value: float, limit: float, name: str, normal: tuple[float, float, float]) -> str | None:
        return f"{name} {value:.1f}, normal {normal[0]:.1f} to {normal[2]:.1f}" if value < limit else None

    def _drift(self, m: _Measures) -> str | None:
        low, _, high = self._baseline.brightness
        margin = max(min(self._limits.brightness_margin, 0.5 * low), 0.1 * (high - low))
        if low - margin <= m.brightness <= high + margin:
            return None
        return f"brightness {m.brightness:.0f}, normal {low:.0f} to {high:.0f}"

    def _moved(self, grey: NDArray[np.uint8]) -> str | None:
        if self._reference_edges is None or self._baseline.agreement is None:
            return None
        edges = _edges(grey)
        zero, best, shift = _agreement(self._reference_edges, edges)
        _, usual, _ = self._baseline.agreement
        # The scene must be found again, whole, somewhere else: a part that is missing or askew agrees nowhere so well.
        elsewhere = shift > self._limits.shift_fraction and best > zero + 0.25 and best > 0.9 * usual
        if elsewhere:
            return f"the scene is found {100 * shift:.0f} % of the picture away"
        if best < 0.5 * usual and _correlation(self._reference_edges, edges) < _NOTHING_OF_THE_SCENE:
            return "nothing of the usual scene is in the picture"
        return None

    def _has_fixed_scene(self) -> bool:
        agreement = self._baseline.agreement
        return agreement is not None and agreement[0] >= self._limits.agreement_needed

    def _hold_s(self, kind: HealthKind) -> float:
        return 0.0 if kind in _IMMEDIATE or kind == "frozen" else self._limits.hold_s


class _Timer:
    """On-delay and off-delay of one problem."""

    def __init__(self, hold_s: float, clear_s: float) -> None:
        self._hold_s, self._clear_s = hold_s, clear_s
        self._since_s: float | None = None
        self._last_s = 0.0
        self._told: str | None = None

    def update(self, text: str | None, now_s: float) -> str | None:
        if text is None:
            self._since_s = None
            if self._told is not None and now_s - self._last_s >= self._clear_s:
                self._told = None
            return self._told
        self._last_s = now_s
        self._since_s = now_s if self._since_s is None else self._since_s
        if self._told is not None or now_s - self._since_s >= self._hold_s:
            self._told = text
        return self._told


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    return image.reshape(image.shape[:2])


def _measures(grey: NDArray[np.uint8]) -> _Measures:
    mean, deviation = cv2.meanStdDev(grey)
    sharpness = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1][0, 0]) ** 2
    white = cv2.countNonZero(cv2.compare(grey, _SEEN_WHITE, cv2.CMP_GE)) / grey.size
    return _Measures(float(mean[0, 0]), float(deviation[0, 0]), sharpness, white)


def _edges(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gradient magnitude of the picture at a fixed small size: where things are, whatever the brightness."""
    small = cv2.resize(grey.astype(np.float32), (_EDGE_SIDE, _EDGE_SIDE), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _agreement(reference: NDArray[np.float32], edges: NDArray[np.float32]) -> tuple[float, float, float]:
    """Correlation of the edges in place, at the best shift, and that shift as a fraction of the side."""
    inner = slice(_MARGIN, _EDGE_SIDE - _MARGIN)
    zero, best, shift = 0.0, -1.0, 0.0
    for whole, part in ((edges, reference[inner, inner]), (reference, edges[inner, inner])):
        match = cv2.matchTemplate(whole, np.ascontiguousarray(part), cv2.TM_CCOEFF_NORMED)
        _, peak, _, (x, y) = cv2.minMaxLoc(match)
        zero = float(match[_MARGIN, _MARGIN])
        if peak > best:
            best, shift = float(peak), float(np.hypot(x - _MARGIN, y - _MARGIN)) / _EDGE_SIDE
    return zero, best, shift


def _correlation(reference: NDArray[np.float32], edges: NDArray[np.float32]) -> float:
    """Correlation of the whole pictures' edges, border and all."""
    return float(cv2.matchTemplate(edges, reference, cv2.TM_CCOEFF_NORMED)[0, 0])


def _quantiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = (float(v) for v in np.percentile(values, _QUANTILES))
    return low, middle, high
