"""The yardstick of `edge-bench --compare --run`: eager PyTorch, in a child process, for edge imports no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineFault, InputError


class EagerTorch:
    """Runs `python -m train.eager_bench RUN THREADS`; a call sends one frame and waits until it is scored."""

    name = "eager PyTorch + autograd Grad-CAM"

    def __init__(self, run: Path, threads: int) -> None:
        command = [sys.executable, "-m", "train.eager_bench", str(run), str(threads)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._pipe(self._child.stdout).readline() != b"ready\n":
            self.close()
            raise InputError(f"cannot run {run} in eager PyTorch", "its process ended early", "see its message above")

    def __call__(self, frame: NDArray[np.uint8]) -> float:
        """The score of `frame`, uint8 [H, W, C]. Raises EngineFault if the process ended."""
        sink, source = self._pipe(self._child.stdin), self._pipe(self._child.stdout)
        try:
            sink.write(frame.tobytes())
            sink.flush()
            return float(source.readline())
        except (OSError, ValueError) as error:
            raise EngineFault("eager PyTorch stopped", str(error), "see its message above") from error

    def close(self) -> None:
        """End the process; a second call does nothing."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe
