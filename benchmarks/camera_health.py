"""How often camera health cries wolf on real normal and defective pictures, and which injected faults it finds.

    python -m benchmarks.camera_health DATA > table.md
    python -m benchmarks.camera_health cost

DATA has magnetic_tile/, mvtec_screw/ and clips/. Pictures are shown at 10 per second, as a station would see them.
`cost` prints what camera health costs, with warm caches.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.base import EndOfStream
from edge.camera.open import open_camera
from edge.camera.settings import CameraSettings
from edge.health import HealthLimits, HealthMonitor, baseline_from_images
from edge.health_measures import Repeats
from edge.manifest import ImageStatistics
from edge.preprocess import Preprocessing, preprocess

Image = NDArray[np.uint8]
STEP_S = 0.1
WITHIN_S = 1.0


@dataclass(frozen=True)
class Scene:
    """Normal pictures to learn from, normal and defective ones to judge, all as the camera gave them."""

    name: str
    train: list[Image]
    normal: list[Image]
    defective: list[Image]
    spec: Preprocessing


def pictures(source: Path) -> list[Image]:
    """Every picture of a clip or folder."""
    camera = open_camera(str(source), CameraSettings())
    found = []
    try:
        while True:
            found.append(camera.read(5.0).image)
    except EndOfStream:
        return found
    finally:
        camera.close()


def scenes(data: Path) -> Iterator[Scene]:
    """The real pictures: two MVTec-layout sets, and two clips whose second half is judged by the first."""
    grey, colour = (Preprocessing(height=128, width=128, colour=c) for c in ("grey", "bgr"))
    for name in ("magnetic_tile", "mvtec_screw"):
        test = data / name / "test"
        bad = [p for folder in sorted(test.iterdir()) if folder.name != "good" for p in pictures(folder)]
        yield Scene(name, pictures(data / name / "train" / "good"), pictures(test / "good"), bad, grey)
    for name in ("bolts.gif", "bottles.mp4"):
        clip = pictures(data / "clips" / name)
        yield Scene(name, clip[: len(clip) // 2], clip[len(clip) // 2 :], [], colour)


def shifted(image: Image, across: float, down: float) -> Image:
    """The camera turned aside: the scene moves, what comes in at the border repeats the border."""
    height, width = image.shape[:2]
    move = np.array([[1, 0, across * width], [0, 1, down * height]], np.float32)
    return np.asarray(cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def noisy(image: Image) -> Image:
    """With sensor noise of one grey level, which stays when the lens is out of focus."""
    noise = np.random.default_rng(int(image.sum())).normal(0, 1.0, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def blurred(image: Image) -> Image:
    """Out of focus by a Gaussian of four pixels of the camera's picture, for a picture whose longer side is 256."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 4.0 * max(image.shape[:2]) / 256), np.uint8)


FAULTS: dict[str, Callable[[Image], Image]] = {
    "black": lambda image: noisy(np.zeros_like(image)),
    "out of focus (sigma 4)": blurred,
    "out of focus, with noise": lambda image: noisy(blurred(image)),
    "moved 20 % across": lambda image: shifted(image, 0.2, 0.0),
    "moved 20 % down": lambda image: shifted(image, 0.0, 0.2),
    "overexposed (3x + 60)": lambda image: np.asarray(np.clip(3.0 * image + 60, 0, 255), np.uint8),
    "fogged (contrast 1/10)": lambda image: np.asarray(0.1 * image + 0.9 * image.mean(), np.uint8),
    "exposure halved": lambda image: np.asarray(0.5 * image, np.uint8),
}


def false_faults(scene: Scene, images: list[Image], hold_s: float | None = None) -> tuple[int, list[str]]:
    """Pictures on which a fault stands, and the kinds."""
    monitor, repeats = monitor_of(scene, hold_s), Repeats()
    kinds: list[str] = []
    count = 0
    for number, image in enumerate(images):
        problems = monitor.update(preprocess(image, scene.spec), repeats.number_of(image), number * STEP_S)
        monitor.settle()
        count += bool(problems)
        kinds += [p.kind for p in problems]
    return count, sorted(set(kinds))


