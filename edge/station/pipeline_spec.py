"""What the station tells the pipeline at its start. Apart from the pipeline, so that the station loads no engine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edge.station.config import StationConfig


class PipelineSpec(BaseModel):
    """`frames`: end after so many scored frames; `again`: it ran before, so a missing camera is waited for.

    `marked`: folder of frames that the operator marked as normal; scored first, for learning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: StationConfig
    frames: int | None = None
    again: bool = False
    marked: Path | None = None
