"""Finds a loose part on a plain background and lays it straight, so that the model sees every part alike.

A part that lies anywhere and at any angle is hard to learn and small in the picture. Here it is what differs most from
the colour of the picture's border; its centroid and long axis say where it lies, its thicker end which way round. Of a
round part its face says so (edge.face).
Pure: a picture comes in, a place goes out. What to look for is learnt from normal pictures (train.locating).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge.face import Face, affine_of, facing

Frame = NDArray[np.uint8]
Affine = NDArray[np.float64]  # [2, 3]: where a pixel of one picture (x, y) lies in another
Positive = Annotated[float, Field(gt=0)]

BORDER = 0.03  # of the shorter side: the ring whose colour is the background's
CLOSED = 5  # pixels; highlights cut a part into pieces, which are joined again
PLAIN = 1.5  # times the level between part and background: above it nothing is a shadow
ROOM = 4  # pixels around a part that the model sees
SOFT = 2.0  # deviation of the blur by which they fade into plain background
BESIDE = 0.3  # of a part's size: a second piece as large is a second part, or the first one is broken
CHECK = 8  # pixels a side of the squares that are shown where there is no part
LEAST_DIFFERENCE = 8.0  # grey levels between part and background; less is noise


class Locate(BaseModel):
    """How a part is found; all lengths in pixels of the overview.

    `overview`: height and width of the small picture in which the part is looked for. `area`: least and most of a
    part; anything else is no part. `centre`: of the model's view, from the part's centroid, along and across its axis.
    `scale`: model pixels per overview pixel. `turned`: whether the part is turned until its long axis is horizontal, or
    until it lies as its `face`, if it has one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    overview: tuple[Annotated[int, Field(ge=16, le=1024)], Annotated[int, Field(ge=16, le=1024)]]
    area: tuple[Positive, Positive]
    centre: tuple[float, float]
    scale: Annotated[float, Field(gt=0, le=64)]
    turned: bool
    face: Face | None = None


@dataclass(frozen=True)
class Found:
    """A part in an overview: `mask` uint8 [h, w], 0 or 1, without soft shadows; `ground` float [C], the background's
    colour; centroid (`x`, `y`); `angle` of the long axis in radians, pointing to the thinner end; `elongation`,
    deviation along the axis over that across it. In these three a pixel counts by how much it differs from `ground`.
    `beside`: size of the next largest piece, over this one's.
    """

    mask: Frame
    ground: NDArray[np.float64]
    x: float
    y: float
    angle: float
    elongation: float
    beside: float

    @property
    def area(self) -> int:
        """In pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def middle(self) -> tuple[float, float]:
        """(x, y) of the centroid of all that its outline spans: of a round part the centre, wherever light falls."""
        outlines, _ = cv2.findContours(self.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        m = cv2.moments(cv2.convexHull(np.concatenate(outlines))) if outlines else {"m00": 0.0}
        return (m["m10"] / m["m00"], m["m01"] / m["m00"]) if m["m00"] else (self.x, self.y)

    @property
    def is_cut(self) -> bool:
        """Whether the picture's border cuts the part."""
        return bool(self.mask[[0, -1]].any() or self.mask[:, [0, -1]].any())

    @property
    def is_single(self) -> bool:
        """Whether there is nothing else of its size in the picture."""
        return self.area > 0 and self.beside < BESIDE


def find_part(overview: Frame) -> Found | None:
    """The largest piece of `overview`, uint8 [h, w, C], that differs from the border's colour; None if nothing does."""
    ground = border_colour(overview, max(2, round(BORDER * min(overview.shape[:2]))))
    difference = _difference(overview, ground)
    level, mask = cv2.threshold(difference, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if level < LEAST_DIFFERENCE:
        return None
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CLOSED, CLOSED))
    pieces, labels, figures, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel))
    if pieces < 2:
        return None
    sizes = figures[1:, cv2.CC_STAT_AREA]
    largest = int(sizes.argmax())
    beside = float(np.delete(sizes, largest).max(initial=0) / sizes[largest])
    return _described(np.asarray(labels == largest + 1, np.bool_), difference, (level, ground, beside))


def part_in(overview: Frame, locate: Locate) -> Found | None:
    """The part in `overview`, uint8 [h, w, C], see `find_part`; where it shows its face, if it has one."""
    found = find_part(overview)
    if locate.face is None or not is_part(found, locate):
        return found
    return faced(found, overview, locate.face)


def faced(found: Found, overview: Frame, face: Face) -> Found:
    """`found` in `overview`, at the place and angle at which it shows `face`."""
    x, y, angle = facing(overview, found.middle, face)
    return replace(found, x=x, y=y, angle=angle)


def is_part(found: Found | None, locate: Locate) -> TypeGuard[Found]:
    """Whether what was found is a single thing of about the size of a part."""
    return found is not None and found.is_single and locate.area[0] <= found.area <= locate.area[1]


def view_of(found: Found | None, locate: Locate, size: tuple[int, int]) -> Affine:
    """Where the pixels of the model's view, `size` (height, width), lie in the overview.

    A part that is missing, broken, doubled, or too small or large to be one leaves the view upright in the overview's
    middle; what the model sees then is `no_part`.
    """
    height, width = locate.overview
    x, y, angle = (width - 1) / 2, (height - 1) / 2, 0.0
    if is_part(found, locate):
        angle = found.angle if locate.turned else 0.0
        along, across = locate.centre
        x = found.x + along * np.cos(angle) - across * np.sin(angle)
        y = found.y + along * np.sin(angle) + across * np.cos(angle)
    return affine_of((x, y, angle), size, locate.scale)


