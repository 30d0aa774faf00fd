"""A station under injected faults: one every ten seconds, a defect between them, everything on the wire is counted."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge.station.events import EventStore
from edge.station.supervisor import memory_mb
from firmware_bridge.messages import Verdict
from tests.edge.station.plc import Plc
from tests.edge.station.running import Running, open_files
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.soak.camera import FeedCamera, Show

PERIOD_S = 10.0
DEFECT_S = 0.5
DISK_MB = 24
MIN_FREE_MB = 8
CONFIG = f"""
[camera]
read_timeout_s = 0.5
[events]
min_free_mb = {MIN_FREE_MB}
max_mb = 8
[alarm]
flood_limit = 1000
[supervisor]
restarts = 20
"""


@dataclass
class Report:
    """What the soak saw."""

    minutes: float
    blind_s: dict[str, list[float]] = field(default_factory=dict)
    back_s: dict[str, list[float]] = field(default_factory=dict)
    defects: int = 0
    alarms: list[int] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    without_pictures: int = 0
    station_mb: list[float] = field(default_factory=list)
    pipeline_growth_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    exit_code: int | None = None
    errors: str = ""

    @property
    def growth(self) -> float:
        """Relative growth of the station's memory, last quarter against the quarter after the first (warm-up)."""
        quarter = max(1, len(self.station_mb) // 4)
        early, late = self.station_mb[quarter : 2 * quarter], self.station_mb[-quarter:]
        return statistics.median(late) / statistics.median(early or late) - 1

    @property
    def worst_blind_s(self) -> float:
        """The longest time from an injected fault to FAULT on the wire."""
        return max(max(times) for times in self.blind_s.values())

    def table(self) -> str:
        """For people."""
        rows = [f"{'fault':28} {'times':>5} {'to FAULT, worst':>16} {'back to OK, worst':>18}"]
        for name, back in self.back_s.items():
            blind = f"{1000 * max(self.blind_s[name]):.0f} ms" if self.blind_s.get(name) else "(no wire)"
            rows.append(f"{name:28} {len(back):5} {blind:>16} {1000 * max(back):15.0f} ms")
        unique = len(set(self.alarms))
        rows += [
            f"minutes {self.minutes:g}; defects shown {self.defects}, alarms on the wire {len(self.alarms)}"
            f" ({unique} different), alarms stored {len(self.stored)}, without pictures {self.without_pictures}",
            f"station memory {self.station_mb[0]:.1f} to {self.station_mb[-1]:.1f} MB, growth"
            f" {100 * self.growth:+.2f} %; open files {min(self.files)} to {max(self.files)};"
            f" exit code {self.exit_code}",
        ]
        if self.pipeline_growth_mb:
            rows.append(f"pipeline memory growth within one life, worst {max(self.pipeline_growth_mb):+.1f} MB")
        return "\n".join(rows)


class Soak:
    """One run. The event store lies on a small file system of its own (a user namespace), so that it can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.camera = FeedCamera()
        self.plc = Plc(folder / "port")
        self.events = folder / "events"
        self.events.mkdir()
        (folder / "station.toml").write_text(CONFIG)
        bundle = make_tiny_bundle(folder / "tiny.edge")
        self.station = _InSmallDisk(self.events, self._command(bundle))
        self.faults: dict[str, Callable[[Report], None]] = {
            "camera lost": lambda r: self._while_showing("camera lost", Show.LOST, 2.0, r),
            "camera frozen": lambda r: self._while_showing("camera frozen", Show.FROZEN, 2.0, r),
            "engine error": lambda r: self._while_showing("engine error", Show.POISON, 1.2, r),
            "pipeline killed (SIGKILL)": lambda r: self._hit("pipeline killed (SIGKILL)", signal.SIGKILL, r),
            "pipeline stuck (SIGSTOP)": lambda r: self._hit("pipeline stuck (SIGSTOP)", signal.SIGSTOP, r),
            "disk full": self._fill_disk,
            "port lost": self._pull_cable,
        }

    def _command(self, bundle: Path) -> list[str]:
        run = Path(sys.executable).parent / "edge-run"
        options = ["--config", self.folder / "station.toml", "--bundle", bundle, "--camera", self.camera.url]
        options += ["--serial", self.plc.path, "--events", self.events, "--backend", "onnxruntime", "--threads", 1]
        return [str(run), *map(str, options)]

    def run(self, minutes: float, period_s: float = PERIOD_S) -> Report:
        """Inject faults for that long, then stop the station and count."""
        report = Report(minutes)
        self.plc.wait(Verdict.OK, 30)
        end_s = time.monotonic() + 60 * minutes
        names = list(self.faults)
        number = 0
        while time.monotonic() < end_s:
            next_s = time.monotonic() + period_s
            self._measure(report)
            self.faults[names[number % len(names)]](report)
            number += 1
            time.sleep(0.5)
            self._show_defect(report)
            time.sleep(max(0.0, next_s - time.monotonic()))
        self._measure(report)
        self._finish(report)
        return report

    def close(self) -> None:
        """Nothing stays behind; a station that is gone or must be killed is told with its last words."""
        last_words = self.station.kill()
        if last_words:
            print(last_words)
        self.plc.close()
        self.camera.close()

    def _measure(self, report: Report) -> None:
        report.station_mb.append(memory_mb(self.station.pid))
        report.files.append(open_files(self.station.pid))

    def _show_defect(self, report: Report) -> None:
        """A bad part passes in half a second; then good ones until the station says so."""
        shown_s = time.monotonic()
        self.camera.show = Show.DEFECT
        time.sleep(DEFECT_S)
        self.camera.show = Show.GOOD
        report.defects += 1
        alarm_s = self.plc.wait(Verdict.ALARM, 5, since_s=shown_s)
        self.plc.wait(Verdict.OK, 5, since_s=alarm_s)

    def _while_showing(self, name: str, show: Show, seconds: float, report: Report) -> None:
        hit_s = time.monotonic()
        self.camera.show = show
        time.sleep(seconds)
        self.camera.show = Show.GOOD
        self._note(name, hit_s, time.monotonic(), report)

    def _hit(self, name: str, number: int, report: Report) -> None:
        child = self.station.child
        before_mb = memory_mb(child)
        hit_s = time.monotonic()
        os.kill(child, number)
        self._note(name, hit_s, hit_s, report)
        report.pipeline_growth_mb.append(before_mb - self.station.first_mb)
        self.station.weigh_pipeline()

    def _fill_disk(self, report: Report) -> None:
        """A defect is shown while nothing can be written: it must be on the wire at once and in the store later."""
        hit_s = time.monotonic()
        filler = self.station.inside(self.events) / "filler"
        with filler.open("wb", buffering=0) as out:
            try:
                while True:
                    out.write(bytes(1 << 20))
            except OSError:
                pass
        self.plc.wait(Verdict.FAULT, 5, since_s=hit_s)
        alarms = len(self.plc.alarms())
        self.camera.show = Show.DEFECT
        time.sleep(DEFECT_S)
        self.camera.show = Show.GOOD
        report.defects += 1
        self.plc.until(lambda: float(len(self.plc.alarms())) if len(self.plc.alarms()) > alarms else None, 5, "alarm")
        time.sleep(1.0)
        filler.unlink()
        self._note("disk full", hit_s, time.monotonic(), report)

    def _pull_cable(self, report: Report) -> None:
        """A defect is shown while nobody can hear: it must be said once the cable is back."""
        self.plc.unplug()
        time.sleep(0.5)
        alarms = len(self.plc.alarms())
        self.camera.show = Show.DEFECT
        time.sleep(DEFECT_S)
        self.camera.show = Show.GOOD
        report.defects += 1
        time.sleep(1.0)
        self.plc.plug()
        back_s = time.monotonic()
        self.plc.until(lambda: float(len(self.plc.alarms())) if len(self.plc.alarms()) > alarms else None, 10, "alarm")
        report.back_s.setdefault("port lost", []).append(self.plc.wait(Verdict.OK, 10, since_s=back_s) - back_s)

    def _note(self, name: str, hit_s: float, over_s: float, report: Report) -> None:
        blind_s = self.plc.wait(Verdict.FAULT, 5, since_s=hit_s)
        back_s = self.plc.wait(Verdict.OK, 20, since_s=max(blind_s, over_s))
        report.blind_s.setdefault(name, []).append(blind_s - hit_s)
        report.back_s.setdefault(name, []).append(back_s - max(blind_s, over_s))

    def _finish(self, report: Report) -> None:
        time.sleep(1.0)
        # A copy: SQLite resolves links, and so would leave the station's own view of the file system.
        copy = self.folder / "copy"
        shutil.copytree(self.station.inside(self.events), copy)
        store = EventStore(copy, must_exist=True)
        rows = store.find("kind = 'alarm'", limit=100_000)
        store.close()
        report.stored = sorted(row.number for row in rows)
        report.without_pictures = sum(not row.frame_picture for row in rows)
        report.exit_code, _, errors = self.station.stop()
        report.errors = "\n".join(e for e in errors.splitlines() if e.strip() and "onnxruntime" not in e)
        report.alarms = self.plc.alarms()


class _InSmallDisk(Running):
    """edge-run in a mount namespace where its events folder is a tmpfs of a few MB."""

    def __init__(self, events: Path, command: list[str]) -> None:
        self._command, self._mount = command, f"mount -t tmpfs -o size={DISK_MB}m tmpfs {events}"
        super().__init__()
        self.first_mb = 0.0
        self.weigh_pipeline()

    def arguments(self, arguments: tuple[object, ...]) -> list[str]:
        """See Running."""
        shell = ["sh", "-c", f'{self._mount} && exec "$@"', "sh"]
        return ["unshare", "--user", "--map-root-user", "--mount", *shell, *self._command]

    @property
    def pid(self) -> int:
        """The station: unshare and sh replace themselves by it."""
        return self.process.pid

    def inside(self, path: Path) -> Path:
        """`path` as the station sees it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def weigh_pipeline(self) -> None:
        """Remember the memory of the pipeline two seconds after its start."""
        self.other_child(than=0, timeout_s=60.0)
        time.sleep(2.0)
        self.first_mb = memory_mb(self.other_child(than=0, timeout_s=60.0))

    def kill(self) -> str:
        """End it if it was not ended in peace; returns how it ended and what it said last, "" if all was well."""
        if self.process.stderr is None or self.process.stderr.closed:
            return ""
        alone = self.process.poll()
        if alone is None:
            self.process.kill()
        out, err = self.process.communicate()
        how = "was killed by the test" if alone is None else f"had ended by itself with {alone}"
        return f"the station {how}; it said:\n{out[-1500:]}\n{err[-3000:]}"
