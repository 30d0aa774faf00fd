"""Which way round a round part lies: what it shows is compared with the face that good parts show.

A part with a long axis says by itself how it lies (edge.locate). A cap, a lid or a gear does not, but what is printed
on it or cut into it does. Around its centre the part is unrolled; the turn at which it agrees best with the face,
unrolled alike, is its angle. Then the two pictures say how far the centre was off, and both are done again. Pure:
pictures come in, a place goes out.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

Plane = NDArray[np.float32]
Pose = tuple[float, float, float]  # x, y of the centre in the overview, and the angle in radians

TURNS = 360  # that are compared
RADII = 32
SLOW = 3  # harmonics around, the lowest, that do not count: light from one side does not turn with the part
ROUNDS = 2
REACH = 0.15  # of the face's side: how far off the centre may have been


class Face(BaseModel):
    """What good parts show when they lie alike. `picture`: their mean in grey, centre in the middle, one pixel for each
    of the overview's; a square PNG in base64."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: str

    @field_validator("picture")
    @classmethod
    def _is_a_picture(cls, picture: str) -> str:
        _face(picture)
        return picture


@dataclass(frozen=True)
class _Seen:
    """A face's picture [s, s], a window that fades towards its border, and what it shows around, see `around`."""

    picture: Plane
    window: Plane
    around: NDArray[np.complex128]


def face_of(mean: NDArray[np.floating]) -> Face:
    """The face with picture `mean`, [s, s] in 0..255."""
    _, data = cv2.imencode(".png", np.clip(np.rint(mean), 0, 255).astype(np.uint8))
    return Face(picture=base64.b64encode(data.tobytes()).decode())


def facing(overview: NDArray[np.uint8], start: tuple[float, float], face: Face) -> Pose:
    """How the part that `overview`, uint8 [h, w, C], shows about `start` (x, y) is turned against `face`."""
    plane, seen, (x, y), angle = grey_of(overview), _face(face.picture), start, 0.0
    side = len(seen.picture)
    for _ in range(ROUNDS):
        angle = _turn_between(seen.around, around(plane, (x, y), side / 2))
        turned = turned_to(plane, (x, y, angle), side)
        # of sizes that it need not pad, it overwrites both pictures
        (across, down), _ = cv2.phaseCorrelate(seen.picture.copy(), turned, seen.window)
        if max(abs(across), abs(down)) < REACH * side:  # else they have nothing in common
            c, s = np.cos(angle), np.sin(angle)
            x, y = x + across * c - down * s, y + across * s + down * c
    return float(x), float(y), angle


def turned_to(plane: Plane, pose: Pose, side: int) -> Plane:
    """A square of `side` pixels around the part at `pose` in `plane` [h, w], turned upright."""
    place, flags = affine_of(pose, (side, side)), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(plane, place, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def affine_of(pose: Pose, size: tuple[int, int], scale: float = 1.0) -> NDArray[np.float64]:
    """Where the pixels of a view of `size` (height, width) lie, [2, 3], if its middle lies at `pose` and `scale` of its
    pixels on one of the picture's."""
    x, y, angle = pose
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return np.column_stack([turn, np.array([x, y]) - turn @ middle])


def grey_of(overview: NDArray[np.uint8]) -> Plane:
    """What uint8 [h, w, C] shows in grey, float32 [h, w]."""
    grey = cv2.cvtColor(overview, cv2.COLOR_BGR2GRAY) if overview.shape[2] == 3 else overview[:, :, 0]
    return np.asarray(grey, np.float32)


@lru_cache(maxsize=8)
def _face(picture: str) -> _Seen:
    try:
        data = base64.b64decode(picture, validate=True)
    except binascii.Error as error:
        raise ValueError("face: not in base64") from error
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[0] != pixels.shape[1] or not 16 <= len(pixels) <= 1024:
        raise ValueError("face: not a square picture in grey, 16 to 1024 pixels a side")
    plane, side = pixels.astype(np.float32), len(pixels)
    window = np.asarray(cv2.createHanningWindow((side, side), cv2.CV_32F), np.float32)
    return _Seen(plane, window, around(plane, ((side - 1) / 2, (side - 1) / 2), side / 2))


def around(plane: Plane, centre: tuple[float, float], radius: float) -> NDArray[np.complex128]:
    """Harmonics [TURNS/2+1, RADII] of what `plane` shows on rings around `centre`, of length 1 in all."""
    rings = cv2.warpPolar(plane, (RADII, TURNS), centre, radius, cv2.WARP_POLAR_LINEAR | cv2.INTER_LINEAR)
    harmonics = np.fft.rfft(rings, axis=0)
    harmonics[:SLOW] = 0
    return np.asarray(harmonics / max(float(np.linalg.norm(harmonics)), 1e-9), np.complex128)


def _turn_between(face: NDArray[np.complex128], around: NDArray[np.complex128]) -> float:
    """The angle, in radians, by which `around` is turned against `face`."""
    alike = np.fft.irfft((face.conj() * around).sum(1), n=TURNS)
    best = int(alike.argmax())
    before, peak, after = alike[best - 1], alike[best], alike[(best + 1) % TURNS]
    bend = before - 2 * peak + after
    between = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((best + between) * 2 * np.pi / TURNS)
