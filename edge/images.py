"""Reading and listing image files: the one way images enter the toolkit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.files import write_atomic

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_images(folder: Path) -> list[Path]:
    """All image files directly in `folder`, sorted by name. Raises InputError if there is no folder or no image."""
    if not folder.is_dir():
        raise InputError(f"no folder {folder}", "it does not exist or is not a folder", "check the path")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(
            f"no images in {folder}",
            f"none of its files ends in {' '.join(SUFFIXES)}",
            "put images there or name another folder",
        )
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """The image as uint8, [H, W] if the file is grey, else [H, W, 3] in BGR order.

    Alpha is dropped; 16-bit images are scaled by 1/257 to 8 bits. Raises InputError if the file cannot be decoded.
    """
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(
            f"cannot read image {path}", error.strerror or str(error), "check the path and its permissions"
        ) from error
    image = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED) if raw.size else None
    if image is None:
        raise InputError(f"cannot decode image {path}", "the file is damaged or not an image", "remove or replace it")
    return _as_uint8_bgr(image, path)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """`image` ([H, W] or [H, W, 3] BGR uint8) as PNG bytes."""
    done, data = cv2.imencode(".png", image)
    if not done:
        raise InputError(
            "cannot encode image", f"shape {image.shape}, dtype {image.dtype}", "pass uint8 [H, W] or [H, W, 3]"
        )
    return bytes(data.tobytes())


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write `image` ([H, W] or [H, W, 3] BGR uint8) as a whole PNG file or not at all."""
    write_atomic(path, encode_png(image))


def _as_uint8_bgr(image: NDArray[np.generic], path: Path) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"cannot use image {path}", f"its pixels are {image.dtype}", "save it as 8 or 16 bit")
    pixels = np.asarray(image, np.uint8)
    return pixels[:, :, :3] if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels
