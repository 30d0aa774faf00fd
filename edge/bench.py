"""Timing a station's work on one frame, stage by stage, as the station does it: read, preprocess, infer, decide.

Where several engines are compared, they take turns on the same frame, so that whatever else the machine does meets all
of them alike; compare figures of one run only. Each turn begins with untimed calls: PyTorch's worker threads spin for
some milliseconds after their work, and would take a core from whoever comes next.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engine.base import Engine
from edge.errors import InputError
from edge.golden import golden_frames
from edge.images import encode_png
from edge.preprocess import preprocess

Frame = NDArray[np.uint8]
HARMLESS_SHARE = 0.1  # of the CPUs, used by others while something is timed
STAGES = ("read", "preprocess", "infer", "decide")
QUANTILES = {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}


@dataclass(frozen=True)
class Plan:
    """How much to run: `frames` timed ones after `warmup` untimed ones; `settle_s` of untimed calls begin each turn."""

    frames: int = 200
    warmup: int = 20
    settle_s: float = 0.01

    def __post_init__(self) -> None:
        if self.frames < 1 or self.warmup < 0:
            raise InputError("nothing to time", f"{self.frames} frames, {self.warmup} warm-up", "ask for one at least")


Times = dict[str, list[float]]  # stage -> milliseconds of each frame


def sources(bundle: Bundle) -> list[bytes]:
    """The bundle's golden frames as PNG files in memory: what `read` has to decode, whatever the disk does."""
    return [encode_png(np.ascontiguousarray(frame.squeeze())) for frame in golden_frames(bundle)]


def time_stages(engine: Engine, bundle: Bundle, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> Times:
    """Milliseconds of every stage for each timed frame, and their sum as `total`.

    An engine that has `device_ms` adds its own stages (h2d, compute, d2h), which are parts of `infer`.
    """
    files, times = sources(bundle), {stage: list[float]() for stage in (*STAGES, "total")}
    threshold = bundle.manifest.variants[engine.variant].threshold.value
    for number in range(plan.warmup + plan.frames):
        marks = _one_frame(engine, bundle, files[number % len(files)], threshold, clock)
        if number >= plan.warmup:
            for stage, start, end in zip(STAGES, marks, marks[1:], strict=False):
                times[stage].append((end - start) * 1e3)
            for stage, spent in getattr(engine, "device_ms", {}).items():  # within `infer`, by the device's own clock
                times.setdefault(stage, []).append(spent)
            times["total"].append((marks[-1] - marks[0]) * 1e3)
    return times


def time_in_turn(
    runs: dict[str, Callable[[Frame], object]],
    frames: Sequence[Frame],
    plan: Plan,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Milliseconds per call of each of `runs`, which take turns on the same frames, uint8 [H, W, C]."""
    for run in runs.values():
        for number in range(plan.warmup):
            run(frames[number % len(frames)])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(plan.frames):
        for name, run in runs.items():
            frame = frames[number % len(frames)]
            settle(run, frame, plan.settle_s)
            start = clock()
            run(frame)
            times[name].append((clock() - start) * 1e3)
    return times


def settle(run: Callable[[Frame], object], frame: Frame, seconds: float) -> None:
    """Call `run` for that long: caches are its own again, and no thread of the run before it spins any more.

    A pause would stop the threads too, but after 20 ms of it engines take half as long again.
    """
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        run(frame)


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50_ms, p90_ms, p95_ms, p99_ms, max_ms and mean_ms."""
    found = {name: float(np.percentile(milliseconds, q)) for name, q in QUANTILES.items()}
    return {name: round(value, 4) for name, value in (found | {"mean_ms": statistics.fmean(milliseconds)}).items()}


def ratio(milliseconds: Sequence[float], reference: Sequence[float]) -> float:
    """How many times faster than `reference`: the median over rounds of the ratio of two calls made in one round."""
    return float(np.median(np.asarray(reference) / np.asarray(milliseconds)))


class Neighbours:
    """How much CPU time others used while the block ran. `share` 0..1 of all CPUs; 0 where Linux' /proc is absent."""

    share = 0.0

    def __enter__(self) -> Neighbours:
        self._before = _cpu_seconds()
        return self

    def __exit__(self, *failure: object) -> None:
        every, busy, own = (after - before for after, before in zip(_cpu_seconds(), self._before, strict=True))
        self.share = min(max((busy - own) / every, 0.0), 1.0) if every > 0 else 0.0

    def warning(self) -> str | None:
        """One line where others disturbed what was timed, else None."""
        if self.share <= HARMLESS_SHARE:
            return None
        return f"others used {self.share:.0%} of the CPUs meanwhile: times are too long, and ratios may be far off"


def _cpu_seconds() -> tuple[float, float, float]:
    """(All CPUs, idle or not; all of them busy; this process) since some time ago; zeros without /proc."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(value) for value in file.readline().split()[1:9]]
    except OSError:
        return 0.0, 0.0, 0.0
    second, idle = os.sysconf("SC_CLK_TCK"), ticks[3] + ticks[4]
    return sum(ticks) / second, (sum(ticks) - idle) / second, time.process_time()


def _one_frame(
    engine: Engine, bundle: Bundle, file: bytes, threshold: float, clock: Callable[[], float]
) -> tuple[float, ...]:
    start = clock()
    picture = np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
    read = clock()
    frame = preprocess(picture, bundle.manifest.preprocessing)
    prepared = clock()
    scores = engine.infer(frame)
    inferred = clock()
    _ = scores.score > threshold and np.unravel_index(int(scores.heatmap.argmax()), scores.heatmap.shape)
    return start, read, prepared, inferred, clock()
