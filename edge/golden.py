"""Golden frames: a dozen frames in the bundle with the outputs they must give. An engine that misses them does not run.

Differences are relative: for `score` and `masked_error` the largest over the frames, of |found - expected| to
|expected| (at least a hundredth of the largest expected value); for `heatmap` that of the norms ||found - expected|| to
||expected||.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engine.base import Engine, Scores
from edge.errors import CheckFailed

FLOOR = 0.01  # of the largest expected value: below it a relative difference says nothing


class Infers(Protocol):
    """Whatever scores a frame: an engine, or a bare graph."""

    def infer(self, frame: NDArray[np.uint8]) -> Scores:
        """Score one frame, uint8 [H, W, C]."""
        ...


@dataclass(frozen=True)
class Outputs:
    """What a graph said of n frames: float32 [n], [n], [n, h, w]."""

    score: NDArray[np.float32]
    masked_error: NDArray[np.float32]
    heatmap: NDArray[np.float32]


@dataclass(frozen=True)
class GoldenResult:
    """The largest relative difference of each output, and the tolerance that it was held to."""

    frames: int
    differences: dict[str, float]
    tolerance: float

    @property
    def worst(self) -> tuple[str, float]:
        """Output with the largest difference, and the difference."""
        return max(self.differences.items(), key=lambda item: item[1])


def check_golden(engine: Engine, bundle: Bundle) -> GoldenResult:
    """Run the bundle's golden frames and compare with what the engine's variant must give.

    Raises CheckFailed naming the worst output and frame; EngineFault if an output is not finite.
    """
    expected = expected_outputs(bundle, engine.variant)
    found = run_frames(engine, golden_frames(bundle))
    tolerance = bundle.manifest.variants[engine.variant].golden.relative_tolerance
    result = GoldenResult(len(found.score), differences(found, expected), tolerance)
    name, size = result.worst
    if not size <= tolerance:
        frame = int(np.argmax(frame_differences(found, expected)[name]))
        raise CheckFailed(
            f"{engine.description} misses the golden frames of {bundle.path}",
            f"{name} of frame {frame} differs by {size:.2e} relative, allowed {tolerance:.0e}",
            "build the engine again (edge-build), or use another precision or back end",
        )
    return result


def golden_frames(bundle: Bundle) -> NDArray[np.uint8]:
    """The golden frames, uint8 [n, H, W, C]."""
    return np.asarray(bundle.read_array(bundle.manifest.golden_frames), np.uint8)


def expected_outputs(bundle: Bundle, variant: str) -> Outputs:
    """What `variant` must give on the golden frames."""
    golden = bundle.manifest.variants[variant].golden
    arrays = (bundle.read_array(member) for member in (golden.score, golden.masked_error, golden.heatmap))
    return Outputs(*(np.asarray(array, np.float32) for array in arrays))


def run_frames(engine: Infers, frames: Iterable[NDArray[np.uint8]]) -> Outputs:
    """Score `frames` (uint8 [H, W, C] each) in order."""
    scores = [engine.infer(frame) for frame in frames]
    return Outputs(
        np.array([s.score for s in scores], np.float32),
        np.array([s.masked_error for s in scores], np.float32),
        np.stack([s.heatmap for s in scores]),
    )


def differences(found: Outputs, expected: Outputs) -> dict[str, float]:
    """Largest relative difference over the frames, by output name (see the module)."""
    return {name: float(np.max(values)) for name, values in frame_differences(found, expected).items()}


def frame_differences(found: Outputs, expected: Outputs) -> dict[str, NDArray[np.float64]]:
    """Relative difference per frame, [n], by output name."""
    return {
        "score": _relative(found.score, expected.score),
        "masked_error": _relative(found.masked_error, expected.masked_error),
        "heatmap": _relative_norm(found.heatmap, expected.heatmap),
    }


def _relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    size = np.abs(expected.astype(np.float64))
    scale = np.maximum(size, FLOOR * size.max(initial=0.0))
    return np.asarray(np.abs(found - expected.astype(np.float64)) / np.where(scale > 0, scale, 1.0))


def _relative_norm(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    size = np.linalg.norm(expected.astype(np.float64), axis=(1, 2))
    scale = np.maximum(size, FLOOR * size.max(initial=0.0))
    distance = np.linalg.norm(found.astype(np.float64) - expected, axis=(1, 2))
    return np.asarray(distance / np.where(scale > 0, scale, 1.0))
