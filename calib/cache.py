"""TensorRT's calibration cache, for implicit quantisation on TensorRT up to 10: a text file of scales.

First line `TRT-<version>-<algorithm>`, then `<tensor>: <8 hex digits>`, the big-endian float32 of amax / 127. TensorRT
takes a cache only if the first line is its own, so the builder on the device may ask for another version.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Literal

from edge.errors import InputError

Algorithm = Literal["EntropyCalibration2", "MinMaxCalibration"]
DEFAULT_VERSION = (10, 3, 0)  # JetPack 6.1 and 6.2


def cache_text(
    scales: Mapping[str, float],
    version: tuple[int, int, int] = DEFAULT_VERSION,
    algorithm: Algorithm = "EntropyCalibration2",
) -> str:
    """The cache that holds `scales` (tensor -> amax / 127, > 0). Raises InputError for a name with a line break."""
    lines = [f"TRT-{version_number(version)}-{algorithm}"]
    for tensor, scale in scales.items():
        if "\n" in tensor or "\r" in tensor:
            raise InputError(f"tensor name {tensor!r} cannot be cached", "it has a line break", "rename the tensor")
        lines.append(f"{tensor}: {struct.pack('!f', scale).hex()}")
    return "\n".join(lines) + "\n"


def parse_cache(text: str) -> tuple[str, dict[str, float]]:
    """(first line, tensor -> scale). Raises InputError naming the first line that is not of the format."""
    lines = text.removesuffix("\n").split("\n")
    if not re.fullmatch(r"TRT-\d+-\w+", lines[0]):
        raise InputError(
            "this is no calibration cache", "its first line is not TRT-<version>-<algorithm>", "write it anew"
        )
    scales: dict[str, float] = {}
    for number, line in enumerate(lines[1:], 2):
        found = re.fullmatch(r"(.+): ([0-9a-f]{1,8})", line)
        if found is None:
            raise InputError(f"calibration cache, line {number} is damaged", repr(line[:60]), "calibrate again")
        (scales[found[1]],) = struct.unpack("!f", bytes.fromhex(found[2].zfill(8)))
    return lines[0], scales


def version_number(version: tuple[int, int, int]) -> int:
    """NV_TENSORRT_VERSION: 8.6.2 is 8602, 10.3.0 is 100300."""
    major, minor, patch = version
    return major * 10000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
