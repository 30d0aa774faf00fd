"""The one preprocessing function. Training, calibration, evaluation and the device call it; nothing else resizes.

It ends at uint8: scaling to the range a model wants is inside the scoring graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge.errors import InputError
from edge.locate import Affine, Locate, alone, enlarged, is_part, no_part, part_in, view_of, warped

Side = Annotated[int, Field(ge=16, le=4096)]


IDENTITY: Affine = np.eye(2, 3)


class Region(BaseModel):
    """Region of interest in pixels of the camera's picture, origin at its top left corner."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: Annotated[int, Field(ge=0)]
    y: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class Preprocessing(BaseModel):
    """What turns a camera picture into the model's input; stored in the checkpoint and in the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: Side
    width: Side
    colour: Literal["bgr", "grey"]
    region: Region | None = None
    locate: Locate | None = None  # the part is looked for in the region, and only its view goes into the model

    @property
    def channels(self) -> int:
        """3 for BGR, 1 for grey."""
        return 3 if self.colour == "bgr" else 1

    @property
    def where(self) -> str:
        """What of a picture the model sees, for people."""
        area = "the whole picture" if self.region is None else f"region {self.region}"
        if self.locate is None:
            return area
        return f"the part, {'laid straight' if self.locate.turned else 'upright'}, looked for in {area}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """`frame` uint8 [H, W, C], what the model sees; `overview` uint8 [h, w, C], all of the region, by which the camera
    is judged (the frame itself if no part is looked for); `place`, where the frame's pixels lie in the picture;
    `has_part`, False if a part was looked for and not found."""

    frame: NDArray[np.uint8]
    overview: NDArray[np.uint8]
    place: Affine
    has_part: bool = True


def preprocess(image: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.uint8]:
    """What the model sees of `image`, a C-contiguous uint8 [spec.height, spec.width, C]. See `prepared`."""
    return prepared(image, spec).frame


def prepared(image: NDArray[np.uint8], spec: Preprocessing) -> Prepared:
    """Crop to the region of interest, find the part if `spec` says so, resize with cv2.INTER_AREA, convert colour.

    `image` is uint8 [H, W], [H, W, 1] or [H, W, 3] (BGR). Raises InputError on another dtype or shape, or if the region
    does not lie inside the image.
    """
    _check(image)
    part = region_of(image, spec)
    if spec.locate is not None:
        found = _located(part, spec, spec.locate)
    else:
        frame = _resized(part, (spec.height, spec.width), spec)
        found = Prepared(frame, frame, enlarged(IDENTITY, part.shape[1] / spec.width, part.shape[0] / spec.height))
    if spec.region is not None:
        found.place[:, 2] += (spec.region.x, spec.region.y)
    return found


def same_view(mask: NDArray[np.uint8], image: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.uint8]:
    """`mask`, of the size of `image`, as the model sees `image`: uint8 [spec.height, spec.width]. Raises as above."""
    if spec.locate is None:
        return preprocess(mask, spec.model_copy(update={"colour": "grey"}))[:, :, 0]
    _check(mask)
    place, size = prepared(image, spec).place, (spec.height, spec.width)
    grey = _shrunk(
        mask, spec.locate, image.shape[:2] if spec.region is None else (spec.region.height, spec.region.width)
    )
    affine = enlarged(place, grey.shape[1] / mask.shape[1], grey.shape[0] / mask.shape[0])
    return warped(_as_colour(grey, spec.model_copy(update={"colour": "grey"}))[:, :, 0], affine, size, is_mask=True)


def _located(part: NDArray[np.uint8], spec: Preprocessing, locate: Locate) -> Prepared:
    size, sides, overview = (spec.height, spec.width), part.shape[:2], locate.overview
    part = _as_colour(_shrunk(part, locate, sides), spec)
    small = _resized(part, overview, spec)
    found = part_in(small, locate)
    affine = view_of(found, locate, size)
    place = _between(affine, overview, sides)
    if not is_part(found, locate):
        return Prepared(no_part((*size, spec.channels)), small, place, has_part=False)
    view = warped(part, _between(affine, overview, part.shape), size).reshape(*size, spec.channels)
    return Prepared(np.ascontiguousarray(alone(view, affine, found)), small, place)


def _shrunk(picture: NDArray[np.uint8], locate: Locate, sides: tuple[int, ...]) -> NDArray[np.uint8]:
    """`picture` smaller, if the view shows fewer pixels than the part of the picture with `sides` has."""
    scale = locate.scale * max(locate.overview[0] / sides[0], locate.overview[1] / sides[1])
    if scale >= 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _between(affine: Affine, overview: tuple[int, int], sides: tuple[int, ...]) -> Affine:
    return enlarged(affine, sides[1] / overview[1], sides[0] / overview[0])


def _resized(part: NDArray[np.uint8], size: tuple[int, int], spec: Preprocessing) -> NDArray[np.uint8]:
    if part.shape[:2] != size:
        part = np.asarray(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(_as_colour(part, spec))


def _check(image: NDArray[np.uint8]) -> None:
    shape_is_good = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not shape_is_good or 0 in image.shape:
        raise InputError(
            "cannot preprocess image",
            f"expected uint8 [H, W], [H, W, 1] or [H, W, 3], found {image.dtype} {list(image.shape)}",
            "pass a camera picture",
        )


def region_of(image: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.uint8]:
    """The region of interest of `image`, a view of it. Raises InputError if it does not lie inside."""
    region = spec.region
    if region is None:
        return image
    height, width = image.shape[:2]
    if region.x + region.width > width or region.y + region.height > height:
        raise InputError(
            "region of interest lies outside the picture",
            f"region {region.width}x{region.height} at ({region.x}, {region.y}), picture {width}x{height}",
            "change the region or the camera's size",
        )
    return image[region.y : region.y + region.height, region.x : region.x + region.width]


def _as_colour(image: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.uint8]:
    grey = image.ndim == 2 or image.shape[2] == 1
    plane = image.reshape(image.shape[:2]) if grey else image
    if spec.colour == "grey":
        return (plane if grey else np.asarray(cv2.cvtColor(plane, cv2.COLOR_BGR2GRAY), np.uint8))[:, :, None]
    return np.asarray(cv2.cvtColor(plane, cv2.COLOR_GRAY2BGR), np.uint8) if grey else plane
