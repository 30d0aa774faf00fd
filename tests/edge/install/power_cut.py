"""Run one scenario again and again, killed (SIGKILL) before its 1st, 2nd, 3rd... file operation; print what was left.

python -m tests.edge.install.power_cut TEMPLATE WORK PUBLIC_KEY SCENARIO

The kill points are Python's own audit events, so the installer holds no hooks for this and none can be forgotten.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from edge.install.installer import Installer, check_current
from edge.install.layout import Layout
from edge.signature import PublicKey, load_public_key
from tests.edge.install.bundles import RecordingStation

FILE_EVENTS = ("open", "os.", "shutil.", "fcntl.")


def installer(layout: Layout, key: PublicKey, sick: str = "") -> Installer:
    return Installer(layout, key, RecordingStation(layout, sick=frozenset({sick})), lambda line: None, keep=2)


def act(scenario: str, layout: Layout, key: PublicKey) -> None:
    """The scenario, as the installer's process does it."""
    staged = [p.stem for p in layout.staging.glob("*.part")]
    if scenario == "install":
        installer(layout, key).install(staged[0])
    elif scenario == "unhealthy":
        try:
            installer(layout, key, sick="new").install(staged[0])
        except Exception:
            return
    elif scenario == "rollback":
        installer(layout, key).roll_back()
    else:
        installer(layout, key).recover()


def killed_before(event: int, scenario: str, layout: Layout, key: PublicKey) -> bool:
    """Run the scenario in a child that dies before its `event`-th file operation; False if it got to its end."""
    child = os.fork()
    if child == 0:
        left = event

        def hook(name: str, _arguments: object) -> None:
            nonlocal left
            if name.startswith(FILE_EVENTS):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        act(scenario, layout, key)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"the scenario failed by itself at event {event}")
    return False


def left_by(event: int, scenario: str, template: Path, work: Path, key: PublicKey) -> dict[str, object] | None:
    """What a cut before `event` leaves: the release that is current at once, after recovery, and after a new try."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(template, work, symlinks=True)
    layout = Layout(work)
    staged = {p.name: p.read_bytes() for p in layout.staging.glob("*.part")}
    if not killed_before(event, scenario, layout, key):
        return None
    at_once = check_current(layout, key).parent.name
    installer(layout, key).recover()
    recovered = check_current(layout, key).parent.name
    clean = layout.trial() is None and not list(layout.releases.glob(".*")) and not list(layout.root.glob(".current*"))
    for name, data in staged.items():
        (layout.staging / name).unlink(missing_ok=True)
        (layout.staging / name).write_bytes(data)
    again = installer(layout, key).install(next(iter(staged)).removesuffix(".part")) if staged else recovered
    return {"at_once": at_once, "recovered": recovered, "clean": clean, "again": again}


def main() -> None:
    template, work, key_path, scenario = sys.argv[1:]
    key = load_public_key(Path(key_path))
    rows, event = [], 1
    while (row := left_by(event, scenario, Path(template), Path(work), key)) is not None:
        rows.append(row)
        event += 1
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
