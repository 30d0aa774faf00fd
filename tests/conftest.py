"""What every test may use. Real images come from EDGE_TEST_DATA; where they are absent the test says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

DATA = Path(os.environ.get("EDGE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_configure() -> None:
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that: here Ctrl-C must work."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real images and clips; skips, saying so, where it is absent."""
    if not (DATA / "magnetic_tile").is_dir():
        pytest.skip(f"no real images in {DATA}: set EDGE_TEST_DATA")
    return DATA


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With EDGE_NO_SKIPS set, a skipped test fails the run: there everything that lifts a skip is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("EDGE_NO_SKIPS") or reporter is None:
        return
    unwanted = [r for r in reporter.stats.get("skipped", []) if "GPU" not in str(r.longrepr)]
    if unwanted and session.exitstatus == 0:
        reporter.write_line(f"EDGE_NO_SKIPS: {len(unwanted)} tests were skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
