"""Batches for the attention network: normal frames, their defective copies, and known anomalies, with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from train.augment.hard import Defective, with_defects
from train.augment.normal import WHOLE, Light, Part, drawn_light, moved, relit
from train.augment.transplant import transplanted
from train.method import UNKNOWN, Batch
from train.models.attention_loss import Truth
from train.models.attention_mirror import UPRIGHT, mirrored_frame
from train.models.attention_net import STRIDE, light_of, normalised
from train.models.attention_window import window_on

Array = NDArray[np.float32]
THREADS = 2
TRANSPLANTED = 0.7  # of the known anomalies that are shown, if they are marked


@dataclass(frozen=True)
class Example:
    """One picture, or a part of it, with its truth. `image`, `normal` float32 [H, W, C] in 0..255; `mask` float32
    [H, W] in 0..1, UNKNOWN where nobody marked it; `kind` uint8 [H, W]; `anomalous` 0..1. `part` is what is
    shown of the picture, `glimpse` the whole of it, small, or None if all is shown."""

    image: Array
    normal: Array
    mask: Array
    kind: NDArray[np.uint8]
    anomalous: float
    redrawable: bool = True
    part: Part = WHOLE
    glimpse: Array | None = None


@dataclass(frozen=True)
class Lesson:
    """How hard: parts in one of `orientations`, see train.models.attention_mirror; labels `graded` by how plainly a
    change is seen; in `windows` of the pictures, which known anomalies without marks forbid: a window may miss them;
    pictures moved with strength `movement`, see train.augment.normal.moved."""

    orientations: Sequence[int] = UPRIGHT
    graded: bool = True
    windows: bool = False
    movement: float = 1.0


def examples_of(batch: Batch, lesson: Lesson) -> list[Example]:
    """For each frame a varied normal copy and one with defects, then known anomalies, a third of the batch at most."""
    frames = list(batch.frames.cpu().numpy())
    seeds = [int(s) for s in batch.noise.integers(2**31, len(frames))]
    with ThreadPoolExecutor(THREADS) as pool:
        pairs = list(pool.map(lambda i: _pair(frames, i, seeds[i], lesson), range(len(frames))))
    examples = [example for side in zip(*pairs, strict=True) for example in side]
    return examples + _known(batch, lesson)


def varied(
    frames: Tensor, seeds: Sequence[int], relighting: float, movement: float, orientations: Sequence[int] = UPRIGHT
) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in -1..1, each moved and relit as a good part may be, with these
    strengths."""

    def one(index: int) -> Array:
        random = np.random.default_rng(seeds[index])
        image = moved(mirrored_frame(pixels[index], random, orientations), random, movement)
        return relit([image], random, relighting)[0] if relighting else image

    pixels = frames.cpu().numpy()
    with ThreadPoolExecutor(THREADS) as pool:
        return _images(list(pool.map(one, range(len(pixels)))), frames.device)


def tensors_of(examples: Sequence[Example], device: torch.device) -> tuple[Tensor, Truth]:
    """Normalised images [N, C, H, W] in channels-last memory, and the truth. All show parts of one size."""
    images = _images([e.image for e in examples], device)
    glimpses = [e.glimpse for e in examples if e.glimpse is not None]
    light = light_of(_images(glimpses, device) if glimpses else images)
    normal = F.avg_pool2d(_images([e.normal for e in examples], device), 4)
    mask = torch.from_numpy(np.stack([e.mask for e in examples]))[:, None].to(device)
    known = (mask != UNKNOWN).float()
    kind = torch.from_numpy(np.stack([e.kind[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] for e in examples]))
    even = normalised(images, light)
    return even.contiguous(memory_format=torch.channels_last), Truth(
        mask=mask * known,
        known=known,
        anomalous=torch.tensor([e.anomalous for e in examples], device=device),
        kind=kind.long().to(device),
        normal=normalised(normal, light),
        redrawable=torch.tensor([float(e.redrawable) for e in examples], device=device),
    )


def _images(images: Sequence[Array], device: torch.device) -> Tensor:
    planes = np.stack(images).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32)).to(device) / 127.5 - 1


