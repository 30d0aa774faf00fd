"""Can the camera be trusted? Compares each picture with the normal pictures of the training set.

This says "I cannot see" (FAULT) and nothing about the part; a defect must not trip it. Pure: pictures and the time come
in, problems go out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge.errors import InputError
from edge.health_measures import (
    Levels,
    agreement,
    correlation,
    edges_of,
    grey_of,
    levels_of,
    sharpness_of,
    some_rows,
    white_of,
)
from edge.manifest import ImageStatistics

HealthKind = Literal["frozen", "black", "saturated", "washed_out", "out_of_focus", "exposure_drift", "moved"]

_QUANTILES = (0.5, 50.0, 99.5)
_ENOUGH_TO_SEE = 0.6  # of the lowest normal contrast; being out of focus takes less contrast away than that
_NOTHING_OF_THE_SCENE = 0.15  # a plate whose bolt is missing still agrees by 0.3
_COSTLY: tuple[HealthKind, ...] = ("out_of_focus", "moved")  # looked for a few times a second
_COSTLY_EVERY_S = 0.09  # of a camera with ten pictures a second every one
_COSTLY_STALE_S = 0.25  # older knowledge of focus and place is renewed before a picture is trusted
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
    edges, greys = edges_of(grey_of(reference)), [grey_of(image) for image in kept]
    levels = [levels_of(grey) for grey in greys]
    statistics = ImageStatistics(
        brightness=_quantiles([m.brightness for m in levels]),
        contrast=_quantiles([m.contrast for m in levels]),
        sharpness=_quantiles([sharpness_of(grey) for grey in greys]),
        agreement=_quantiles([agreement(edges, edges_of(grey))[0] for grey in greys]),
    )
    return statistics, reference


class HealthMonitor:
    """Watches one camera; `update` with every picture, in order of time.

    Levels (black, saturated, washed out, drift) and repeats are measured of every picture. Focus and place take ten
    times as long and change slowly: they are measured ten times a second, in `settle`, which has no verdict waiting.
    `update` measures them itself where there is a suspicion, where they were last measured too long ago (few pictures a
    second, or nobody calls `settle`), and always where `hold_s` is 0.
    """

    def __init__(
        self,
        baseline: ImageStatistics,
        reference: NDArray[np.uint8] | None,
        limits: HealthLimits | None = None,
    ) -> None:
        """`reference`: uint8 [H, W, C], the mean normal picture; None switches "moved" off."""
        self._baseline = baseline
        self._limits = limits or HealthLimits()
        grey = None if reference is None else grey_of(reference)
        self._reference_edges = None if grey is None or not self._has_fixed_scene() else edges_of(grey)
        self._reference_white = 0.0 if grey is None else white_of(grey)
        self._timers = {kind: _Timer(self._hold_s(kind), self._limits.clear_s) for kind in get_args(HealthKind)}
        self._fingerprint: int | None = None
        self._since_s = 0.0
        self._repeated = False
        self._waiting = False  # a timer runs
        self._rows: NDArray[np.intp] | None = None
        self._costly: dict[HealthKind, str] = {}
        self._costly_s = float("-inf")
        self._put_off: tuple[NDArray[np.uint8], float] | None = None

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
        """Problems at `now_s`, given the preprocessed picture uint8 [H, W, C] and the number that
        `edge.health_measures.Repeats` gave the camera's own.

        A problem is told when it has lasted `hold_s` (black and saturated: at once) and until it has been away for
        `clear_s`.
        """
        found = self._found(image, now_s)
        frozen = self._frozen(fingerprint, now_s)
        if frozen:
            found["frozen"] = frozen
        if not found and not self._waiting:
            return ()
        told = []
        for kind, timer in self._timers.items():
            text = timer.update(found.get(kind) if kind not in self._limits.ignore else None, now_s)
            if text is not None:
                told.append(HealthProblem(kind, text))
        self._waiting = bool(found or told)
        return tuple(told)

    def settle(self) -> None:
        """Measure what `update` put off, once the verdict on the picture is out; it counts from that picture's time."""
        if self._put_off is None:
            return
        _, now_s = self._put_off
        self._look_closely(*self._put_off)
        for kind in self._costly.keys() - self._limits.ignore:
            self._timers[kind].update(self._costly[kind], now_s)
            self._waiting = True

    def _frozen(self, fingerprint: int, now_s: float) -> str | None:
        self._repeated = fingerprint == self._fingerprint
        if not self._repeated:
            self._fingerprint, self._since_s = fingerprint, now_s
        still_s = now_s - self._since_s
        return f"bit-identical pictures for {still_s:.1f} s" if still_s >= self._limits.frozen_s else None

    def _found(self, image: NDArray[np.uint8], now_s: float) -> dict[HealthKind, str]:
        """What is wrong with this one picture. One cause only: a black picture is not out of focus as well."""
        self._put_off = None
        grey = self._seen_part(image)
        levels = levels_of(grey)
        blind = self._blinded(grey, levels)
        if blind:
            self._costly, self._costly_s = {}, float("-inf")  # nothing to see, so nothing is known
            return blind
        if self._must_look_now(now_s):
            self._look_closely(image, now_s)
        elif now_s - self._costly_s >= _COSTLY_EVERY_S:
            self._put_off = image, now_s
        drift = self._drift(levels)
        return self._costly | ({"exposure_drift": drift} if drift is not None else {})

    def _blinded(self, grey: NDArray[np.uint8], levels: Levels) -> dict[HealthKind, str]:
        checks: tuple[tuple[HealthKind, str | None], ...] = (
            ("black", self._black(levels)),
            ("saturated", self._saturated(grey, levels)),
            ("washed_out", self._below(levels.contrast, self._contrast_limit(), "contrast", self._baseline.contrast)),
        )
        return next(({kind: text} for kind, text in checks if text is not None), {})

    def _seen_part(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Grey, and of a large picture some rows."""
        if self._rows is None:
            self._rows = some_rows(*image.shape[:2])
        return grey_of(image[self._rows] if len(self._rows) < len(image) else image)

    def _must_look_now(self, now_s: float) -> bool:
        if self._limits.hold_s == 0.0 or not 0.0 <= now_s - self._costly_s <= _COSTLY_STALE_S:
            return True
        return bool(self._costly) or any(self._timers[kind].told for kind in _COSTLY)

    def _look_closely(self, image: NDArray[np.uint8], now_s: float) -> None:
        self._put_off, self._costly_s = None, now_s
        grey = grey_of(image)
        blurred = self._out_of_focus(grey)
        moved = self._moved(grey) if blurred is None else None
        found: dict[HealthKind, str | None] = {"out_of_focus": blurred, "moved": moved}
        self._costly = {kind: text for kind, text in found.items() if text is not None}

    def _black(self, m: Levels) -> str | None:
        low = self._baseline.brightness[0]
        limit = min(max(6.0, self._limits.black_ratio * low), 0.5 * low)  # dark-field scenes are dark and not black
        return self._below(m.brightness, limit, "brightness", self._baseline.brightness)

    def _saturated(self, grey: NDArray[np.uint8], m: Levels) -> str | None:
        limit = self._reference_white + self._limits.white_fraction * (1.0 - self._reference_white)
        high = self._baseline.brightness[2]
        if m.brightness < min(high + 3.0, 0.5 * (high + 255.0)) or (white := white_of(grey)) < limit:
            return None
        return f"{100 * white:.0f} % of the pixels are saturated, normal {100 * self._reference_white:.0f} %"

    def _contrast_limit(self) -> float:
        return self._limits.contrast_ratio * self._baseline.contrast[0]

    def _out_of_focus(self, grey: NDArray[np.uint8]) -> str | None:
        """Not judged where there is much less to see than in any normal picture, such as an empty belt."""
        if levels_of(grey).contrast < _ENOUGH_TO_SEE * self._baseline.contrast[0]:
            return None
        limit = self._limits.sharpness_ratio * self._baseline.sharpness[0]
        return self._below(sharpness_of(grey), limit, "sharpness", self._baseline.sharpness)

    def _below(self, value: float, limit: float, name: str, normal: tuple[float, float, float]) -> str | None:
        return f"{name} {value:.1f}, normal {normal[0]:.1f} to {normal[2]:.1f}" if value < limit else None

    def _drift(self, m: Levels) -> str | None:
        low, _, high = self._baseline.brightness
        margin = max(min(self._limits.brightness_margin, 0.5 * low), 0.1 * (high - low))
        if low - margin <= m.brightness <= high + margin:
            return None
        return f"brightness {m.brightness:.0f}, normal {low:.0f} to {high:.0f}"

    def _moved(self, grey: NDArray[np.uint8]) -> str | None:
        if self._reference_edges is None or self._baseline.agreement is None:
            return None
        edges = edges_of(grey)
        zero, best, shift = agreement(self._reference_edges, edges)
        _, usual, _ = self._baseline.agreement
        # The scene must be found again, whole, somewhere else: a part that is missing or askew agrees nowhere so well.
        elsewhere = shift > self._limits.shift_fraction and best > zero + 0.25 and best > 0.9 * usual
        if elsewhere:
            return f"the scene is found {100 * shift:.0f} % of the picture away"
        if best < 0.5 * usual and correlation(self._reference_edges, edges) < _NOTHING_OF_THE_SCENE:
            return "nothing of the usual scene is in the picture"
        return None

    def _has_fixed_scene(self) -> bool:
        agreement_seen = self._baseline.agreement
        return agreement_seen is not None and agreement_seen[0] >= self._limits.agreement_needed

    def _hold_s(self, kind: HealthKind) -> float:
        return 0.0 if kind in _IMMEDIATE or kind == "frozen" else self._limits.hold_s


class _Timer:
    """On-delay and off-delay of one problem."""

    def __init__(self, hold_s: float, clear_s: float) -> None:
        self._hold_s, self._clear_s = hold_s, clear_s
        self._since_s: float | None = None
        self._last_s = 0.0
        self._told: str | None = None

    @property
    def told(self) -> bool:
        """Whether the problem stands."""
        return self._told is not None

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


def _quantiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = (float(v) for v in np.percentile(values, _QUANTILES))
    return low, middle, high
