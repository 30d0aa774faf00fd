"""INT8 from a calibration cache, where TensorRT still has it (up to 10). No frame is ever run for it on the device."""

from __future__ import annotations

import re
from typing import Any

from edge.errors import InputError
from edge.tensorrt.library import Library

CLASSES = {"EntropyCalibration2": "IInt8EntropyCalibrator2", "MinMaxCalibration": "IInt8MinMaxCalibrator"}


def cached_calibrator(library: Library, cache: bytes) -> Any:
    """A calibrator that answers from `cache`; its attribute `refused` says whether TensorRT did not take it.

    The first line is rewritten for this version of TensorRT, which otherwise calibrates anew. Raises InputError for a
    text that is no calibration cache.
    """
    head, _, rest = cache.partition(b"\n")
    match = re.fullmatch(rb"TRT-\d+-(\w+)", head)
    algorithm = match[1].decode() if match else ""
    if algorithm not in CLASSES:
        raise InputError("this is no calibration cache", f"its first line is {head[:60]!r}", "calibrate again")
    text = f"TRT-{library.version_number}-{algorithm}\n".encode() + rest
    base = getattr(library.module, CLASSES[algorithm])

    class Cached(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            base.__init__(self)  # without this call the binding crashes
            self.refused = False

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Any) -> None:
            self.refused = True

        def read_calibration_cache(self) -> bytes:
            return text

        def write_calibration_cache(self, cache: Any) -> None:
            return None

    return Cached()
