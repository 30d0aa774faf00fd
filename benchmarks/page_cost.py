"""What the page costs the pipeline: latency with three viewers against none, turn about within one run.

    python -m benchmarks.page_cost [--turns 6] [--fps 30] [--work 40] [--rough]

Each viewer reads the stream of states and fetches five live pictures a second, as the page in a browser does. Viewers
run in processes of their own with the lowest priority, as they would run on other machines. `--rough` adds clients that
mean no good: garbage, slow requests, one that never reads; a broker that is away, and a webhook that hangs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from edge.images import write_png
from tests.edge.page.conftest import free_port
from tests.edge.station.running import Running, objects, station
from tests.edge.tiny_bundle import make_tiny_bundle, scene

CONFIG = "[camera]\nfps = {fps}\nloop = true\nrealtime = true\n"
Span = tuple[float, float, dict[str, float]]  # from, to (Unix time), CPU used meanwhile in per cent of a core
STAGES = ("wait", "preprocess", "health", "engine", "decide", "total")


def main() -> None:
    """Measure and print one JSON object."""
    options = _options()
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as hanging:
        folder, port = Path(name), free_port()
        arguments = _arguments(options, folder, port, hanging.getsockname()[1])
        with station(*arguments, "--backend", "onnxruntime", "--threads", "1") as running:
            said: list[str] = []
            reader = threading.Thread(target=said.extend, args=(running.process.stdout,))  # else the pipe fills up
            reader.start()
            spans = _take_turns(options, port, running)
            running.process.send_signal(signal.SIGTERM)
            reader.join()
            assert running.process.wait(20) == 0
    print(json.dumps(summary(objects("".join(said)), spans), indent=1))


def _arguments(options: argparse.Namespace, folder: Path, port: int, hanging: int) -> list[object]:
    bundle = make_tiny_bundle(folder / "tiny.edge", work=options.work)
    (folder / "camera").mkdir()
    for n in range(90):
        image = np.asarray(cv2.resize(scene(n), (768, 768), interpolation=cv2.INTER_NEAREST), np.uint8)
        write_png(folder / "camera" / f"{n:04}.png", image)
    (folder / "station.toml").write_text(CONFIG.format(fps=options.fps))
    arguments: list[object] = ["--config", folder / "station.toml", "--bundle", bundle, "--camera", folder / "camera"]
    arguments += ["--json", "--events", folder / "events", "--page", f"127.0.0.1:{port}"]
    if options.rough:
        arguments += ["--mqtt", "mqtt://127.0.0.1:1", "--webhook", f"http://127.0.0.1:{hanging}/"]
    return arguments


def _take_turns(options: argparse.Namespace, port: int, running: Running) -> list[Span]:
    """The end of each turn, when the last 300 frames all belong to it."""
    settle_s = 300 / options.fps + 1.0
    spans: list[Span] = []
    context = multiprocessing.get_context("spawn")
    time.sleep(4.0)
    for turn in range(2 * options.turns):
        watched = turn % 2 == 1
        kinds = ([_watch] * 3 + [_annoy] * options.rough) if watched else []
        people = [context.Process(target=kind, args=(port,)) for kind in kinds]
        for person in people:
            person.start()
        time.sleep(settle_s + (2.0 if watched else 0.0))
        first_s, before = time.time(), _cpu_s(running)
        time.sleep(3.0)
        last_s, after = time.time(), _cpu_s(running)
        spans.append((first_s, last_s, {k: 100 * (after[k] - before[k]) / (last_s - first_s) for k in after}))
        for person in people:
            person.kill()
            person.join()
    return spans


def _cpu_s(running: Running) -> dict[str, float]:
    """CPU seconds that the station's two processes have used; unlike latencies they do not depend on who else runs."""
    processes = {"station CPU %": running.process.pid, "pipeline CPU %": running.child}
    fields = {name: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for name, pid in processes.items()}
    return {name: (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK") for name, f in fields.items()}


def summary(said: list[dict[str, Any]], spans: list[Span]) -> dict[str, object]:
    """Medians over the turns, and what viewers cost, each turn against the one before it."""
    rows = [{**_turn(said, first, last), **cpu} for first, last, cpu in spans]
    pairs = list(zip(rows[0::2], rows[1::2], strict=True))
    median = {
        kind: {key: round(statistics.median(pair[i][key] for pair in pairs), 3) for key in rows[0]}
        for i, kind in enumerate(("no viewer", "three viewers"))
    }
    cost = {
        key: round(100 * statistics.median(pair[1][key] / pair[0][key] - 1 for pair in pairs), 1)
        for key in ("engine", "total", "total p99")
    }
    faults = [f"{o['reason']}, {o['began_at'] - spans[0][0]:+.1f} s" for o in said if _is_new_fault(o)]
    return {"medians": median, "cost_percent": cost, "turns": len(pairs), "faults": faults}


def _is_new_fault(said: dict[str, Any]) -> bool:
    return said["type"] == "event" and said["kind"] == "fault" and said["change"] == "began"


def _turn(said: list[dict[str, Any]], first_s: float, last_s: float) -> dict[str, float]:
    stages = [o["stages"] for o in said if o["type"] == "status" and first_s <= o["wall_s"] <= last_s]
    result = {name: statistics.median(s[name]["p50_ms"] for s in stages) for name in STAGES}
    result["total p99"] = statistics.median(s["total"]["p99_ms"] for s in stages)
    return result


def _watch(port: int) -> None:
    """One viewer, until it is killed."""
    os.nice(19)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
    with client, client.stream("GET", "/stream") as answer:
        shown_s = 0.0
        for line in answer.iter_lines():
            if line == "event: status" and time.monotonic() - shown_s >= 0.19:
                shown_s = time.monotonic()
                client.get("/live")


def _annoy(port: int) -> None:
    """Garbage, slow requests, and one that asks for pictures and never reads them."""
    os.nice(19)
    held = [socket.create_connection(("127.0.0.1", port))]
    held[0].sendall(b"GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    garbage = os.urandom(10 << 20)
    while True:
        time.sleep(0.5)
        try:
            held.append(socket.create_connection(("127.0.0.1", port)))
            held[-1].sendall(b"GET / HTTP/1.1\r\nHost: loc")
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"POST /reset HTTP/1.1\r\nContent-Length: 10485760\r\n\r\n" + garbage)
        except OSError:
            continue  # refused, as it should be


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--work", type=int, default=40)
    parser.add_argument("--rough", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
