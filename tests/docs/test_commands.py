"""Every block of commands in the README and in the manual is typed, in its order, in a folder of its own.

`sh run` as it stands but for smaller numbers; `sh station` with stand-ins for what one machine has not.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.book import MANUAL, QUICKSTART, README, ROOT, name_of
from tests.docs.sandbox import PROGRAMS, Sandbox
from tests.docs.stand_ins import JETSON, Station

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
FLASHING = ROOT / "docs" / "flashing.md"
TENSORRT = ROOT / "docs" / "PLATFORM.md"
OTHERS = [p for p in MANUAL if p not in (README, QUICKSTART, FLASHING, TENSORRT) and "```sh " in p.read_text()]

Make = Callable[..., Sandbox]


def test_the_readme(quickstart: Path, wheelhouse: Path, station: Station, sandbox: Make) -> None:
    """From a folder with pictures to a station that runs what was flashed."""
    work = sandbox(README.read_text(), EDGE_ROOT=f"{station.folder}/opt")
    work.replaced |= station.replacements()
    for name in ("bolts", "camera.mp4"):
        _copy(quickstart / name, work.folder / name)
    _copy(wheelhouse, work.folder / "wheelhouse")
    work.type_blocks(README, "sh run|sh station")
    assert (work.folder / "demo" / "report.html").exists()
    assert (work.folder / "report.html").exists()
    assert (station.folder / "opt" / "current" / "bundle.edge").exists()


def test_the_quickstart(quickstart: Path, sandbox: Make) -> None:
    assert {"bolts", "run", "bolt.edge", "camera.mp4", "events", "report.html"} <= {
        p.name for p in quickstart.iterdir()
    }
    work = sandbox("")
    work.replaced["make demo"] = f"make -C {ROOT} -n demo"  # the test of the README does it
    work.type_blocks(QUICKSTART, "sh station")


def test_flashing(quickstart: Path, wheelhouse: Path, station: Station, sandbox: Make) -> None:
    work = sandbox(FLASHING.read_text())
    work.replaced |= station.replacements()
    shutil.copytree(quickstart, work.folder, dirs_exist_ok=True)
    _copy(wheelhouse, work.folder / "wheelhouse")
    (work.folder / "stations.txt").write_text(f"{station.sshd.target}\n")
    work.type_blocks(FLASHING, "sh run|sh station")


def test_tensorrt(quickstart: Path, sandbox: Make) -> None:
    work = sandbox(TENSORRT.read_text(), PYTHONPATH=str(JETSON))
    _copy(quickstart / "bolt.edge", work.folder / "bolt.edge")
    work.type_blocks(TENSORRT, "sh run|sh station")


@pytest.mark.parametrize("path", OTHERS, ids=name_of)
def test_the_blocks_of_a_page(path: Path, quickstart: Path, sandbox: Make) -> None:
    """Each page alone, with what the quickstart left."""
    for program, package in {"mosquitto": "mosquitto", "curl": "curl"}.items():
        if re.search(rf"^{program} ", path.read_text(), re.M) and not shutil.which(program, path=PROGRAMS):
            pytest.skip(f"sudo apt install {package}")
    work = sandbox(path.read_text())
    shutil.copytree(quickstart, work.folder, dirs_exist_ok=True)
    work.type_blocks(path, "sh run|sh station")


def _copy(source: Path, target: Path) -> None:
    """A file or a folder; wheels are large, so files are linked where they can be."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link)
    else:
        shutil.copy(source, target)
