"""What a station is set up with: its duty, its rules, and a judge that goes on where the event store ends."""

from __future__ import annotations

from dataclasses import dataclass

from edge.errors import EdgeError
from edge.station.alarm import Alarm
from edge.station.config import StationConfig
from edge.station.decision import DecisionRules, Vote
from edge.station.events import ALARM, EventStore
from edge.station.judge import Judge
from edge.station.learned import Learning


class PipelineFailed(EdgeError):
    """The pipeline could not start; its own message and exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message, "", "")
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Duty:
    """How long the station runs and what for. None: for ever. `learning`: refit the threshold instead of judging."""

    frames: int | None = None
    seconds: float | None = None
    learning: Learning | None = None


def decision_rules(config: StationConfig, threshold: float, spread: float) -> DecisionRules:
    """The rules of the configuration with the threshold in use. Triggered parts are judged by their one frame."""
    d = config.decision
    if d.mode == "triggered":
        return DecisionRules(threshold, spread, k=1, n=1, deadband=0.0)
    return DecisionRules(threshold, spread, d.k, d.n, d.deadband, d.on_delay_s, d.off_delay_s)


def new_judge(config: StationConfig, store: EventStore) -> Judge:
    """A judge that goes on where the store ends: numbers, and a latched alarm that nobody has acknowledged yet."""
    latched = config.alarm.latch != "off" and store.has_unacknowledged()
    alarm = Alarm(config.alarm.rules(), store.last_number(ALARM), unacknowledged=latched)
    return Judge(Vote(decision_rules(config, float("inf"), 0.0)), alarm, config.decision.max_age_s)
