"""The two-stage attention paper's synthetic anomalies (section 6.1 of its method): whole pictures and regions.

x' is the picture turned by a multiple of 90 degrees, its halves swapped, and its colours jittered; never turned and
swapped back to itself. x'' is the picture with one to four rectangles that are black or taken from x'. Parameters the
paper leaves open follow its citation for the augmentations: jitter 0.4 (hue 0.1) with probability 0.8.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Random = np.random.Generator

JITTER, HUE, JITTERED = 0.4, 0.1, 0.8
SIDES = (0.1, 0.5)  # of a rectangle, relative to the picture's


def turned_and_swapped(frame: Frame, random: Random) -> Frame:
    """x' of `frame`, uint8 [H, W, C]. Pictures that are not square are turned by 180 degrees only."""
    square = frame.shape[0] == frame.shape[1]
    choices = [
        (turn, swap) for turn in ((0, 1, 2, 3) if square else (0, 2)) for swap in range(4) if (turn, swap) != (0, 0)
    ]
    turn, swap = choices[int(random.integers(len(choices)))]
    changed = np.rot90(frame, turn)
    if swap & 1:
        changed = np.roll(changed, changed.shape[0] // 2, 0)
    if swap & 2:
        changed = np.roll(changed, changed.shape[1] // 2, 1)
    return jittered(np.ascontiguousarray(changed, np.uint8), random)


def with_regions(frame: Frame, random: Random) -> tuple[Frame, NDArray[np.float32]]:
    """(x'', A'') of `frame`: A'' float32 [H, W] is exactly 0 on the changed rectangles and 1 elsewhere."""
    height, width = frame.shape[:2]
    source = turned_and_swapped(frame, random)
    changed, attention = frame.copy(), np.ones((height, width), np.float32)
    for _ in range(int(random.integers(1, 5))):
        rows, columns = (max(1, int(random.uniform(*SIDES) * side)) for side in (height, width))
        top, left = int(random.integers(0, height - rows + 1)), int(random.integers(0, width - columns + 1))
        region = np.s_[top : top + rows, left : left + columns]
        changed[region] = 0 if random.random() < 0.5 else source[region]
        attention[region] = 0
    return changed, attention


def jittered(frame: Frame, random: Random) -> Frame:
    """Brightness, contrast and, in colour, saturation and hue changed, with probability JITTERED."""
    if random.random() >= JITTERED:
        return frame
    brightness, contrast, saturation = random.uniform(1 - JITTER, 1 + JITTER, 3)
    image = frame.astype(np.float32) * brightness
    image = np.asarray(np.clip((image - image.mean()) * contrast + image.mean(), 0, 255), np.uint8)
    if image.shape[2] == 1:
        return np.asarray(image, np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + 180 * random.uniform(-HUE, HUE)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR), np.uint8)
