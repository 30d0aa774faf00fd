"""Writes generated bolts: a data folder in MVTec layout, and a camera clip with its ground truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.files import atomic_path, write_atomic
from edge.images import write_png
from train.bolts import DEFECTS, Defect, Scene, draw_scene, render
from train.noise import seed_of

Progress = Callable[[], object]


def write_dataset(out: Path, train: int, test: int, size: int, seed: int, progress: Progress = lambda: None) -> None:
    """`train` good bolts and `test` test bolts, half of them bad in equal shares, as PNG under `out`.

    `size` is the side in pixels. Picture n of a part depends on (seed, part, n) alone, so a larger set begins with the
    smaller one. Raises InputError if `out` holds anything already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty", "bolts are only written into a new folder", "name another folder")
    for path, scene in _plan(train, test, seed):
        image, mask = render(scene, size)
        write_png(out / path, image)
        if scene.defect:
            write_png(out / "ground_truth" / scene.defect / f"{path.stem}_mask.png", mask)
        progress()


def write_clip(file: Path, size: int, seed: int, bolts: int = 20, hold: int = 15, fps: float = 15.0) -> dict[str, Any]:
    """A strobed camera over an indexed line: every bolt stands still for `hold` frames while light and sensor flicker.

    Writes `file` (MPEG-4) and `file` with suffix .json, and returns the latter's content: fps, size, and per frame the
    bolt's number and its defect (null: good). About every fifth bolt is bad, never the first three.
    """
    scenes = _line(bolts, seed)
    truth = {
        "fps": fps,
        "size": size,
        "hold": hold,
        "frames": [{"bolt": n, "defect": s.defect} for n, s in enumerate(scenes) for _ in range(hold)],
    }
    with atomic_path(file) as temporary:
        _encode(temporary, _frames(scenes, hold, size, seed), size, fps)
    write_atomic(file.with_suffix(".json"), json.dumps(truth, indent=1).encode())
    return truth


def _plan(train: int, test: int, seed: int) -> Iterator[tuple[Path, Scene]]:
    for n in range(train):
        yield Path("train/good") / f"{n:04d}.png", _scene(seed, "train", n, None)
    for n in range(test - test // 2):
        yield Path("test/good") / f"{n:04d}.png", _scene(seed, "good", n, None)
    for n in range(test // 2):
        defect = DEFECTS[n % len(DEFECTS)]
        yield Path("test") / defect / f"{n // len(DEFECTS):04d}.png", _scene(seed, defect, n, defect)


def _scene(seed: int, part: str, n: int, defect: Defect | None) -> Scene:
    return draw_scene(np.random.default_rng(seed_of(seed, part, n)), defect)


def _line(bolts: int, seed: int) -> list[Scene]:
    kinds: list[Defect | None] = [None] * bolts
    for place, n in enumerate(range(3, bolts, 5)):
        kinds[n] = DEFECTS[place % len(DEFECTS)]
    return [_scene(seed, "clip", n, kind) for n, kind in enumerate(kinds)]


def _frames(scenes: list[Scene], hold: int, size: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    random = np.random.default_rng(seed_of(seed, "flicker"))
    for scene in scenes:
        still, _ = render(replace(scene, noise=0.0), size)
        for _ in range(hold):
            flicker = 1 + random.normal(0, 0.01)
            noise = random.normal(0, scene.noise, still.shape)
            yield np.asarray(np.clip(np.rint(still * flicker + noise), 0, 255), np.uint8)


def _encode(file: Path, frames: Iterator[NDArray[np.uint8]], size: int, fps: float) -> None:
    """OpenCV picks the container by the name's ending, so it writes beside `file` and the result is renamed."""
    written = file.with_name(file.name + ".mp4")
    writer = cv2.VideoWriter(str(written), cv2.VideoWriter.fourcc(*"mp4v"), fps, (size, size))
    if not writer.isOpened():
        raise InputError(f"cannot write clip {file}", "OpenCV has no MPEG-4 encoder here", "install opencv with FFmpeg")
    try:
        for frame in frames:
            writer.write(frame)
        writer.release()
        written.replace(file)
    finally:
        writer.release()
        written.unlink(missing_ok=True)
