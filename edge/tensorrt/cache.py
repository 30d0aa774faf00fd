"""Built engines on this machine: kept by what they depend on, checked before each use, never run unproven.

An entry is two files, KEY.plan and KEY.json; the second is written last, so that an entry is whole or absent. Entries
of an older TensorRT, power mode or bundle stay for a while: going back finds its engine.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.board import power_mode
from edge.bundle import Bundle
from edge.errors import CheckFailed, MissingError
from edge.files import cache_folder, sha256_of, write_atomic
from edge.tensorrt.cuda import GpuFacts
from edge.tensorrt.library import Library

LOG = logging.getLogger(__name__)
KEPT = 6  # entries per bundle name and variant


@dataclass(frozen=True)
class Place:
    """What a plan depends on besides its graph and options."""

    tensorrt: str
    cuda: str
    gpu: str
    sm: str
    power_mode: str


class Entry(BaseModel):
    """KEY.json. `proven`: the largest relative difference to the golden frames; None: not proven yet, must not run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    identity: str  # of the bundle
    variant: str
    place: dict[str, str]
    options: dict[str, str]
    sha256: str
    size_bytes: int
    seconds: float
    created: float
    kept_float: tuple[str, ...] = ()
    proven: float | None = None

    @property
    def key(self) -> str:
        """Name of the files, without the ending."""
        return key_of(self.identity, self.variant, self.place, self.options)


@dataclass(frozen=True)
class Found:
    """An entry that may be used, or None and the reasons why a build is needed."""

    entry: Entry | None
    reasons: tuple[str, ...] = ()


def place_of(library: Library, gpu: GpuFacts, mode: str | None = None) -> Place:
    """This machine."""
    major, minor = gpu.capability
    return Place(library.version, gpu.cuda, gpu.name, f"{major}.{minor}", mode or power_mode() or "none")


def key_of(identity: str, variant: str, place: dict[str, str], options: dict[str, str]) -> str:
    """Name of an entry's files."""
    return sha256_of(json.dumps([identity, variant, place, options], sort_keys=True).encode())[:24]