def _pair(frames: Sequence[NDArray[np.uint8]], index: int, seed: int, lesson: Lesson) -> tuple[Example, Example]:
    random = np.random.default_rng(seed)
    normal = moved(mirrored_frame(frames[index], random, lesson.orientations), random, lesson.movement)
    return pair_of(normal, with_defects(normal, frames, random, lesson.graded), lesson, random)


def pair_of(
    normal: Array, defective: Defective, lesson: Lesson, random: np.random.Generator
) -> tuple[Example, Example]:
    """A good picture and the same one with a defect, both shown at the defect, if in windows."""
    part = window_on(defective.mask, random) if lesson.windows else WHOLE
    light = drawn_light(normal.shape[:2], random)
    bad = _example_of(defective, normal, light, part, random)
    # often another light for the normal copy: light alone must not tell the two apart
    own = drawn_light(normal.shape[:2], random) if random.random() < 0.5 else light
    alone = own.on([normal], random, part)[0]
    none = np.zeros_like(bad.mask), np.zeros_like(bad.kind)
    return Example(alone, alone, *none, 0.0, True, part, _glimpse(own, normal, part)), bad


def _example_of(defective: Defective, normal: Array, light: Light, part: Part, random: np.random.Generator) -> Example:
    """`part` of a picture that was `normal` before, both under one light."""
    clean, bad = light.on([normal, defective.image], random, part)
    mask, glimpse = defective.mask[part], _glimpse(light, defective.image, part)
    return Example(bad, clean, mask, defective.kind[part], float(mask.max()), True, part, glimpse)


def windows_allowed(batch: Batch) -> bool:
    """Whether all known anomalies are marked."""
    return batch.known_masks is None or not bool((batch.known_masks == UNKNOWN).any())


def _known(batch: Batch, lesson: Lesson) -> list[Example]:
    if batch.known is None or batch.known_masks is None:
        return []
    count = max(1, len(batch.frames) // 2)
    seeds = [int(s) for s in batch.noise.integers(2**31, len(batch.known))]
    frames, masks, normal = (t.cpu().numpy() for t in (batch.known, batch.known_masks, batch.frames))
    return [
        _transplanted(normal[i % len(normal)], frames[i], masks[i], seeds[i], lesson)
        or _known_one(frames[i], masks[i], seeds[i], lesson)
        for i in range(min(count, len(frames)))
    ]


def _transplanted(
    frame: NDArray[np.uint8], known: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int, lesson: Lesson
) -> Example | None:
    """A good picture with a marked piece of a known anomaly, in TRANSPLANTED of the cases in which that is possible."""
    random = np.random.default_rng(seed + 1)
    if random.random() >= TRANSPLANTED or bool((mask == UNKNOWN).any()):
        return None
    normal = moved(mirrored_frame(frame, random, lesson.orientations), random, lesson.movement)
    defective = transplanted(normal, known, mask == 1, random)
    if defective is None:
        return None
    part = window_on(defective.mask, random) if lesson.windows else WHOLE
    light = drawn_light(normal.shape[:2], random)
    return _example_of(defective, normal, light, part, random)


def _known_one(frame: NDArray[np.uint8], mask: NDArray[np.uint8], seed: int, lesson: Lesson) -> Example:
    random = np.random.default_rng(seed)
    layers = np.concatenate([frame, np.where(mask == 1, 255, 0).astype(np.uint8)[:, :, None]], 2)
    shifted = moved(mirrored_frame(layers, random, lesson.orientations), random, lesson.movement)
    picture, marks = np.ascontiguousarray(shifted[:, :, :-1]), (shifted[:, :, -1] > 127).astype(np.float32)
    part = window_on(marks, random) if lesson.windows else WHOLE
    light = drawn_light(picture.shape[:2], random)
    image = light.on([picture], random, part)[0]
    marked = bool((mask != UNKNOWN).all())
    truth = marks[part] if marked else np.full_like(marks[part], UNKNOWN)
    anomalous = float(truth.max()) if marked else 1.0
    none = np.zeros(truth.shape, np.uint8)
    return Example(image, image, truth, none, anomalous, False, part, _glimpse(light, picture, part))


def _glimpse(light: Light, picture: Array, part: Part) -> Array | None:
    return None if part == WHOLE else light.glimpse(picture)
