from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.soak.__main__ import faults_of
from tests.soak.soak import Soak


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gstreamer1.0-tools (Debian package)")
def test_a_minute_of_injected_faults(tmp_path: Path) -> None:
    soak = Soak(tmp_path)
    try:
        report = soak.run(1.0, period_s=8.0)
    finally:
        soak.close()
    print(report.table())
    # One minute is mostly warm-up, so the memory limit is wider here; `python -m tests.soak 30` holds it to 2 %.
    assert faults_of(report, growth_limit=0.10) == []
