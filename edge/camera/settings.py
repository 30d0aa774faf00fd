"""What a station may ask of its camera. A setting that the source cannot obey is an error, never ignored."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edge.errors import InputError

Pixels = Annotated[int, Field(ge=16, le=16384)]
Seconds = Annotated[float, Field(gt=0.0, le=600.0)]


class CameraSettings(BaseModel):
    """Settings of one camera; None means "as the device has it".

    `exposure_ms` in milliseconds, `gain` in the device's own units (gain factor for csi://), `white_balance_k` in
    kelvin: giving one of them switches the device's automatic off. `pixel_format` is a V4L2 code such as "MJPG".
    `loop` plays a clip or folder again from the start. `realtime` None: devices and pattern:// are live, clips and
    folders are delivered picture by picture, none left out; True plays a clip or folder live at its own rate (a folder
    at `fps`, 10 if not given); False delivers every picture of a pattern:// or gst: source.
    `read_timeout_s`: no picture for that long means the camera is lost. An older picture than `max_age_s` is not handed
    out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: Pixels | None = None
    height: Pixels | None = None
    fps: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None
    pixel_format: Annotated[str, Field(pattern=r"^[A-Z0-9]{4}$")] | None = None
    exposure_ms: Annotated[float, Field(gt=0.0, le=60_000.0)] | None = None
    gain: Annotated[float, Field(ge=0.0)] | None = None
    white_balance_k: Annotated[int, Field(ge=1000, le=20_000)] | None = None
    loop: bool = False
    realtime: bool | None = None
    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 2.0
    max_age_s: Seconds = 1.0


def refuse_unused(source: str, settings: CameraSettings, understood: frozenset[str]) -> None:
    """Raise InputError if a setting was given that `source` does not understand; its name, and those that it does."""
    always = {"realtime", "open_timeout_s", "read_timeout_s", "max_age_s"}
    given = {name for name in settings.model_fields_set if getattr(settings, name) not in (None, False)}
    unused = sorted(given - understood - always)
    if unused:
        raise InputError(
            f"camera setting {', '.join(unused)} cannot be used",
            f"{source} has no such setting",
            f"remove it; understood here: {', '.join(sorted(understood)) or 'none'}",
        )
