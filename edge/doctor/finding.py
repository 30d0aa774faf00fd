"""What a check says: what was found, and the one command that mends a gap."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

# ok: works, proven by running it. info: a fact. warn: works, but worse than it could. gap: does not work.
Level = Literal["ok", "info", "warn", "gap"]


class Finding(BaseModel):
    """One line of the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    level: Level
    found: str
    fix: str | None = None


class Report(BaseModel):
    """What edge-doctor --json prints; edge-flash reads the numbers before it copies anything."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    bundle_schema: int
    python: str
    board: str | None
    l4t: str | None
    jetpack: str | None
    backends: list[str]
    disk_free_bytes: int
    memory_available_bytes: int
    swap_free_bytes: int
    findings: list[Finding]

    @property
    def gaps(self) -> list[Finding]:
        return [f for f in self.findings if f.level == "gap"]


def ok(topic: str, found: str) -> Finding:
    """It works; it was tried."""
    return Finding(topic=topic, level="ok", found=found)


def info(topic: str, found: str) -> Finding:
    """A fact that needs no mending."""
    return Finding(topic=topic, level="info", found=found)


def warn(topic: str, found: str, fix: str) -> Finding:
    """It works, but worse than it could."""
    return Finding(topic=topic, level="warn", found=found, fix=fix)


def gap(topic: str, found: str, fix: str) -> Finding:
    """It does not work; `fix` is the one command that mends it."""
    return Finding(topic=topic, level="gap", found=found, fix=fix)
