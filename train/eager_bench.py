"""Child of `edge-bench --compare --run`: scores frames in eager PyTorch with autograd Grad-CAM, one at a time.

python -m train.eager_bench RUN THREADS: says "ready", then for every frame on standard input (uint8 [H, W, C], raw) one
line with its score.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch

from edge.errors import EdgeError
from train.checkpoint import load_run


def main(run: str, threads: str) -> int:
    """Serve until standard input ends; returns the exit code."""
    torch.set_num_threads(int(threads) or len(os.sched_getaffinity(0)))
    try:
        loaded = load_run(Path(run))
    except EdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    spec, scorer = loaded.preprocessing, loaded.reference_scorer()
    shape = (1, spec.height, spec.width, spec.channels)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while len(raw := sys.stdin.buffer.read(int(np.prod(shape)))) == np.prod(shape):
        score, masked_error, heatmap = scorer(torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(shape).copy()))
        heatmap.numpy(), float(masked_error)  # what an engine hands over
        sys.stdout.write(f"{float(score)!r}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
