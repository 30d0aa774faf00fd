"""--precision auto: fp16, INT8 and INT8 without depth-wise layers are built and timed; the fastest proven one wins.

INT8 is not always faster: grouped convolutions lose their kernels, thin ones gain nothing. So it is measured. Where
TensorRT still has flags (up to 10), INT8 is tried with them as well: there, what is not INT8 may run in half.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

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
class Try:
    """One way to build a variant; `weak` as in Options."""

    variant: str
    weak: bool

    @property
    def label(self) -> str:
        """Its name in the table."""
        return f"{self.variant}, flags" if self.weak else self.variant


@dataclass(frozen=True)
class Tried:
    """One row of the table. `p50_ms`, `p95_ms`: None where it cannot run, and `note` says why."""

    what: Try
    p50_ms: float | None
    p95_ms: float | None
    size_bytes: int
    note: str


def make_fastest(maker: Maker, bundle: Bundle, plan: Plan = TIMED) -> tuple[Tried, list[Tried]]:
    """Make and time what the bundle holds of WANTED (fp32 where it holds none); the fastest by p95, and all rows.

    The choice is remembered for open_engine(backend="tensorrt", precision="auto"). Raises CheckFailed if none runs.
    """
    entries: dict[Try, Entry] = {}
    refused: dict[Try, str] = {}
    tries = _tries(maker, bundle)
    for one in tries:
        try:
            entries[one] = _made(maker, bundle, one)
        except EdgeError as error:
            refused[one] = str(error)
            maker.report(f"{one.label}: left out, {error}")
    times = _timed(maker, bundle, entries, plan)
    rows = [_row(one, entries.get(one), times.get(one.label), refused.get(one, "")) for one in tries]
    running = sorted((row for row in rows if row.p95_ms is not None), key=lambda row: row.p95_ms or 0.0)
    if not running:
        why = "; ".join(f"{one.label}: {text}" for one, text in refused.items())
        raise CheckFailed(f"no engine runs {bundle.path} here", why, "use --precision fp32, or run edge-doctor")
    _remember(maker, bundle, running, entries)
    return running[0], rows


def _tries(maker: Maker, bundle: Bundle) -> list[Try]:
    rows, library = bundle.manifest.variants, maker.library
    names = [name for name in WANTED if name in rows] or ["fp32"]
    asked = maker.options.weak or maker.options.implicit or not library.strong
    tries = [Try(name, asked) for name in names]
    more = [Try(name, True) for name in names if rows[name].precision == "int8"] if library.weak and not asked else []
    return tries + more


def _made(maker: Maker, bundle: Bundle, one: Try) -> Entry:
    gate = bundle.manifest.variants[one.variant].gate
    if gate is not None and not gate.passed:
        raise CheckFailed(f"{one.variant} failed its gate against fp32", "its decisions differ", "calibrate again")
    implicit = maker.options.implicit and bundle.manifest.variants[one.variant].precision == "int8"
    options = replace(maker.options, weak=one.weak, implicit=implicit)
    return replace(maker, options=options).make(bundle, one.variant)


def _remember(maker: Maker, bundle: Bundle, running: list[Tried], entries: dict[Try, Entry]) -> None:
    """The fastest way of each variant becomes the one that is opened; its time decides between variants."""
    best: dict[str, Tried] = {}
    for row in running:
        best.setdefault(row.what.variant, row)
    for row in best.values():
        maker.cache.prefer(entries[row.what])
    known = {variant: row.p95_ms or 0.0 for variant, row in best.items()}
    built = maker.cache.built_variants(bundle)
    remember(bundle, {("tensorrt", v): known.get(v, "not among what --precision auto tries") for v in built})


def _timed(maker: Maker, bundle: Bundle, entries: dict[Try, Entry], plan: Plan) -> dict[str, list[float]]:
    """Milliseconds per frame of each engine, by label; they take turns on the same frames."""
    with ExitStack() as opened:
        engines = {}
        for one, entry in entries.items():
            engines[one.label] = maker.open(bundle, entry)
            opened.callback(engines[one.label].close)
        return time_in_turn({name: e.infer for name, e in engines.items()}, list(golden_frames(bundle)), plan)


def _row(what: Try, entry: Entry | None, times: list[float] | None, why: str) -> Tried:
    if entry is None or times is None:
        return Tried(what, None, None, 0, why)
    kept = f"kept in float: {', '.join(entry.kept_float)}" if entry.kept_float else ""
    median, slow = (float(np.percentile(times, q)) for q in (50, 95))
    return Tried(what, median, slow, entry.size_bytes, kept)
