"""Which layers cost most, and the smallest set of them to keep in float so that the gate passes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from calib.evaluate import Frame, Progress, damage
from edge.errors import CheckFailed
from edge.files import write_atomic
from edge.golden import Outputs
from edge.manifest import GateResult

PROBE_FRAMES = 16
MOST_PUT_BACK = 8  # a longer set is left as it is: each try to put a layer back costs a run over all frames


class Trial(Protocol):
    """Builds and runs a variant with the named convolutions kept in float."""

    def outputs(self, exclude: Collection[str], frames: Sequence[Frame]) -> Outputs:
        """Outputs for `frames`."""
        ...

    def verdict(self, exclude: Collection[str]) -> GateResult:
        """The gate's result over all frames that judge."""
        ...


@dataclass(frozen=True)
class LayerCost:
    """`gain`: by how much `calib.evaluate.damage` falls when this layer alone stays in float."""

    name: str
    gain: float


def layer_costs(
    trial: Trial, convs: Sequence[str], frames: Sequence[Frame], reference: Outputs, progress: Progress
) -> tuple[LayerCost, ...]:
    """Leave-one-out sensitivity of each of `convs`, costliest first. `reference`: fp32 outputs for `frames`."""
    whole = damage(reference, trial.outputs((), frames))
    costs = []
    for done, name in enumerate(convs, 1):
        costs.append(LayerCost(name, whole - damage(reference, trial.outputs((name,), frames))))
        progress("sensitivity", done, len(convs))
    return tuple(sorted(costs, key=lambda cost: -cost.gain))


def cached_costs(path: Path, measure: Callable[[], tuple[LayerCost, ...]]) -> tuple[LayerCost, ...]:
    """The costs stored in `path`, or those of `measure`, which are then stored. A damaged file is measured again."""
    try:
        rows = json.loads(path.read_text())
        return tuple(LayerCost(str(row["name"]), float(row["gain"])) for row in rows)
    except (OSError, ValueError, TypeError, KeyError):
        costs = measure()
    write_atomic(path, json.dumps([{"name": c.name, "gain": c.gain} for c in costs], indent=1).encode())
    return costs


def smallest_exclusion(trial: Trial, costs: Sequence[LayerCost], progress: Progress) -> tuple[str, ...]:
    """The fewest layers to keep in float so that the gate passes: the costliest first, then those not needed go back.

    Raises CheckFailed if the gate fails even with all of them in float.
    """
    names = [cost.name for cost in costs]
    fails, passes = 0, _first_passing(trial, names, progress)
    fails = passes // 2
    while passes - fails > 1:
        middle = (fails + passes) // 2
        progress("search", middle, len(names))
        fails, passes = (fails, middle) if trial.verdict(names[:middle]).passed else (middle, passes)
    return _without_the_needless(trial, names[:passes])


def _first_passing(trial: Trial, names: Sequence[str], progress: Progress) -> int:
    """The first of 1, 2, 4, ... costliest layers with which the gate passes."""
    count = 1
    while True:
        count = min(count, len(names))
        progress("search", count, len(names))
        if trial.verdict(names[:count]).passed:
            return count
        if count == len(names):
            raise CheckFailed(
                "no choice of layers passes the gate",
                f"it fails with all {len(names)} convolutions in float",
                "widen the limits, or give more held-out frames",
            )
        count *= 2


def _without_the_needless(trial: Trial, names: Sequence[str]) -> tuple[str, ...]:
    kept = list(names)
    for name in reversed(names[:-1] if len(names) <= MOST_PUT_BACK else ()):
        fewer = [n for n in kept if n != name]
        if trial.verdict(fewer).passed:
            kept = fewer
    return tuple(kept)
