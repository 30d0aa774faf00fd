"""Where the time of a training step goes: loading, synthetic anomalies, forward, backward, optimiser.

    python -m benchmarks.training_profile DATA --methods attention sagan vae --steps 10

One thread, CPU time of this process, two steps to warm up. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from train.loop import Loop, Plan
from train.methods import METHODS
from train.processes import open_fabric
from train.session import Request, start

PARTS = ("loading", "synthetic anomalies", "forward and losses", "backward", "optimiser")


def main(arguments: Sequence[str]) -> int:
    """A row for each method."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    print("| method | size, width | ms a step | images/s | " + " | ".join(PARTS) + " |\n|---|---|" + "---|" * 7)
    for name in given.methods:
        loop = _loop(given, name)
        _steps(loop, 2)
        profile = cProfile.Profile(time.process_time)
        profile.runcall(_steps, loop, given.steps)
        _tell(name, loop, _shares(pstats.Stats(profile)), given.steps)
    return 0


def _loop(given: argparse.Namespace, name: str) -> Loop:
    row = METHODS[name]
    size, width = given.size or row.image_size, given.width or row.base_width
    with tempfile.TemporaryDirectory() as folder:
        request = Request(name, given.data, Path(folder), Plan(row.batch_size, 0, epochs=1), (size, size), width)
        session = start(request)
    data = session.frames, session.validation, session.known
    return Loop(session.method, Plan(row.batch_size, 0, epochs=1), data, open_fabric("cpu"), lambda loop: None)


def _steps(loop: Loop, count: int) -> None:
    phase = loop.method.phases[0]
    loop.method.networks.train()
    for _ in range(count):
        loop._step(phase, torch.arange(len(loop.frames)))


def _shares(stats: pstats.Stats) -> tuple[float, list[float]]:
    """(seconds in steps, seconds in each of PARTS)."""

    def spent(function: str, file: str) -> float:
        rows = stats.stats.items()  # type: ignore[attr-defined]
        return sum(row[3] for key, row in rows if key[2] == function and key[0].endswith(file))

    whole, minimise = spent("_step", "train/loop.py"), spent("_minimise", "train/loop.py")
    loading, backward = spent("_batch", "train/loop.py"), spent("backward", "lightning_fabric/fabric.py")
    made = spent("examples_of", "attention_batch.py") + spent("_pictures", "attention_gan.py")
    return whole, [loading, made, whole - loading - made - minimise, backward, minimise - backward]


def _tell(name: str, loop: Loop, shares: tuple[float, list[float]], steps: int) -> None:
    whole, parts = shares
    config = loop.method.config
    cells = " | ".join(f"{100 * part / whole:.1f} %" for part in parts)
    speed = f"{1e3 * whole / steps:.0f} | {steps * loop.batch_size / whole:.0f}"
    print(f"| `{name}` | {config.height} px, {config.base_width} | {speed} | {cells} |", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder in MVTec layout")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["attention", "attention-gan", "sagan", "vae"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", type=int)
    parser.add_argument("--width", type=int)
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
