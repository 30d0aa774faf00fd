"""Several stations: one first, alone; only if it is well, all others at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge.errors import CheckFailed, EdgeError, InputError

AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went at one host; `error` None: well. `skipped`: not touched because the first one failed."""

    host: str
    error: EdgeError | None = None
    skipped: bool = False

    def __str__(self) -> str:
        if self.skipped:
            return f"not touched  {self.host}"
        return f"failed       {self.host}: {self.error}" if self.error else f"done         {self.host}"


def read_hosts(path: Path) -> list[str]:
    """Hosts in a file, one USER@HOST a line; blank lines and what follows # are left out. Raises InputError."""
    try:
        rows = [line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read hosts {path}", str(error), "check the path") from error
    hosts = [row for row in rows if row]
    doubled = {h for h in hosts if hosts.count(h) > 1}
    if not hosts or doubled:
        why = f"{', '.join(sorted(doubled))} is listed twice" if doubled else "it names no host"
        raise InputError(f"bad hosts file {path}", why, "one USER@HOST a line")
    return hosts


def staged(hosts: list[str], act: Callable[[str], None]) -> list[Outcome]:
    """Run `act` on the first host alone, then, if it went well, on the others at once. One outcome per host."""
    first = _outcome(hosts[0], act)
    if first.error:
        return [first, *(Outcome(h, skipped=True) for h in hosts[1:])]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [first, *pool.map(lambda host: _outcome(host, act), hosts[1:])]


def require_all(outcomes: list[Outcome]) -> None:
    """Raise CheckFailed, with the worst exit code's kind, unless every host went well."""
    failed = [o for o in outcomes if o.error]
    if len(outcomes) == 1 and failed and failed[0].error:
        raise failed[0].error
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(outcomes)} stations were not flashed",
            ", ".join(o.host for o in failed),
            "they run what they ran before; mend and flash again",
        )


def _outcome(host: str, act: Callable[[str], None]) -> Outcome:
    try:
        act(host)
    except EdgeError as error:
        return Outcome(host, error)
    return Outcome(host)