def found(scene: Scene, fault: Callable[[Image], Image] | None) -> tuple[int, int, int]:
    """(times tried, told within a second, gone within a second after the fault has gone); None freezes the picture."""
    length = round(WITHIN_S / STEP_S)
    tried = told = cleared = 0
    for start in range(0, max(1, len(scene.normal) - 2 * length), length):
        monitor, repeats = monitor_of(scene, None), Repeats()
        view = scene.normal[start : start + 2 * length + 1]
        states = []
        for number, image in enumerate(view):
            if number <= length:
                image = view[0] if fault is None else fault(image)
            states.append(monitor.update(preprocess(image, scene.spec), repeats.number_of(image), number * STEP_S))
            monitor.settle()
        tried += 1
        told += bool(states[length])
        cleared += not states[-1]
    return tried, told, cleared


_BASELINES: dict[str, tuple[ImageStatistics, Image]] = {}


def monitor_of(scene: Scene, hold_s: float | None) -> HealthMonitor:
    """A new monitor with the scene's baseline."""
    if scene.name not in _BASELINES:
        _BASELINES[scene.name] = baseline_from_images([preprocess(image, scene.spec) for image in scene.train])
    statistics, reference = _BASELINES[scene.name]
    limits = HealthLimits() if hold_s is None else HealthLimits(hold_s=hold_s)
    return HealthMonitor(statistics, reference, limits)


def cost() -> None:
    """Print the median of each call."""
    print("| call | median |\n|---|---|")
    for size in (128, 256, 512):
        spec = Preprocessing(height=size, width=size, colour="bgr")
        camera = open_camera("pattern://?width=640&height=480", CameraSettings(realtime=False))
        images = [preprocess(camera.read(1.0).image, spec) for _ in range(40)]
        monitor = HealthMonitor(*baseline_from_images(images))
        calls = [_timed(monitor, image, number) for number, image in enumerate(images * 10)]
        for column, name in enumerate(("`update`, before the verdict", "`settle`, after it")):
            median_ms = 1000 * statistics.median(call[column] for call in calls)
            print(f"| {name}, {size}x{size} colour | {median_ms:.3f} ms |")
    for width, height in ((640, 480), (1920, 1080)):
        camera = open_camera(f"pattern://?width={width}&height={height}", CameraSettings(realtime=False))
        repeats, times = Repeats(), []
        for image in [camera.read(1.0).image for _ in range(20)] * 5:
            start = time.perf_counter()
            repeats.number_of(image)
            times.append(time.perf_counter() - start)
        print(f"| `Repeats.number_of`, {width}x{height} colour | {1000 * statistics.median(times):.3f} ms |")


def _timed(monitor: HealthMonitor, image: Image, number: int) -> tuple[float, float]:
    """Seconds of `update` and of `settle`, at such times that each picture's focus and place are put off."""
    start = time.perf_counter()
    monitor.update(image, number, number * STEP_S)
    updated = time.perf_counter()
    monitor.settle()
    return updated - start, time.perf_counter() - updated


def main(data: Path) -> None:
    """Print both tables."""
    all_scenes = list(scenes(data))
    print("| pictures | normal | with a fault | without on-delay | defective | with a fault | without on-delay |")
    print("|---|---|---|---|---|---|---|")
    for scene in all_scenes:
        row = [scene.name]
        for images in (scene.normal, scene.defective):
            row += [str(len(images))]
            for hold_s in (None, 0.0):
                count, kinds = false_faults(scene, images, hold_s)
                row.append(f"{count} {' '.join(kinds)}".strip())
        print(f"| {' | '.join(row)} |", flush=True)
    print(f"\n| injected fault | {' | '.join(scene.name for scene in all_scenes)} |")
    print("|---" * (1 + len(all_scenes)) + "|")
    for name, fault in {**FAULTS, "frozen": None}.items():
        cells = []
        for scene in all_scenes:
            tried, told, cleared = found(scene, fault)
            blind = "moved" in name and "not moved" in monitor_of(scene, None).description
            cells.append("not checkable" if blind else f"{told}/{tried}, gone {cleared}/{tried}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    cost() if sys.argv[1] == "cost" else main(Path(sys.argv[1]))
