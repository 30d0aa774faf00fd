"""`auto` measures: the candidates are timed on this machine, on the bundle's own frames, and the result is kept.

Timing happens in a child process, so that a back end that crashes or eats memory leaves no trace in the station.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.bundle import Bundle
from edge.engine.base import Candidate
from edge.engine.machine import machine_fingerprint
from edge.errors import InputError, MissingError
from edge.files import cache_folder, sha256_of, write_atomic

TIMEOUT_S = 300.0
# A lower precision must pay for itself: within this factor of the best fp32 time, fp32 is taken.
WORTH_IT = 0.95


@dataclass(frozen=True)
class Choice:
    """The candidate to open, and in one line what was measured and why it won."""

    candidate: Candidate
    reason: str


def choose(bundle: Bundle, candidates: list[Candidate], threads: int) -> Choice:
    """The fastest of `candidates` on this machine; timings come from the cache where bundle and machine are the same.

    Raises MissingError if none of them runs.
    """
    path = cache_folder() / f"choice-{_key(bundle, candidates, threads)}.json"
    timings, source = _cached(path), "measured before on this machine"
    if timings is None:
        timings, source = measure(bundle, candidates, threads), "measured now"
        _keep(path, timings)
    return decide(bundle, timings, source)


def decide(bundle: Bundle, timings: dict[str, Any], source: str) -> Choice:
    """Pick from `timings` ("backend/variant" -> milliseconds, or a text that says why it did not run)."""
    ran = {key: float(value) for key, value in timings.items() if isinstance(value, (int, float))}
    if not ran:
        raise MissingError(
            f"no engine runs {bundle.path} here",
            "; ".join(f"{key}: {why}" for key, why in timings.items())[:500],
            "run edge-doctor",
        )
    fastest = min(ran, key=lambda key: ran[key])
    plain = {key: ms for key, ms in ran.items() if _variant(key) == "fp32"}
    best_plain = min(plain, key=lambda key: plain[key]) if plain else fastest
    taken = fastest if ran[fastest] <= WORTH_IT * ran[best_plain] else best_plain
    why = "fastest" if taken == fastest else f"{fastest} gains less than {1 - WORTH_IT:.0%} over it"
    table = ", ".join(f"{key} {_told(value)}" for key, value in timings.items())
    return Choice((taken.split("/")[0], _variant(taken)), f"auto took {taken} ({why}); {source}: {table}")


def remember(bundle: Bundle, timings: Mapping[Candidate, float | str]) -> None:
    """Keep timings of TensorRT engines that edge-build took, so that the station need not measure them again."""
    path = cache_folder() / f"choice-{_key(bundle, list(timings), 0)}.json"
    write_atomic(path, json.dumps({"/".join(c): value for c, value in timings.items()}, indent=1).encode())


def measure(bundle: Bundle, candidates: list[Candidate], threads: int) -> dict[str, Any]:
    """Median milliseconds per frame of every candidate, interleaved, in a child process."""
    wanted = [f"{backend}/{variant}" for backend, variant in candidates]
    command = [sys.executable, "-m", "edge.engine.measure", str(bundle.path), str(threads), *wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return dict.fromkeys(wanted, f"timing did not end within {TIMEOUT_S:.0f} s")
    if done.returncode == 0:
        timings: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return timings
    if len(candidates) == 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {wanted[0]: f"timing ended with code {done.returncode}: {last}"}
    # One of them brought the process down: time each alone to learn which.
    return {key: value for one in candidates for key, value in measure(bundle, [one], threads).items()}


def _key(bundle: Bundle, candidates: list[Candidate], threads: int) -> str:
    if all(backend == "tensorrt" for backend, _ in candidates):
        threads = 0  # it runs on the GPU
    asked = json.dumps([bundle.identity, machine_fingerprint(), sorted(candidates), threads])
    return sha256_of(asked.encode())[:32]


def _cached(path: Path) -> dict[str, Any] | None:
    try:
        timings = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return timings if isinstance(timings, dict) else None


def _keep(path: Path, timings: dict[str, Any]) -> None:
    """Remember only a complete measurement; a read-only cache folder costs time at the next start, nothing else."""
    if not all(isinstance(value, (int, float)) for value in timings.values()):
        return
    try:
        write_atomic(path, json.dumps(timings, indent=1).encode())
    except (InputError, OSError):
        return


def _variant(key: str) -> str:
    return key.split("/", 1)[1]


def _told(value: object) -> str:
    return f"{value:.2f} ms" if isinstance(value, (int, float)) else f"did not run ({value})"
