"""What the building process is asked, and what it answers: plain data, one JSON object per line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from edge import errors
from edge.errors import EdgeError


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BuildRequest(_Plain):
    """One build. `graph` and `calibration_cache` are members of `bundle`, whose manifest must have SHA-256 `identity`.

    `timing_cache`: file to read and to write anew, or None. `out`: where the plan goes, whole or not at all.
    """

    library: str = "tensorrt"
    bundle: str
    identity: str
    graph: str
    int8: bool = False
    weak: bool = False
    calibration_cache: str | None = None
    workspace_bytes: int
    optimisation_level: int | None = None
    timing_cache: str | None = None
    target: str | None = None
    out: str


class BuildAnswer(_Plain):
    """How a build ended well."""

    bytes: int
    layers: int
    kept_float: tuple[str, ...] = ()


class Told(_Plain):
    """One line from the building process; just one field is set."""

    phase: str | None = None
    steps: int | None = None  # belongs to `phase`: it has so many
    step: int | None = None  # belongs to `phase`: this one is done
    layers: int | None = None
    says: str | None = None
    done: BuildAnswer | None = None
    error: tuple[str, str, str, str] | None = None  # class, what, why, fix


def error_told(error: EdgeError) -> Told:
    """`error` as a line."""
    return Told(error=(type(error).__name__, error.what, error.why, error.fix))


def error_from(told: tuple[str, str, str, str]) -> EdgeError:
    """The error that the other process raised."""
    kind: Any = getattr(errors, told[0], EdgeError)
    made: EdgeError = kind(*told[1:])
    return made
