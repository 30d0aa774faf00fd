"""Child process of `auto`: times engines on a bundle's golden frames and prints one JSON line.

python -m edge.engine.measure BUNDLE THREADS BACKEND/VARIANT...
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, open_bundle
from edge.engine.base import Engine
from edge.engine.open import open_candidate
from edge.errors import EdgeError

ROUNDS, WARM_UP, BUDGET_S = 40, 3, 4.0


def main(arguments: list[str]) -> None:
    """Print {"backend/variant": milliseconds or the reason it did not run}."""
    bundle, threads = open_bundle(Path(arguments[0])), int(arguments[1])
    opened = {key: _opened(bundle, key, threads) for key in arguments[2:]}
    engines = {key: engine for key, engine in opened.items() if not isinstance(engine, str)}
    frames = np.asarray(bundle.read_array(bundle.manifest.golden_frames), np.uint8)
    timings: dict[str, Any] = {key: reason for key, reason in opened.items() if isinstance(reason, str)}
    timings |= {key: statistics.median(times) for key, times in interleaved(engines, frames).items()}
    sys.stdout.write(json.dumps({key: timings[key] for key in arguments[2:]}) + "\n")


def interleaved(engines: dict[str, Engine], frames: NDArray[np.uint8]) -> dict[str, list[float]]:
    """Milliseconds per call and engine. One call of each in turn, so that what else the machine does hits all alike."""
    for engine in engines.values():
        for frame in frames[:WARM_UP]:
            engine.infer(frame)
    times: dict[str, list[float]] = {key: [] for key in engines}
    end = time.monotonic() + BUDGET_S
    for round_ in range(ROUNDS):
        for key, engine in engines.items():
            times[key].append(timed_ms(engine, frames[round_ % len(frames)]))
        if time.monotonic() > end:
            break
    return times


def timed_ms(engine: Engine, frame: NDArray[np.uint8]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    engine.infer(frame)
    return (time.perf_counter() - start) * 1e3


def _opened(bundle: Bundle, key: str, threads: int) -> Engine | str:
    backend, variant = key.split("/", 1)
    try:
        return open_candidate(bundle, (backend, variant), threads)
    except EdgeError as error:
        return str(error)


if __name__ == "__main__":
    main(sys.argv[1:])
