"""The path of a release: verify, add, prepare, switch, restart, probe, commit; or back, with the reason.

Power may fail between any two lines. Until `save_state` names the new release, `recover` puts the old one back; from
then on the new one stays. `current` always points at a whole, verified release because the swap is one rename.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.errors import CheckFailed, EdgeError, InputError
from edge.install import release as releases
from edge.install import staging
from edge.install.layout import Layout, State, Trial
from edge.install.station import Station
from edge.signature import PublicKey, open_signed


@dataclass
class Installer:
    """Installs signed bundles under one root. `report` gets one line per step; every line is logged as well."""

    layout: Layout
    key: PublicKey
    station: Station
    report: Callable[[str], None]
    keep: int = 3
    clock: Callable[[], float] = field(default=time.monotonic)

    def install(self, sha256: str) -> str:
        """Install the staged bundle and return its release id.

        Raises the EdgeError that stopped it; the release that ran before is then current and running.
        """
        with self.layout.locked(), self._told(f"install of {sha256[:12]}"):
            self._recover()
            release = self._add(sha256)
            if release == self.layout.current_id():
                self._say(f"{release} is current already")
                self.station.probe()
            else:
                self._prepare(release)
                state = self.layout.state()
                self._try_out(release, (release, *(r for r in state.good if r != release)))
            staging.clear(self.layout)
            self._prune()
        return release

    def roll_back(self) -> str:
        """Go back to the release that was proven before the current one; return its id."""
        with self.layout.locked(), self._told("rollback"):
            self._recover()
            state, current = self.layout.state(), self.layout.current_id()
            older = [r for r in state.good if r != current and (self.layout.releases / r).is_dir()]
            if not older:
                raise InputError("nothing to roll back to", "no older release is kept", "flash a good bundle")
            self._try_out(older[0], tuple(older))
        return older[0]

    def recover(self) -> None:
        """Undo an interrupted install, if there was one; restart the station if the release changed."""
        with self.layout.locked(), self._told("recovery"):
            self._recover()

    def status(self) -> dict[str, Any]:
        """What is installed, as plain data."""
        layout, state = self.layout, self.layout.state()
        current, trial = layout.current_id(), layout.trial()
        notes = {r: releases.note_of(layout, r) for r in releases.installed(layout)}
        return {
            "root": str(layout.root),
            "current": current,
            "trial": trial.new if trial else None,
            "releases": [n.model_dump() | {"proven": r in state.good} for r, n in notes.items() if n],
            "lowest_counter": state.lowest_counter,
            "staged": {p.stem: p.stat().st_size for p in sorted(layout.staging.glob("*.part"))},
            "health": self._health() if current else "nothing is installed",
        }

    def _health(self) -> str:
        try:
            return self.station.probe_once() or "healthy"
        except EdgeError as error:
            return f"unknown: {error}"

    def _add(self, sha256: str) -> str:
        start = self.clock()
        staged = staging.require_whole(self.layout, sha256)
        try:
            bundle = open_signed(staged, self.key, self.layout.state().lowest_counter)
            bundle.read_all()
            release = releases.add_release(self.layout, staged, bundle, self.key)
        except EdgeError:
            staged.unlink(missing_ok=True)
            raise
        self._say(f"verify: {self.clock() - start:.1f} s, {release} signed by {self.key.name}")
        return release

    def _prepare(self, release: str) -> None:
        start = self.clock()
        try:
            self.station.prepare(self.layout.releases / release / releases.BUNDLE)
        except BaseException:
            self._discard(release)
            raise
        self._say(f"build and self-test: {self.clock() - start:.1f} s, {release}")

    def _try_out(self, release: str, good: tuple[str, ...]) -> None:
        """Switch, restart, probe; commit `good` as the new state, or go back."""
        start, old, state = self.clock(), self.layout.current_id(), self.layout.state()
        bundle = releases.check_release(self.layout, release, self.key, state.lowest_counter)
        self.layout.save_trial(Trial(old=old, new=release))
        try:
            self.layout.switch(release)
            self.station.restart()
            self.station.probe()
        except BaseException as error:
            self._go_back(release, old, error)
            raise
        counter = max(state.lowest_counter, bundle.manifest.rollback_counter)
        self.layout.save_state(State(good=good, lowest_counter=counter))
        self.layout.save_trial(None)
        self._say(f"switch and health probe: {self.clock() - start:.1f} s, {release} runs")

    def _go_back(self, release: str, old: str | None, reason: BaseException) -> None:
        self._say(f"{release} failed: {reason or type(reason).__name__}")
        self.layout.switch(old)
        self.layout.save_trial(None)
        if old is None:
            self._say("nothing was installed before: no release is current")
        else:
            self._restart_old(old)
        self._discard(release)

    def _restart_old(self, old: str) -> None:
        try:
            self.station.restart()
            self.station.probe()
        except EdgeError as error:
            self._say(f"{old} is current again but not healthy: {error}")
        else:
            self._say(f"rolled back: {old} runs again")

    def _recover(self) -> None:
        releases.remove_leftovers(self.layout)
        trial, state = self.layout.trial(), self.layout.state()
        if trial is None:
            return
        if state.good[:1] == (trial.new,):  # committed; only the note of the trial was left
            self.layout.save_trial(None)
            return
        swapped = self.layout.current_id() != trial.old
        self.layout.switch(trial.old)
        self.layout.save_trial(None)
        self._say(f"recovered: {trial.new} was interrupted on trial, current is {trial.old or 'nothing'}")
        if swapped and trial.old is not None:
            self._restart_old(trial.old)

    def _discard(self, release: str) -> None:
        """Throw away a release that failed, unless it was proven before."""
        staging.clear(self.layout)
        if release not in self.layout.state().good:
            self.layout.remove(self.layout.releases / release)

    def _prune(self) -> None:
        state, current = self.layout.state(), self.layout.current_id()
        kept = set(state.good[: max(self.keep, 1)]) | {current}
        self.layout.save_state(
            State(good=tuple(r for r in state.good if r in kept), lowest_counter=state.lowest_counter)
        )
        for release in releases.installed(self.layout):
            if release not in kept:
                self.layout.remove(self.layout.releases / release)

    def _say(self, line: str) -> None:
        self.layout.log(line)
        self.report(line)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Whatever ends `what` badly stands in the log."""
        try:
            yield
        except BaseException as error:
            self.layout.log(f"{what} failed: {error or type(error).__name__}")
            raise


def check_current(layout: Layout, key: PublicKey) -> Path:
    """Path of the current bundle after checking folder, signature, counter and every member, as done at every start.

    Raises InputError if nothing is installed, CheckFailed if the release was tampered with.
    """
    current = layout.current_id()
    if current is None:
        raise InputError(f"nothing is installed under {layout.root}", "there is no current release", "run edge-flash")
    if layout.current.resolve() != (layout.releases / current).resolve():
        raise CheckFailed(f"{layout.current} was tampered with", "it leaves the releases folder", "flash again")
    return releases.check_release(layout, current, key, layout.state().lowest_counter).path
