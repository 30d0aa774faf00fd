"""What the demo's camera shows, part by part, so that the alarms can be held against it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, groupby, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.dataset import list_dataset, split_validation
from edge.images import read_image, write_png

HOLD = 4  # frames for which each part is seen, as if it stood still under a strobed camera
NOISE = 1.0  # grey levels of a sensor: without any, a held picture is a repeated one, and those count once
LARGEST = 640  # pixels of the longer side; the station scales the pictures down anyway
BAD = 6  # bad parts that pass
DRAWN = 3  # the same, where the demo must draw them
GOOD_BETWEEN = 3

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """One part that passes: what it is, whether it is bad, and for how many frames it is seen."""

    name: str
    bad: bool
    frames: int


def parts_of_clip(truth: Path) -> list[Part]:
    """The parts of a rendered clip, from the JSON file beside it."""
    frames = json.loads(truth.read_text())["frames"]
    parts = [list(group) for _, group in groupby(frames, key=lambda frame: frame["bolt"])]
    return [Part(group[0]["defect"] or "good", group[0]["defect"] is not None, len(group)) for group in parts]


def make_camera(data: Path, camera: Path) -> list[Part]:
    """Fill the new folder `camera` with pictures of `data` that were not trained on, in the order in which they pass.

    Good ones are those of test/good, else those that training holds out. Bad ones are those of the test folder, one
    kind after the other; if there are none, a stroke is drawn on some good ones, and it is said so. Each is seen for
    HOLD frames, with a sensor's noise. Raises InputError if `data` is no data folder or a picture cannot be read.
    """
    dataset = list_dataset(data)
    good = dataset.test_normal or split_validation(dataset.train_normal)[1]
    bad = [(p, _small(read_image(p))) for p in islice(_one_kind_after_another(dataset.test_anomalous), BAD)]
    if not bad:
        chosen = good[:: max(1, len(good) // DRAWN)][:DRAWN]
        bad = [(p, _with_a_stroke(_small(read_image(p)))) for p in chosen]
        print(
            f"{data} holds no bad pictures: the demo draws a stroke on {len(bad)} good ones that training will not see"
        )
    random, parts = np.random.default_rng(0), []
    for path, image, is_bad in _order(good, bad):
        for frame in range(HOLD):
            write_png(camera / f"{len(parts) * HOLD + frame:04}.png", _seen(image, random))
        parts.append(Part(f"{path.parent.name}/{path.name}", is_bad, HOLD))
    return parts


def summary(parts: Sequence[Part], alarms: Iterable[int]) -> str:
    """Which parts raised an alarm; `alarms` are the numbers of the frames at which one began."""
    ends = np.cumsum([part.frames for part in parts])
    alarmed = {int(np.searchsorted(ends, frame, side="right")) for frame in alarms}
    missed = [part.name for n, part in enumerate(parts) if part.bad and n not in alarmed]
    wrong = [part.name for n, part in enumerate(parts) if not part.bad and n in alarmed]
    bad = sum(part.bad for part in parts)
    return (
        f"{bad} bad parts passed, {bad - len(missed)} raised an alarm{_named(', missed', missed)}\n"
        f"{len(parts) - bad} good parts passed, {len(wrong)} raised a false alarm{_named('', wrong)}"
    )


def _one_kind_after_another(paths: Sequence[Path]) -> Iterator[Path]:
    """The first of each folder, then the second of each, and so on."""
    kinds = [list(group) for _, group in groupby(paths, key=lambda path: path.parent)]
    for turn in range(max(map(len, kinds), default=0)):
        yield from (kind[turn] for kind in kinds if turn < len(kind))


def _order(good: Sequence[Path], bad: Sequence[tuple[Path, Image]]) -> Iterator[tuple[Path, Image, bool]]:
    """A few good ones before each bad one, and after the last."""
    supply = ((path, _small(read_image(path)), False) for path in cycle(good))
    for path, image in bad:
        yield from islice(supply, GOOD_BETWEEN)
        yield path, image, True
    yield from islice(supply, GOOD_BETWEEN)


def _small(image: Image) -> Image:
    scale = LARGEST / max(image.shape[:2])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _with_a_stroke(image: Image) -> Image:
    """A slanted stroke over the middle, black on a bright picture and white on a dark one."""
    marred, (height, width) = image.copy(), image.shape[:2]
    shade = 0 if image.mean() > 127 else 255
    ends = [(int(width * x), int(height * y)) for x, y in ((0.35, 0.62), (0.62, 0.4))]
    cv2.line(marred, *ends, (shade,) * 3, max(2, min(height, width) // 30), cv2.LINE_AA)
    return marred


def _seen(image: Image, random: np.random.Generator) -> Image:
    return np.asarray(np.clip(np.rint(image + random.normal(0, NOISE, image.shape)), 0, 255), np.uint8)


def _named(said: str, names: Sequence[str]) -> str:
    return f"{said}: {', '.join(names)}" if names else ""
