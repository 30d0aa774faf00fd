"""Camera, GPIO line and serial port on real kernel drivers, with unplugging while in use, in a virtual machine.

The tests themselves run in the guest (guest/in_guest_*.py and the camera conformance suite); here each of them is told.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.devices import vm

pytestmark = [pytest.mark.devices, pytest.mark.slow, pytest.mark.timeout(600)]

# part of the test's file name in the guest -> at least so many tests must have passed there
PARTS = {
    "camera.test_conformance": 4,
    "firmware_bridge.test_ports": 4,
    "firmware_bridge.test_lines": 4,
    "in_guest_camera": 7,
    "in_guest_line": 6,
    "in_guest_port": 6,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Test in the guest -> None if it passed, else what went wrong."""
    missing = vm.missing_packages()
    if missing:
        pytest.skip(f"needs Debian packages: sudo apt-get install {' '.join(missing)}")
    vm.build(vm.cache_folder())
    out = tmp_path_factory.mktemp("vm") / "out"
    console = vm.run(vm.cache_folder(), out)
    print(console)
    report = out / "results.xml"
    assert report.exists(), f"the virtual machine gave no results; its console said:\n{console[-6000:]}"
    return _outcomes(report)


def _outcomes(report: Path) -> dict[str, str | None]:
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = "\n".join(b.text or "" for b in bad) if bad else None
    return outcomes


@pytest.mark.parametrize("part", PARTS)
def test_in_the_virtual_machine(part: str, results: dict[str, str | None]) -> None:
    mine = {name: outcome for name, outcome in results.items() if part in name}
    failed = [f"{name}\n{text}" for name, text in mine.items() if text is not None]
    assert not failed, "\n\n".join(failed)
    assert len(mine) >= PARTS[part], f"only {sorted(mine)} ran"
