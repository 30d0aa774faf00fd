"""An engine that was opened and used has left nothing in its user's home, and has no telemetry module loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.tiny_bundle import make_tiny_bundle

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from edge.bundle import open_bundle
from edge.engine.open import open_engine
bundle = open_bundle(Path(sys.argv[1]))
spec = bundle.manifest.preprocessing
engine = open_engine(bundle, "fp32", sys.argv[2])
engine.infer(np.zeros((spec.height, spec.width, spec.channels), np.uint8))
engine.close()
assert sys.modules.get("openvino_telemetry") is None
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_engine_reports_to_nobody(backend: str, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.edge")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    path = bundle if isinstance(bundle, Path) else bundle.path
    subprocess.run([sys.executable, "-c", SCRIPT, str(path), backend], check=True, env=environment)
    assert not [p for p in home.rglob("*") if p.is_file()]
