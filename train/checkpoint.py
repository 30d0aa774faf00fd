"""A run folder: what was trained, on what, and the weights.

run.json    what follows from nothing else: method, config, preprocessing, data, split, threshold
weights.pt  the networks' tensors            last.pt  the same plus optimisers, for --resume
losses.csv  phase,epoch,name,value           losses.png
No pickled object is ever read: torch.load runs with weights_only=True.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from edge.errors import EdgeError, InputError
from edge.files import atomic_path, write_atomic
from edge.manifest import DataFingerprint, Threshold
from edge.preprocess import Preprocessing
from train.method import Method, MethodConfig, Option
from train.methods import build

FORMAT = "edge-anomaly run 1"
MEND = "name a folder written by edge-train, or train again"


class RunRecord(BaseModel):
    """run.json. Image names are relative to `data_root`; known anomalies to `known_root`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = FORMAT
    tool_version: str
    method: str
    base_width: int
    options: dict[str, float | int | str | bool]
    preprocessing: Preprocessing
    data_root: str
    training: tuple[str, ...]
    validation: tuple[str, ...]
    training_data: DataFingerprint
    known_root: str | None = None
    known: tuple[str, ...] = ()
    seed: int
    batch_size: int
    epochs: int | None = None
    minutes: float | None = None
    augment: tuple[str, ...] = ()
    finished: bool = False
    epochs_done: int = 0
    seconds: float = 0.0
    threshold: Threshold | None = None

    def method_config(self) -> MethodConfig:
        """What the networks are built from."""
        return method_config(self.preprocessing, self.base_width, self.options)


def method_config(spec: Preprocessing, base_width: int, options: Mapping[str, Option]) -> MethodConfig:
    """What the networks of a run that sees pictures through `spec` are built from."""
    faced = spec.locate is not None and spec.locate.face is not None
    return MethodConfig(spec.height, spec.width, spec.channels, base_width, dict(options), faced)


@dataclass(frozen=True)
class Run:
    """A trained run, weights loaded, on the CPU and in eval mode."""

    path: Path
    record: RunRecord
    method: Method

    @property
    def preprocessing(self) -> Preprocessing:
        """What turns a camera picture into the scorer's input."""
        return self.record.preprocessing

    @property
    def parameters(self) -> int:
        """Number of trainable values in all networks, each counted once."""
        return sum(p.numel() for p in self.method.networks.parameters() if p.requires_grad)

    def scorer(self) -> nn.Module:
        """The scoring graph (see train.method.Method.scorer)."""
        return self.method.scorer()

    def reference_scorer(self) -> nn.Module:
        """The same numbers by torch.autograd."""
        return self.method.reference_scorer()

    def training_paths(self, data_override: Path | None = None) -> tuple[Path, ...]:
        """The images that were trained on. Raises InputError if one is gone."""
        return self._paths(self.record.training, data_override)

    def validation_paths(self, data_override: Path | None = None) -> tuple[Path, ...]:
        """The held-out normal images; `data_override` names the data folder if it has moved."""
        return self._paths(self.record.validation, data_override)

    def _paths(self, names: tuple[str, ...], data_override: Path | None) -> tuple[Path, ...]:
        root = data_override or Path(self.record.data_root)
        paths = tuple(root / name for name in names)
        missing = [p for p in paths if not p.is_file()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(paths)} images of run {self.path} are gone",
                f"first: {missing[0]}",
                "name the folder that they were moved to with --data",
            )
        return paths


def save_run(path: Path, record: RunRecord, method: Method) -> None:
    """Write run.json and weights.pt under `path`; each file is whole or absent, the weights come first."""
    save_tensors(path / "weights.pt", {"format": FORMAT, "method": record.method, "networks": _cpu(method.networks)})
    write_atomic(path / "run.json", (record.model_dump_json(indent=1) + "\n").encode())


def load_run(path: Path) -> Run:
    """The run saved under folder `path`. Raises InputError if it is absent, damaged, or its parts do not match."""
    record = read_record(path)
    method = _built(path, record)
    load_networks(method, record.method, path / "weights.pt")
    method.networks.eval()
    return Run(path, record, method)


def read_record(path: Path) -> RunRecord:
    """run.json alone. Raises InputError if it is absent, damaged or of another format."""
    file = path / "run.json"
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise InputError(f"{file} has another format", f"expected {FORMAT!r}, found {found!r}", MEND)
        return RunRecord.model_validate(content)
    except FileNotFoundError:
        raise InputError(f"{path} is not a run", "it has no run.json", MEND) from None
    except (OSError, ValidationError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read {file}", str(error), MEND) from error


def load_networks(method: Method, name: str, file: Path) -> dict[str, Any]:
    """Load the networks from `file` and return its whole content. Raises InputError if they are another model's."""
    content = load_tensors(file)
    if content.get("method") != name:
        raise InputError(f"{file} holds another model", f"expected {name}, found {content.get('method')}", MEND)
    try:
        method.networks.load_state_dict(content["networks"])
    except (KeyError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()
        raise InputError(f"{file} does not fit run.json", reason[min(1, len(reason) - 1)].strip(), MEND) from error
    return content


def save_tensors(file: Path, content: dict[str, Any]) -> None:
    """torch.save of plain containers, numbers and tensors; whole or absent."""
    with atomic_path(file) as temporary:
        torch.save(content, temporary)


def load_tensors(file: Path) -> dict[str, Any]:
    """What save_tensors wrote, on the CPU. Raises InputError if it is absent, damaged or something else."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no checkpoint {file}", "the file does not exist", MEND) from None
    except Exception as error:  # torch.load documents no closed list of what a damaged file raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot load checkpoint {file}", reason, MEND) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{file} is not a checkpoint of ours", f"expected format {FORMAT!r}", MEND)
    return content


def _built(path: Path, record: RunRecord) -> Method:
    try:
        return build(record.method, record.method_config())
    except EdgeError as error:
        raise InputError(f"cannot rebuild run {path}", f"{error.what}: {error.why}", MEND) from error


def _cpu(networks: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in networks.state_dict().items()}
