"""What the board is doing: power mode, clocks, temperatures, throttling; read from sysfs under any root.

Figures of a benchmark mean nothing without them: the same Jetson is slower in another power mode, and slower again when
it is hot. Nothing here needs root rights or NVIDIA's tools.
"""

from __future__ import annotations

import re
import statistics
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from edge.power import watts

ROOT = Path("/")
GPU_CLOCKS = (
    "sys/class/devfreq/*gpu*/cur_freq",
    "sys/class/devfreq/*ga10b*/cur_freq",
    "sys/class/devfreq/*gv11b*/cur_freq",
)
CPU_CLOCKS = "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
ZONES = "sys/class/thermal/thermal_zone*/type"
COOLERS = "sys/class/thermal/cooling_device*/type"
OVER_CURRENT = ("sys/class/hwmon/hwmon*/oc*_event_cnt", "sys/class/hwmon/hwmon*/curr*_crit_alarm")
SAMPLE_INTERVAL_S = 0.2


@dataclass(frozen=True)
class BoardState:
    """One look. `power_mode`: nvpmodel's name, or None where there is none. Clocks in MHz (CPU: the slowest core's).

    `temperature_c`: of the hottest zone. `throttled`: names of what slows the board down now. `over_current`: events
    counted since boot.
    """

    power_mode: str | None
    gpu_mhz: float | None
    cpu_mhz: float | None
    temperature_c: float | None
    throttled: tuple[str, ...]
    over_current: int
    watts: float | None


def look(root: Path = ROOT) -> BoardState:
    """Read the board now; what it does not have is None or empty."""
    cpus = [value / 1e3 for value in _numbers(root, CPU_CLOCKS)]
    gpus = [value / 1e6 for pattern in GPU_CLOCKS for value in _numbers(root, pattern)]
    zones = [t / 1e3 for t in (_number(p.with_name("temp")) for p in root.glob(ZONES)) if t is not None]
    return BoardState(
        power_mode=power_mode(root),
        gpu_mhz=max(gpus, default=None),
        cpu_mhz=min(cpus, default=None),
        temperature_c=max((t for t in zones if -40 < t < 150), default=None),
        throttled=_throttled(root),
        over_current=int(sum(value for pattern in OVER_CURRENT for value in _numbers(root, pattern))),
        watts=watts(root / "sys/class/hwmon"),
    )


def power_mode(root: Path = ROOT) -> str | None:
    """nvpmodel's mode by name: its numbers differ from board to board (2 on an Orin Nano is MAXN_SUPER, 0 on an NX)."""
    status = _text(root / "var/lib/nvpmodel/status")
    match = re.search(r"pmode:(\d+)", status)
    if match is None:
        return None
    number = int(match[1])
    named = re.search(rf"<\s*POWER_MODEL\s+ID={number}\s+NAME=(\S+?)\s*>", _text(root / "etc/nvpmodel.conf"))
    return named[1] if named else f"mode {number}"


@dataclass
class BoardWatch:
    """Looks at the board several times a second while something runs: `with BoardWatch() as seen: ...`."""

    root: Path = ROOT
    interval_s: float = SAMPLE_INTERVAL_S
    states: list[BoardState] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> BoardWatch:
        self.states.append(look(self.root))
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.states.append(look(self.root))

    @property
    def watts(self) -> float | None:
        """Mean power, or None where nothing measures it."""
        seen = [state.watts for state in self.states if state.watts is not None]
        return statistics.fmean(seen) if seen else None

    def facts(self) -> dict[str, str]:
        """What a benchmark must state, as words; what the board does not tell is left out."""
        last = self.states[-1]
        counted = last.over_current - self.states[0].over_current
        cooling = sorted({name for state in self.states for name in state.throttled})
        slowed = [*cooling, *([f"{counted} over-current events"] if counted > 0 else [])]
        found = {
            "power_mode": last.power_mode,
            "gpu_mhz": _span([s.gpu_mhz for s in self.states]),
            "cpu_mhz": _span([s.cpu_mhz for s in self.states]),
            "temperature_c": _span([s.temperature_c for s in self.states]),
            "throttled": ", ".join(slowed) or ("no" if last.power_mode else None),
        }
        return {name: value for name, value in found.items() if value}

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.states.append(look(self.root))


def _throttled(root: Path) -> tuple[str, ...]:
    """Cooling devices at work that slow something down; a fan does not."""
    found = []
    for kind in sorted(root.glob(COOLERS)):
        name, state = _text(kind), _number(kind.with_name("cur_state"))
        if state and not re.search("fan", name, re.IGNORECASE):
            found.append(name)
    return tuple(found)


def _span(values: list[float | None]) -> str | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = f"{min(known):.0f}", f"{max(known):.0f}"
    return low if low == high else f"{low}..{high}"


def _numbers(root: Path, pattern: str) -> list[float]:
    return [value for path in sorted(root.glob(pattern)) if (value := _number(path)) is not None]


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
