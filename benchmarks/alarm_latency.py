"""From the frame's arrival to the alarm's last byte on the other side of a pseudo-terminal, and what the station adds.

    python -m benchmarks.alarm_latency [--frames 10000] [--fps 100] [--work 14] [--bundle NAME.edge --camera FOLDER]

Every tenth frame shows a defect. Without a bundle a small graph of the tests runs, with `--work` convolutions in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from edge.images import write_png
from firmware_bridge.messages import AlarmRaised
from tests.edge.station.plc import Plc
from tests.edge.station.running import objects, run_to_end
from tests.edge.tiny_bundle import make_tiny_bundle, scene

CONFIG = """
[camera]
fps = {fps}
loop = true
realtime = true
[decision]
k = 1
n = 1
[alarm]
flood_limit = 10000
flood_window_s = 1.0
"""


def main() -> None:
    """Run and print one JSON object and a few lines for people."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latencies_ms, last = measure(options, folder)
    stages = last["stages"]
    engine, total = stages["engine"]["p50_ms"], stages["total"]["p50_ms"]
    result = {
        "frames": last["frames"],
        "alarms": len(latencies_ms),
        "frame_to_wire_ms": percentiles(latencies_ms),
        "stages_p50_ms": {stage: round(times["p50_ms"], 3) for stage, times in stages.items()},
        "over_engine_percent": round(100 * (total - engine) / engine, 1),
        "frames_left_out": last["frames_left_out"],
    }
    print(json.dumps(result, indent=1))


def measure(options: argparse.Namespace, folder: Path) -> tuple[list[float], dict]:  # type: ignore[type-arg]
    """Latencies of all alarms in milliseconds, and the station's last status."""
    bundle = options.bundle or make_tiny_bundle(folder / "tiny.edge", work=options.work)
    (folder / "station.toml").write_text(CONFIG.format(fps=options.fps))
    plc = Plc(folder / "port")
    arguments = ["--config", folder / "station.toml", "--bundle", bundle, "--camera", options.camera or _camera(folder)]
    arguments += ["--serial", plc.path, "--events", folder / "events", "--frames", options.frames, "--json"]
    code, out, err = run_to_end(*arguments, "--backend", "onnxruntime", "--threads", options.threads, timeout_s=3600)
    assert code == 0, err
    wall_minus_monotonic = time.time() - time.monotonic()
    arrived = {h.message.event: h.at_s for h in plc.heard if isinstance(h.message, AlarmRaised)}
    plc.close()
    said = objects(out)
    latencies = [
        1000 * (arrived[e["number"]] - (e["began_at"] - wall_minus_monotonic)) + e["latency_ms"]
        for e in said
        if e["type"] == "event" and e["change"] == "raised"
    ]
    return latencies[5:], said[-1]


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p99, max."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
        "max": round(ordered[-1], 2),
    }


def _camera(folder: Path) -> Path:
    """Sixty pictures, every tenth with a defect."""
    camera = folder / "camera"
    camera.mkdir()
    for n in range(60):
        write_png(camera / f"{n:04}.png", scene(n, defect=n % 10 == 9))
    return camera


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--work", type=int, default=14)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--camera", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
