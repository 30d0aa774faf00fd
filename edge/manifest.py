"""What a bundle says about itself: the shared contract between the workstation and the device.

Everything here is plain data (pydantic, unknown keys refused). Scores are float32, high = anomalous.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge.preprocess import Preprocessing

SCHEMA_VERSION = 1

# "int8-bf16": INT8, and what is not quantised in bfloat16 instead of float32.
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-bf16"]
Dialect = Literal["plain", "cpu", "tensorrt"]  # how INT8 is written (docs/decisions); "plain" has no Q/DQ nodes
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
MemberPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*$", max_length=200)]
Rate = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), ser_json_inf_nan="constants")


class Member(_Data):
    """One file in the bundle."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class ModelInfo(_Data):
    """Which method was trained and how."""

    method: Name
    parameters: Annotated[int, Field(ge=0)]
    config: dict[str, Any]


class DataFingerprint(_Data):
    """Which images were used: SHA-256 over the sorted (relative name, file hash) pairs."""

    name: str
    frames: Annotated[int, Field(ge=0)]
    sha256: Sha256


class ImageStatistics(_Data):
    """Camera health baseline over preprocessed normal images, grey levels 0..255, as quantiles 0.5, 50 and 99.5 %.

    `sharpness` is the variance of the Laplacian. `reference` names a PNG member (mean normal image) for "camera moved";
    `agreement` is how well each normal image's edges correlate with the reference's, -1..1 (None: not measured).
    """

    brightness: tuple[float, float, float]
    contrast: tuple[float, float, float]
    sharpness: tuple[float, float, float]
    reference: MemberPath | None = None
    agreement: tuple[float, float, float] | None = None


class Threshold(_Data):
    """Decision threshold for one variant: ALARM when score > value.

    `false_alarm_rate` is the stated target; `rate_interval` the confidence interval of the true rate at `value`, given
    the `frames` held-out normal frames that the fit rests on. `fit` names the estimator ("gpd-tail", "empirical").
    """

    value: float
    false_alarm_rate: Rate
    rate_interval: tuple[float, float]
    confidence: Rate = 0.95
    frames: Annotated[int, Field(ge=1)]
    fit: str


class ScoreStatistics(_Data):
    """Scores of the held-out normal frames; quantiles at 0, 1, 5, 25, 50, 75, 95, 99, 100 %."""

    mean: float
    std: float
    quantiles: tuple[float, float, float, float, float, float, float, float, float]


class GateResult(_Data):
    """How far this variant's decisions moved against fp32 on held-out frames; `passed` is judged by `limits`."""

    frames: int
    flipped: int
    flipped_fraction: float
    score_shift_median: float
    rank_correlation: float
    heatmap_iou: float
    auroc_fp32: float | None = None
    auroc: float | None = None
    limits: dict[str, float]
    passed: bool


class Calibration(_Data):
    """How INT8 ranges were made. `fingerprint` covers weights, preprocessing, frame list, method and tool version."""

    method: str
    frames_asked: int
    frames_used: int
    data: DataFingerprint
    fingerprint: Sha256
    excluded_nodes: tuple[str, ...] = ()


class Golden(_Data):
    """Expected outputs of the golden frames: .npy members, and the largest relative difference allowed."""

    score: MemberPath
    masked_error: MemberPath
    heatmap: MemberPath
    relative_tolerance: float


class Variant(_Data):
    """One runnable graph: a precision in one dialect, with the threshold that belongs to it."""

    precision: Precision
    dialect: Dialect
    graph: MemberPath
    threshold: Threshold
    normal_scores: ScoreStatistics
    golden: Golden
    gate: GateResult | None = None  # None: this is the reference (fp32)
    calibration: Calibration | None = None
    calibration_cache: MemberPath | None = None


class Manifest(_Data):
    """manifest.json. `variants` is keyed by precision and dialect: "fp32", "fp16", "bf16", "int8-cpu", "int8-bf16-cpu",
    "int8-tensorrt", "int8-nodw-tensorrt".
    """

    schema_version: Literal[1] = 1
    name: Name
    created_at: str
    tool_version: str
    rollback_counter: Annotated[int, Field(ge=0)] = 0
    model: ModelInfo
    preprocessing: Preprocessing
    training_data: DataFingerprint
    normal_images: ImageStatistics
    heatmap_shape: tuple[int, int]
    opset: int
    golden_frames: MemberPath  # .npy uint8 [n, H, W, C]
    variants: dict[Name, Variant]
    members: dict[MemberPath, Member] = {}  # filled by write_bundle
