"""What the caller wants calibrated, and the fingerprint that ties a calibration to everything it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from calib.defects import DEFECTS
from calib.frames import CalibrationFrames
from calib.plan import QdqDialect
from calib.statistics import METHODS, Method
from edge.bundle import Bundle
from edge.dataset import fingerprint
from edge.errors import InputError, UsageError
from edge.files import sha256_of
from edge.gate import GateLimits
from edge.manifest import DataFingerprint, Precision
from edge.version import VERSION


@dataclass(frozen=True)
class VariantKind:
    """A variant's dialect, whether grouped convolutions are quantised in it, and in what the rest is computed."""

    dialect: QdqDialect
    depthwise: bool
    precision: Precision = "int8"


# Depthwise convolutions in INT8 are slower than in FP16 on many Jetsons, so the device gets both and measures.
KINDS: dict[str, VariantKind] = {
    "int8-tensorrt": VariantKind("tensorrt", True),
    "int8-nodw-tensorrt": VariantKind("tensorrt", False),
    "int8-cpu": VariantKind("cpu", True),
    "int8-bf16-cpu": VariantKind("cpu", True, "int8-bf16"),  # the graph of int8-cpu, for OpenVINO on CPUs with bfloat16
}
TARGETS = ("tensorrt", "cpu")


@dataclass(frozen=True)
class Request:
    """The options of one calibration. `frames` None: 200 or as many as there are; `rate` None: that of fp32."""

    data: Path
    frames: int | None = None
    use_all: bool = False
    method: Method = "mse"
    targets: tuple[str, ...] = TARGETS
    rate: float | None = None
    limits: GateLimits = field(default_factory=GateLimits)
    exclude: tuple[str, ...] = ()
    auto_exclude: bool = False
    force: bool = False
    threads: int = 0


@dataclass(frozen=True)
class Identity:
    """What the calibration rests on: the frames that set the ranges, and a hash over all that decides the result.

    `ranges_sha256` leaves out rate and limits, which change the verdict but not what the layers cost.
    """

    data: DataFingerprint
    sha256: str
    ranges_sha256: str


def identify(bundle: Bundle, request: Request, frames: CalibrationFrames) -> Identity:
    """Hash of weights, preprocessing, frame lists, method, options and tool version. Reads every frame's file."""
    data = fingerprint(request.data, frames.calibration)
    judges = fingerprint(request.data, (*frames.held_out, *frames.test))
    graph = bundle.manifest.variants["fp32"].graph
    content = {
        "graph": bundle.manifest.members[graph].sha256,
        "preprocessing": bundle.manifest.preprocessing.model_dump(mode="json"),
        "frames": data.sha256,
        "judges": judges.sha256,
        "method": request.method,
        "defects": DEFECTS,
        "exclude": sorted(request.exclude),
        "tool": VERSION,
    }
    verdict = {"rate": rate_of(bundle, request), "limits": asdict(request.limits)}
    return Identity(data, _hash(content | verdict), _hash(content))


def _hash(content: Mapping[str, object]) -> str:
    return sha256_of(json.dumps(content, sort_keys=True).encode())


def rate_of(bundle: Bundle, request: Request) -> float:
    """The stated false-alarm rate: the one asked for, else that of fp32."""
    return bundle.manifest.variants["fp32"].threshold.false_alarm_rate if request.rate is None else request.rate


def check_request(bundle: Bundle, request: Request) -> None:
    """Raise UsageError for unknown methods or targets, InputError if the bundle has no fp32 graph to start from."""
    unknown = [t for t in request.targets if t not in TARGETS]
    if unknown or not request.targets:
        raise UsageError(
            f"unknown target {', '.join(unknown) or '(none)'}", f"there are {', '.join(TARGETS)}", "name one"
        )
    if request.method not in METHODS:
        raise UsageError(f"unknown method {request.method}", f"there are {', '.join(METHODS)}", "name one")
    if "fp32" not in bundle.manifest.variants:
        raise InputError(f"{bundle.path} has no fp32 graph", "ranges are taken from it", "export it again")


def is_done_already(bundle: Bundle, request: Request, identity: Identity) -> bool:
    """Whether the bundle holds this very calibration for every target.

    Raises InputError if it holds another one, which is never reused and not replaced without `force`.
    """
    present = {n: v.calibration for n, v in bundle.manifest.variants.items() if v.calibration is not None}
    if request.force or not present:
        return False
    for name, found in present.items():
        if found.fingerprint != identity.sha256:
            same_data = found.data.sha256 == identity.data.sha256
            why = "other options or another version" if same_data else f"other frames ({found.data.name})"
            raise InputError(
                f"{bundle.path} is calibrated already", f"{name} rests on {why}", "add --force to replace it"
            )
    covered = {KINDS[n].dialect for n in present if n in KINDS}
    return all(target in covered for target in request.targets)
