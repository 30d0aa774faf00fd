"""The face that round parts show, learnt from normal pictures: their mean, once all lie alike.

Only taken if what they show around then agrees far better than as they lie: parts in a fixture lie alike anyway, and
plain discs show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.face import Face, Pose, around, face_of, grey_of, turned_to
from edge.locate import Found, faced

ROUNDS = 2
RIM = 1.03  # times the parts' reach: a face shows a little of what lies around
SHOWS = 0.5  # correlation of what good parts show around, turned alike
BETTER = 0.15  # correlation that turning must gain


@dataclass(frozen=True)
class Shown:
    """`face`, the `parts` as they lie by it, and how well what they show agrees as it lies and turned alike."""

    face: Face
    parts: list[Found]
    before: float
    after: float

    @property
    def helps(self) -> bool:
        """Whether parts are to be turned by it."""
        return self.after >= max(SHOWS, self.before + BETTER)


def face_shown(views: Sequence[NDArray[np.uint8]], parts: Sequence[Found]) -> Shown:
    """What round `parts`, each in one of `views` (overviews), show. The first one says which way is up."""
    planes = [grey_of(view) for view in views]
    side = _side(parts)
    face = face_of(turned_to(planes[0], (*parts[0].middle, 0.0), side))
    for _ in range(ROUNDS):
        poses = _centred([faced(part, view, face) for part, view in zip(parts, views, strict=True)], parts)
        turned = np.stack([turned_to(plane, pose, side) for plane, pose in zip(planes, poses, strict=True)])
        face = face_of(turned.mean(0))
    as_they_lie = np.stack(
        [turned_to(plane, (x, y, 0.0), side) for plane, (x, y, _) in zip(planes, poses, strict=True)]
    )
    found = [faced(part, view, face) for part, view in zip(parts, views, strict=True)]
    return Shown(face, found, agreement(as_they_lie), agreement(turned))


def agreement(pictures: NDArray[np.float32]) -> float:
    """Mean correlation of what each of `pictures` [n, s, s] shows around its middle with the mean of the others."""
    side = pictures.shape[1]
    middle = (side - 1) / 2
    return alike(np.stack([around(picture, (middle, middle), side / 2).ravel() for picture in pictures]))


def alike(rows: NDArray[np.inexact]) -> float:
    """Mean correlation of each of `rows` [n, k], real or complex and of length 1, with the mean of the others."""
    others = rows.sum(0) - rows
    length = np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return float(((rows * others.conj()).sum(1).real / length).mean())


def _side(parts: Sequence[Found]) -> int:
    reach = [np.hypot(*(np.nonzero(p.mask) - np.array(p.middle)[::-1, None])).max() for p in parts]
    return 2 * round(float(np.quantile(reach, 0.9)) * RIM) + 1


def _centred(found: Sequence[Found], parts: Sequence[Found]) -> list[Pose]:
    """Poses of `found`, moved alike across the face until it lies about the middle of `parts`, or it would wander."""
    x, y, angle = np.array([(there.x, there.y, there.angle) for there in found]).T
    off_x, off_y = x - [part.middle[0] for part in parts], y - [part.middle[1] for part in parts]
    c, s = np.cos(angle), np.sin(angle)
    along, across = (off_x * c + off_y * s).mean(), (off_y * c - off_x * s).mean()
    moved = np.stack([x - along * c + across * s, y - along * s - across * c, angle], 1)
    return [(float(x), float(y), float(angle)) for x, y, angle in moved]
