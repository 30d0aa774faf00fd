"""--precision auto: fp16, INT8 and INT8 without depth-wise layers are built and timed; the fastest proven one wins.

INT8 is not always faster: grouped convolutions lose their kernels, thin ones gain nothing. So it is measured.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from edge.bench import Plan, time_in_turn
from edge.bundle import Bundle
from edge.engine.choose import remember
from edge.errors import CheckFailed, EdgeError
from edge.golden import golden_frames
from edge.tensorrt.cache import Entry
from edge.tensorrt.maker import Maker

WANTED = ("fp16", "int8-tensorrt", "int8-nodw-tensorrt")
TIMED = Plan(frames=200, warmup=20)


@dataclass(frozen=True)
class Tried:
    """One row of the table. `p50_ms`, `p95_ms`: None where it cannot run, and `note` says why."""

    variant: str
    p50_ms: float | None
    p95_ms: float | None
    size_bytes: int
    note: str


def make_fastest(maker: Maker, bundle: Bundle, plan: Plan = TIMED) -> tuple[Tried, list[Tried]]:
    """Make and time what the bundle holds of WANTED (fp32 where it holds none); the fastest by p95, and all rows.

    The choice is remembered for open_engine(backend="tensorrt", precision="auto"). Raises CheckFailed if none runs.
    """
    rows = bundle.manifest.variants
    names = [name for name in WANTED if name in rows] or ["fp32"]
    entries: dict[str, Entry] = {}
    refused: dict[str, str] = {}
    for name in names:
        gate = rows[name].gate
        if gate is not None and not gate.passed:
            refused[name] = "failed its gate against fp32"
            continue
        try:
            entries[name] = maker.make(bundle, name)
        except EdgeError as error:
            refused[name] = str(error)
    times = _timed(maker, bundle, entries, plan)
    tried = [_row(name, entries.get(name), times.get(name), refused.get(name, "")) for name in names]
    running = [row for row in tried if row.p95_ms is not None]
    if not running:
        why = "; ".join(f"{name}: {text}" for name, text in refused.items())
        raise CheckFailed(f"no engine runs {bundle.path} here", why, "use --precision fp32, or run edge-doctor")
    built = maker.cache.built_variants(bundle)
    known = {row.variant: row.p95_ms if row.p95_ms is not None else row.note for row in tried if row.variant in built}
    remember(bundle, {("tensorrt", name): known.get(name, "not among what --precision auto tries") for name in built})
    return min(running, key=lambda row: row.p95_ms or 0.0), tried


def _timed(maker: Maker, bundle: Bundle, entries: dict[str, Entry], plan: Plan) -> dict[str, list[float]]:
    """Milliseconds per frame of each engine; they take turns on the same frames."""
    with ExitStack() as opened:
        engines = {name: maker.open(bundle, entry) for name, entry in entries.items()}
        for engine in engines.values():
            opened.callback(engine.close)
        return time_in_turn({name: e.infer for name, e in engines.items()}, list(golden_frames(bundle)), plan)


def _row(name: str, entry: Entry | None, times: list[float] | None, why: str) -> Tried:
    if entry is None or times is None:
        return Tried(name, None, None, 0, why)
    kept = f"kept in float: {', '.join(entry.kept_float)}" if entry.kept_float else ""
    median, slow = (float(np.percentile(times, q)) for q in (50, 95))
    return Tried(name, median, slow, entry.size_bytes, kept)
