"""Which threshold the station decides by: the one typed, else the one learned here, else the bundle's.

A threshold learned at the station is one small JSON file in the state folder, named after the bundle's identity and the
variant, so that it can never be used with another model. It carries its own hash; the one before it is kept.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.bundle import Bundle
from edge.errors import InputError
from edge.files import sha256_of, write_atomic
from edge.manifest import ScoreStatistics, Threshold
from edge.station.channel import Ready
from edge.threshold import fit_threshold, score_statistics


class Learned(BaseModel):
    """What `edge-run --learn` stores. `hash` covers all the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    bundle_identity: str
    variant: str
    camera: str
    learned_at: str
    threshold: Threshold
    normal_scores: ScoreStatistics
    hash: str = ""

    def sealed(self) -> Learned:
        """The same with its hash filled in."""
        bare = self.model_copy(update={"hash": ""})
        return bare.model_copy(update={"hash": sha256_of(bare.model_dump_json().encode())})


@dataclass(frozen=True, slots=True)
class Limit:
    """The threshold in use, the spread of normal scores that deadbands are measured in, and where both come from."""

    threshold: float
    spread: float
    source: str


def limit_of(bundle: Bundle, variant: str, typed: float | None, state: Path) -> Limit:
    """The threshold to decide by. Raises InputError if a learned one is there and cannot be trusted."""
    row = bundle.manifest.variants[variant]
    learned = load_learned(bundle.identity, variant, state)
    spread = learned.normal_scores.std if learned else row.normal_scores.std
    if typed is not None:
        return Limit(typed, spread, "set by hand")
    if learned:
        return Limit(learned.threshold.value, spread, f"learned here on {learned.learned_at}")
    return Limit(row.threshold.value, spread, "from the bundle")


def save_learned(state: Path, learned: Learned) -> Path:
    """Store `learned`; the one before it stays beside it under its date."""
    path = _path(state, learned.bundle_identity, learned.variant)
    if path.exists():
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(path.stat().st_mtime))
        path.replace(path.with_name(f"{path.stem}.{stamp}.old.json"))
    write_atomic(path, learned.sealed().model_dump_json(indent=1).encode())
    return path


def load_learned(identity: str, variant: str, state: Path) -> Learned | None:
    """The threshold learned for this bundle and variant, or None. Raises InputError if the file was altered."""
    path = _path(state, identity, variant)
    if not path.exists():
        return None
    fix = f"learn again with edge-run --learn N, or remove {path}"
    try:
        learned = Learned.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise InputError(f"cannot use learned threshold {path}", str(error).splitlines()[0], fix) from error
    if learned != learned.sealed() or (learned.bundle_identity, learned.variant) != (identity, variant):
        raise InputError(f"learned threshold {path} was altered", "its hash does not fit its content", fix)
    return learned


def _path(state: Path, identity: str, variant: str) -> Path:
    return state / f"threshold-{identity[:16]}-{variant}.json"


class Learning:
    """Collects the scores of frames that the operator vouches for, and fits the threshold from them."""

    def __init__(self, frames: int, false_alarm_rate: float) -> None:
        if frames < 2:
            raise InputError(f"cannot learn from {frames} frames", "a fit needs 2 at least", "ask for some hundred")
        self.frames, self.false_alarm_rate = frames, false_alarm_rate
        self.scores: list[float] = []
        self.marked: list[float] = []  # frames that were marked as false alarms: normal too

    @property
    def is_complete(self) -> bool:
        """Whether enough frames were seen."""
        return len(self.scores) >= self.frames

    def take(self, score: float) -> None:
        """One more scored frame; more than asked for are left out."""
        if not self.is_complete:
            self.scores.append(score)

    def fitted(self, ready: Ready) -> Learned:
        """The threshold for the engine that scored. Raises InputError if the source ended too early."""
        if not self.is_complete:
            raise InputError(
                f"learned from {len(self.scores)} of {self.frames} frames",
                "the camera gave no more",
                "ask for fewer, or play the clip in a loop",
            )
        return Learned(
            bundle_identity=ready.bundle_identity,
            variant=ready.variant,
            camera=ready.camera,
            learned_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            threshold=fit_threshold(self.scores + self.marked, self.false_alarm_rate, in_order=True),
            normal_scores=score_statistics(self.scores + self.marked),
        )
