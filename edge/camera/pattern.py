"""pattern://, the camera that ships with the toolkit: synthetic pictures, the same every time, faults on request.

    pattern://?width=320&height=240&fps=30&seed=1&lose=100

`frames=N` ends the stream after N pictures. Each of these starts at the picture with that number and lasts for
`last=N` pictures (0: for ever): `freeze` (bit-identical pictures), `black`, `white`, `blur`, `shift` (a fifth of the
width), `drop` (no picture comes), `resize` (half the size), `lose` (the camera is gone until it is opened again).
`defect=N` puts a dark scratch on every Nth picture. `missing=true`: it cannot be opened.
"""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.camera.base import CameraLost, EndOfStream, Frame
from edge.camera.pacing import Pacer
from edge.camera.settings import CameraSettings, refuse_unused
from edge.errors import InputError, MissingError

Count = Annotated[int, Field(ge=0)]
_NOISE_ROOM = 64


class PatternOptions(BaseModel):
    """The query of a pattern:// address; see the module's docstring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: Annotated[int, Field(ge=16, le=4096)] = 320
    height: Annotated[int, Field(ge=16, le=4096)] = 240
    fps: Annotated[float, Field(gt=0, le=1000)] = 30.0
    seed: Count = 0
    frames: Count | None = None
    freeze: Count | None = None
    black: Count | None = None
    white: Count | None = None
    blur: Count | None = None
    shift: Count | None = None
    drop: Count | None = None
    resize: Count | None = None
    lose: Count | None = None
    last: Count = 0
    defect: Annotated[int, Field(ge=1)] | None = None
    missing: bool = False

    def during(self, start: int | None, number: int) -> bool:
        """Whether picture `number` lies in the fault that begins at `start`."""
        return start is not None and start <= number and (self.last == 0 or number < start + self.last)


class PatternCamera:
    """A textured scene with sensor noise; picture n depends on the address and n only."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        refuse_unused("pattern://", settings, frozenset({"width", "height", "fps"}))
        self._options = _options_of(url, settings)
        if self._options.missing:
            raise MissingError(f"no camera {url}", "its address says missing", "remove missing from the address")
        self._pacer = Pacer(None if settings.realtime is False else self._options.fps)
        self._scene = _scene(self._options)
        self._noise = _noise(self._options)
        self._sequence = 0

    @property
    def description(self) -> str:
        """One line: size and rate."""
        o = self._options
        return f"pattern, {o.width}x{o.height}, {o.fps:.1f} fps, seed {o.seed}"

    def read(self, timeout_s: float) -> Frame:
        """The next picture, or what the address asks for in its place."""
        options, number = self._options, self._sequence
        if options.frames is not None and number >= options.frames:
            raise EndOfStream("pattern has ended", f"it had {options.frames} pictures", "ask for more")
        if options.during(options.lose, number):
            raise CameraLost("pattern is lost", f"its address says so at picture {number}", "open it again")
        if options.during(options.drop, number):
            time.sleep(timeout_s)
            raise CameraLost("no picture from pattern", f"none came within {timeout_s} s", "open it again")
        if not self._pacer.wait(timeout_s):
            raise CameraLost("no picture from pattern", f"none was due within {timeout_s} s", "allow more time")
        self._sequence += 1
        return Frame(self.picture(number), number, time.monotonic())

    def close(self) -> None:
        """Nothing is held open."""

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Picture `number`, uint8 [height, width, 3]."""
        o = self._options
        if o.freeze is not None and o.during(o.freeze, number):
            number = o.freeze
        image = self._with_noise(self._drawn(number), number)
        if o.during(o.resize, number):
            return np.asarray(cv2.resize(image, (o.width // 2, o.height // 2)), np.uint8)
        return image

    def _drawn(self, number: int) -> NDArray[np.uint8]:
        o, image = self._options, self._scene
        if o.during(o.black, number) or o.during(o.white, number):
            return np.full_like(image, 0 if o.during(o.black, number) else 255)
        if o.during(o.blur, number):
            return np.asarray(cv2.GaussianBlur(image, (0, 0), max(2.0, o.width / 60)), np.uint8)
        if o.during(o.shift, number):
            return np.roll(image, o.width // 5, axis=1)
        if o.defect is not None and number % o.defect == o.defect - 1:
            image = image.copy()
            start, end = (o.width // 3, o.height // 3), (o.width // 2, o.height // 2)
            cv2.line(image, start, end, (10, 10, 10), max(2, o.width // 60))
        return image

    def _with_noise(self, image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        y, x = number % _NOISE_ROOM, (number // _NOISE_ROOM) % _NOISE_ROOM
        return np.asarray(cv2.add(image, self._noise[y : y + height, x : x + width], dtype=cv2.CV_8U), np.uint8)


def _options_of(url: str, settings: CameraSettings) -> PatternOptions:
    parts = urlsplit(url)
    if parts.scheme != "pattern" or parts.netloc or parts.path not in ("", "/"):
        raise InputError(f"cannot use camera {url}", "expected pattern://?name=value", "write pattern://?width=320")
    asked = {k: v for k in ("width", "height", "fps") if (v := getattr(settings, k)) is not None}
    try:
        return PatternOptions.model_validate(
            {**dict(parse_qsl(parts.query, strict_parsing=bool(parts.query))), **asked}
        )
    except (ValidationError, ValueError) as error:
        found = (
            [f"{e['loc'][0]}: {e['msg']}" for e in error.errors()] if isinstance(error, ValidationError) else [error]
        )
        raise InputError(
            f"cannot use camera {url}", "; ".join(map(str, found)), f"options: {', '.join(PatternOptions.model_fields)}"
        ) from None


def _scene(options: PatternOptions) -> NDArray[np.uint8]:
    """A bright plate with texture on a darker belt."""
    rng = np.random.default_rng(options.seed)
    coarse = rng.integers(60, 110, (options.height // 4 + 1, options.width // 4 + 1, 3)).astype(np.uint8)
    image = np.asarray(cv2.resize(coarse, (options.width, options.height), interpolation=cv2.INTER_CUBIC), np.uint8)
    top, left = options.height // 5, options.width // 5
    image[top:-top, left:-left] += 70
    cv2.circle(image, (options.width // 2, options.height // 2), options.height // 8, (60, 60, 60), -1)
    return image


def _noise(options: PatternOptions) -> NDArray[np.int8]:
    """Sensor noise of two grey levels; each picture takes another window of it."""
    rng = np.random.default_rng(options.seed + 1)
    shape = (options.height + _NOISE_ROOM, options.width + _NOISE_ROOM, 3)
    return np.clip(rng.normal(0, 2.0, shape), -20, 20).astype(np.int8)
