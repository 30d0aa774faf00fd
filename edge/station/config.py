"""station.toml: everything a station is told, checked as a whole. Unknown keys are refused, all errors come at once.

The command line wins over the file. The resolved configuration is saved with the events, and its hash stands in every
event as the configuration's version.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.camera.settings import CameraSettings
from edge.errors import InputError
from edge.files import sha256_of
from edge.health import HealthLimits
from edge.station.alarm import AlarmRules

SECRETS = frozenset(("token", "password", "secret"))
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraSection(CameraSettings):
    """[camera]: the address, and what is asked of the device."""

    url: str = ""


class EngineSection(_Section):
    """[engine]: which bundle runs and how. `bundle` absent: the installed current one. `threshold` overrides all."""

    bundle: Path | None = None
    key: Path | None = None
    precision: str = "auto"
    backend: str = "auto"
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None


class DecisionSection(_Section):
    """[decision]: k-of-n, deadband in standard deviations of normal scores, delays, age limit, triggered mode.

    `max_age_s`: with no fresh scored frame for that long the station says FAULT. `answer_within_s`: a triggered part
    that was not inspected by then is answered with FAULT.
    """

    mode: Literal["free", "triggered"] = "free"
    k: Annotated[int, Field(ge=1, le=1000)] = 2
    n: Annotated[int, Field(ge=1, le=1000)] = 3
    deadband: Annotated[float, Field(ge=0.0, le=100.0)] = 0.5
    on_delay_s: Seconds = 0.0
    off_delay_s: Seconds = 0.0
    max_age_s: Positive = 0.8
    answer_within_s: Positive = 0.5

    @model_validator(mode="after")
    def _k_of_n(self) -> DecisionSection:
        if self.k > self.n:
            raise ValueError(f"k must not be larger than n, found k={self.k} of n={self.n}")
        return self


class AlarmSection(_Section):
    """[alarm]: see edge.station.alarm.AlarmRules."""

    latch: Literal["off", "acknowledge", "reset"] = "off"
    realarm_s: Seconds = 0.0
    flood_limit: Annotated[int, Field(ge=1, le=10_000)] = 20
    flood_window_s: Positive = 60.0
    max_shelve_s: Positive = 3600.0

    def rules(self) -> AlarmRules:
        """The same as the state machine takes it."""
        return AlarmRules(**self.model_dump())


class OutputsSection(_Section):
    """[outputs]: serial port (its options stand in the URL's query), dialect, relay line, line that announces a part.

    `life_period_s`: period of the relay's life toggle, 0 for a steady level. `name` is told to the receiver.
    """

    serial: str | None = None
    wire: Literal["cobs", "ascii", "modbus"] = "cobs"
    gpio: str | None = None
    min_pulse_s: Seconds = 0.1
    life_period_s: Seconds = 0.0
    trigger_gpio: str | None = None


class EventsSection(_Section):
    """[events]: where events are kept, and how much room their pictures may take."""

    folder: Path = Path("events")
    max_mb: Annotated[float, Field(gt=0.0)] = 2000.0
    max_age_days: Annotated[float, Field(gt=0.0)] = 90.0
    min_free_mb: Annotated[float, Field(ge=0.0)] = 200.0


class SupervisorSection(_Section):
    """[supervisor]: when the pipeline is restarted, and how often before FAULT is held."""

    restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    restart_window_s: Positive = 60.0
    stuck_s: Positive = 3.0
    start_s: Positive = 600.0
    memory_mb: Annotated[float, Field(ge=64.0)] = 4096.0
    fault_patience_s: Positive = 600.0


class StationConfig(_Section):
    """The whole configuration. `sinks` maps a name of edge.station.sinks.SINKS to the address that it opens."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "station"
    camera: CameraSection = CameraSection()
    health: HealthLimits = HealthLimits()
    engine: EngineSection = EngineSection()
    decision: DecisionSection = DecisionSection()
    alarm: AlarmSection = AlarmSection()
    outputs: OutputsSection = OutputsSection()
    events: EventsSection = EventsSection()
    supervisor: SupervisorSection = SupervisorSection()
    sinks: dict[str, str] = {}
    sink_options: dict[str, dict[str, str | int | float | bool]] = {}

    @property
    def version(self) -> str:
        """First 12 hex digits of the SHA-256 of the resolved configuration."""
        return sha256_of(self.model_dump_json().encode())[:12]

    def without_secrets(self) -> str:
        """The configuration as JSON, to be kept with the events: tokens, passwords and secrets are left out."""
        options = {
            name: {key: "(left out)" if key in SECRETS else value for key, value in values.items()}
            for name, values in self.sink_options.items()
        }
        return self.model_copy(update={"sink_options": options}).model_dump_json(indent=1)


def load_config(path: Path | None, overrides: Mapping[str, object]) -> StationConfig:
    """The configuration in `path` (None: defaults), with `overrides` ("section.key" -> value; None is left out) on top.

    Raises InputError that names every bad key of the file at once.
    """
    tree = {} if path is None else _read_toml(path)
    for dotted, value in overrides.items():
        if value is not None:
            _put(tree, dotted.split("."), value)
    try:
        return StationConfig.model_validate(tree)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {_said(e)}" for e in error.errors())
        source = str(path) if path else "the command line"
        raise InputError(
            f"{source} has {error.error_count()} bad settings"
            if error.error_count() > 1
            else f"bad setting in {source}",
            found,
            "mend them all, then start again",
        ) from None


def _said(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "no such setting"
    return f"{error['msg']}, found {str(error['input'])[:60]!r}"


def _read_toml(path: Path) -> dict[str, Any]:
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return dict(toml.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}", error.strerror or str(error), "check the path") from error
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML", str(error), "mend that line") from error


def _put(tree: dict[str, Any], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            return  # the file has a plain value where a section belongs; validation will say so
        tree = child
    tree[keys[-1]] = value