class EngineCache:
    """The entries in one folder (default: `engines` in $EDGE_CACHE)."""

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder if folder is not None else cache_folder() / "engines"
        self._clock = clock

    def look_up(self, bundle: Bundle, variant: str, place: Place, options: dict[str, str]) -> Found:
        """The entry for exactly this; else why not: nothing built yet, what changed, or that the file is damaged."""
        wanted = key_of(bundle.identity, variant, asdict(place), options)
        entries = self.entries(bundle.manifest.name, variant)
        exact = next((e for e in entries if e.key == wanted), None)
        if exact is not None:
            damage = self._damage(exact)
            return Found(None, (damage,)) if damage else Found(exact)
        if not entries:
            return Found(None, ("nothing was built yet",))
        return Found(None, _changes(entries[0], bundle.identity, asdict(place), options))

    def open(self, bundle: Bundle, variant: str, place: Place) -> tuple[Entry, bytes]:
        """The newest proven plan for this bundle, variant and machine, whole.

        One that was built in another power mode runs as well, if there is no better; that is logged. Raises
        MissingError if there is none, saying why not; CheckFailed if its file is damaged.
        """
        entries = self.entries(bundle.manifest.name, variant)
        ours = [e for e in entries if e.identity == bundle.identity and _runs_at(e, place)]
        ours.sort(key=lambda e: e.place["power_mode"] != place.power_mode)
        fix = f"build it: edge-build {bundle.path} --precision {variant}"
        if not ours:
            why = "; ".join(_changes(entries[0], bundle.identity, asdict(place), entries[0].options)) if entries else ""
            raise MissingError(f"no engine for {variant} of {bundle.path}", why or "nothing was built yet", fix)
        entry = next((e for e in ours if e.proven is not None), None)
        if entry is None:
            raise MissingError(f"the engine for {variant} was never proven", "its golden check did not end", fix)
        if damage := self._damage(entry):
            raise CheckFailed(f"the engine for {variant} of {bundle.path} will not be run", damage, fix)
        if entry.place["power_mode"] != place.power_mode:
            mode = entry.place["power_mode"]
            LOG.warning(
                "built in power mode %s, this is %s: edge-build may find a faster engine", mode, place.power_mode
            )
        return entry, self.plan_path(entry).read_bytes()

    def built_variants(self, bundle: Bundle) -> set[str]:
        """Variants of this very bundle with a proven engine, on whatever machine state."""
        entries = self.entries(bundle.manifest.name)
        return {e.variant for e in entries if e.identity == bundle.identity and e.proven is not None}

    def add(self, entry: Entry, plan: bytes) -> Entry:
        """Keep a plan; the oldest entries of the same bundle name and variant go."""
        write_atomic(self.plan_path(entry), plan)
        self._write(entry)
        for old in self.entries(entry.name, entry.variant)[KEPT:]:
            self.remove(old)
        return entry

    def prove(self, entry: Entry, difference: float) -> Entry:
        """Note that the golden frames came out right."""
        proven = entry.model_copy(update={"proven": difference})
        self._write(proven)
        return proven

    def prefer(self, entry: Entry) -> Entry:
        """Make an entry the newest of its variant: the one that `open` takes."""
        preferred = entry.model_copy(update={"created": self.now()})
        self._write(preferred)
        return preferred

    def remove(self, entry: Entry) -> None:
        """Throw an entry away; its note first, so that a plan is never taken for whole."""
        self._note_path(entry).unlink(missing_ok=True)
        self.plan_path(entry).unlink(missing_ok=True)

    def entries(self, name: str, variant: str | None = None) -> list[Entry]:
        """Entries of bundles with this name, newest first; notes that cannot be read do not count."""
        found = [e for p in sorted(self.folder.glob("*.json")) if (e := _read(p)) is not None]
        mine = [e for e in found if e.name == name and variant in (None, e.variant)]
        return sorted(mine, key=lambda e: e.created, reverse=True)

    def plan_path(self, entry: Entry) -> Path:
        """Where the plan lies."""
        return self.folder / f"{entry.key}.plan"

    def timing_cache(self, place: Place) -> Path:
        """TensorRT's timing cache of this machine (power mode included: timings depend on it)."""
        return self.folder / f"timing-{sha256_of(json.dumps(asdict(place), sort_keys=True).encode())[:16]}.cache"

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def _write(self, entry: Entry) -> None:
        write_atomic(self._note_path(entry), entry.model_dump_json(indent=1).encode())

    def _note_path(self, entry: Entry) -> Path:
        return self.folder / f"{entry.key}.json"

    def _damage(self, entry: Entry) -> str:
        try:
            plan = self.plan_path(entry).read_bytes()
        except OSError as error:
            return f"its plan cannot be read ({error.strerror})"
        if sha256_of(plan) != entry.sha256:
            return f"its plan was damaged (SHA-256 {sha256_of(plan)[:12]}, expected {entry.sha256[:12]})"
        return ""


def _read(path: Path) -> Entry | None:
    try:
        return Entry.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _runs_at(entry: Entry, place: Place) -> bool:
    """A power mode changes how fast a plan runs, not what it computes."""
    return entry.place | {"power_mode": ""} == asdict(place) | {"power_mode": ""}


def _changes(entry: Entry, identity: str, place: dict[str, str], options: dict[str, str]) -> tuple[str, ...]:
    """What differs between the newest entry and what is wanted, in words."""
    before = entry.place | entry.options | {"bundle": entry.identity[:12]}
    after = place | options | {"bundle": identity[:12]}
    names = sorted(before.keys() | after.keys())
    return tuple(f"{n} {before.get(n, '-')} -> {after.get(n, '-')}" for n in names if before.get(n) != after.get(n))