def enlarged(affine: Affine, across: float, down: float) -> Affine:
    """`affine` into a picture that is `across` times as wide and `down` times as high; pixels are little squares."""
    factors = np.array([[across], [down]])
    return np.asarray(affine * factors + np.array([[0, 0, (across - 1) / 2], [0, 0, (down - 1) / 2]]), np.float64)


def cells_of(affine: Affine, size: tuple[int, int], cells: tuple[int, int]) -> Affine:
    """`affine` of a view of `size` (height, width), for a coarser map of `cells` (rows, columns) over the same view."""
    factors = np.diag([size[1] / cells[1], size[0] / cells[0]])
    return np.column_stack([affine[:, :2] @ factors, affine[:, :2] @ ((factors.diagonal() - 1) / 2) + affine[:, 2]])


def laid_back(heatmap: NDArray[np.floating], affine: Affine, size: tuple[int, int]) -> NDArray[np.float32]:
    """`heatmap` [h, w], whose cells lie at `affine` in a picture of `size` (height, width), as float32 of that size.

    0 where the model did not look.
    """
    back = cv2.warpAffine(heatmap.astype(np.float32), affine, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return np.asarray(back, np.float32)


def warped(picture: Frame, affine: Affine, size: tuple[int, int], is_mask: bool = False) -> Frame:
    """The view of `size` (height, width) whose pixels lie at `affine` in `picture`; beyond the border its last pixels,
    or nothing in a mask."""
    border = cv2.BORDER_CONSTANT if is_mask else cv2.BORDER_REPLICATE
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(picture, affine, (size[1], size[0]), flags=flags, borderMode=border)
    return np.asarray(view, np.uint8)


def alone(view: Frame, affine: Affine, found: Found) -> Frame:
    """`view`, uint8 [H, W, C], whose pixels lie at `affine` in the overview, with the background's colour around the
    part: dust beside a part is no defect of it."""
    outlines, _ = cv2.findContours(found.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    around = cv2.drawContours(np.zeros_like(found.mask), outlines, -1, 255, cv2.FILLED)
    cv2.drawContours(around, outlines, -1, 255, 2 * ROOM + 1)
    part = warped(cv2.GaussianBlur(around, (0, 0), SOFT), affine, view.shape[:2], is_mask=True)
    weight = part.astype(np.float32) / np.float32(255)
    ground = np.broadcast_to(found.ground.round(), view.shape).astype(np.uint8)
    return np.asarray(cv2.blendLinear(view, ground, weight, 1 - weight), np.uint8).reshape(view.shape)


def no_part(size: tuple[int, int, int]) -> Frame:
    """What the model sees where there is no part, uint8 [H, W, C]: a chequerboard in black and white.

    The picture itself would not do: half a screw on a clean ground is little that is strange. This is strange to every
    model.
    """
    rows, columns = np.mgrid[: size[0], : size[1]] // CHECK
    return np.ascontiguousarray(np.broadcast_to(((rows + columns) % 2 * 255).astype(np.uint8)[:, :, None], size))


def border_colour(picture: NDArray[np.generic], ring: int) -> NDArray[np.float64]:
    """The median colour of the outermost `ring` pixels of `picture`, [h, w, C]: the background's, [C]."""
    sides = picture[:ring], picture[-ring:], picture[:, :ring], picture[:, -ring:]
    return np.asarray(np.median(np.concatenate([side.reshape(-1, picture.shape[2]) for side in sides]), 0), np.float64)


def _difference(overview: Frame, ground: NDArray[np.float64]) -> Frame:
    """How far each pixel is from `ground`, in the channel where it is farthest, uint8 [h, w]."""
    smooth = cv2.GaussianBlur(overview, (0, 0), 1.0).reshape(overview.shape)
    planes = cv2.split(cv2.absdiff(smooth, np.broadcast_to(ground, smooth.shape).astype(np.uint8)))
    return np.asarray(np.max(planes, 0), np.uint8)


def _described(piece: NDArray[np.bool_], difference: Frame, seen: tuple[float, NDArray[np.float64], float]) -> Found:
    level, ground, beside = seen
    m = cv2.moments(np.where(piece, difference, 0).astype(np.float32))
    spread, tilt = m["mu20"] - m["mu02"], 2 * m["mu11"]
    angle, larger, both = 0.5 * np.arctan2(tilt, spread), np.hypot(spread, tilt), m["mu20"] + m["mu02"]
    c, s = np.cos(angle), np.sin(angle)
    skew = c**3 * m["mu30"] + 3 * c**2 * s * m["mu21"] + 3 * c * s**2 * m["mu12"] + s**3 * m["mu03"]
    return Found(
        mask=(piece & (difference > PLAIN * level)).astype(np.uint8),
        ground=ground,
        x=float(m["m10"] / m["m00"]),
        y=float(m["m01"] / m["m00"]),
        angle=float(angle if skew >= 0 else angle + np.pi),
        elongation=float(np.sqrt((both + larger) / max(both - larger, 1e-9))),
        beside=beside,
    )
