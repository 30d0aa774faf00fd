"""The one preprocessing function. Training, calibration, evaluation and the device call it; nothing else resizes.

It ends at uint8: scaling to the range a model wants is inside the scoring graph.
"""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge.errors import InputError

Side = Annotated[int, Field(ge=16, le=4096)]


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

    @property
    def channels(self) -> int:
        """3 for BGR, 1 for grey."""
        return 3 if self.colour == "bgr" else 1


def preprocess(image: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.uint8]:
    """Crop to the region of interest, resize with cv2.INTER_AREA, convert colour.

    `image` is uint8 [H, W], [H, W, 1] or [H, W, 3] (BGR). Returns a C-contiguous uint8 [spec.height, spec.width, C].
    Raises InputError on another dtype or shape, or if the region does not lie inside the image.
    """
    _check(image)
    part = image if spec.region is None else _crop(image, spec.region)
    if part.shape[:2] != (spec.height, spec.width):
        part = cv2.resize(part, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(_as_colour(part, spec))


def _check(image: NDArray[np.uint8]) -> None:
    shape_is_good = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if image.dtype != np.uint8 or not shape_is_good or 0 in image.shape:
        raise InputError(
            "cannot preprocess image",
            f"expected uint8 [H, W], [H, W, 1] or [H, W, 3], found {image.dtype} {list(image.shape)}",
            "pass a camera picture",
        )


def _crop(image: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
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
    plane = image.reshape(spec.height, spec.width) if grey else image
    if spec.colour == "grey":
        return (plane if grey else np.asarray(cv2.cvtColor(plane, cv2.COLOR_BGR2GRAY), np.uint8))[:, :, None]
    return np.asarray(cv2.cvtColor(plane, cv2.COLOR_GRAY2BGR), np.uint8) if grey else plane
