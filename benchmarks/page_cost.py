"""What the page costs the pipeline: latency of every stage with three viewers against none, turn about.

    python -m benchmarks.page_cost [--seconds 20] [--rounds 3] [--fps 30] [--work 14] [--rough]

Each viewer reads the stream of states and fetches five live pictures a second, as the page in a browser does. `--rough`
adds clients that mean no good: garbage, slow requests, one that never reads; a broker that is away, and a webhook that
hangs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx

from edge.images import write_png
from tests.edge.page.conftest import free_port
from tests.edge.station.running import Running, objects, station
from tests.edge.tiny_bundle import make_tiny_bundle, scene

CONFIG = "[camera]\nfps = {fps}\nloop = true\nrealtime = true\n"
STAGES = ("preprocess", "health", "engine", "decide")


def main() -> None:
    """Measure and print one JSON object."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_tiny_bundle(folder / "tiny.edge", work=options.work)
        (folder / "camera").mkdir()
        for n in range(90):
            write_png(folder / "camera" / f"{n:04}.png", scene(n, size=480))
        (folder / "station.toml").write_text(CONFIG.format(fps=options.fps))
        found: dict[str, list[dict[str, float]]] = {"none": [], "viewers": []}
        for number in range(options.rounds):
            for kind in found:
                found[kind].append(measure(options, folder, bundle, kind == "viewers", number))
    print(json.dumps(summary(found), indent=1))


def measure(options: argparse.Namespace, folder: Path, bundle: Path, watched: bool, number: int) -> dict[str, float]:
    """Run the station once; p50 of every stage and their sum, p99 of the sum's parts, in milliseconds."""
    port = free_port()
    arguments = ["--config", folder / "station.toml", "--bundle", bundle, "--camera", folder / "camera", "--json"]
    arguments += ["--events", folder / f"events-{watched}-{number}", "--page", f"127.0.0.1:{port}"]
    hanging = socket.create_server(("127.0.0.1", 0))
    if options.rough and watched:
        arguments += ["--mqtt", "mqtt://127.0.0.1:1", "--webhook", f"http://127.0.0.1:{hanging.getsockname()[1]}/"]
    stop = threading.Event()
    with hanging, station(*arguments, "--backend", "onnxruntime", "--threads", "1") as running:
        people = [threading.Thread(target=_watch, args=(port, stop)) for _ in range(3 if watched else 0)]
        people += [threading.Thread(target=_annoy, args=(port, stop)) for _ in range(int(options.rough and watched))]
        return _observe(running, people, stop, options.seconds)


def _observe(
    running: Running, people: list[threading.Thread], stop: threading.Event, seconds: float
) -> dict[str, float]:
    time.sleep(4.0)
    for person in people:
        person.start()
    time.sleep(seconds)
    stop.set()
    for person in people:
        person.join()
    code, out, err = running.stop()
    assert code == 0, err
    said = [o for o in objects(out) if o["type"] == "status" and o["uptime_s"] > 6]  # type: ignore[operator]
    rows = [{stage: o["stages"][stage] for stage in STAGES} for o in said]  # type: ignore[index]
    result = {stage: statistics.median(row[stage]["p50_ms"] for row in rows) for stage in STAGES}
    result["sum"] = sum(result.values())
    result["sum of p99"] = sum(statistics.median(row[stage]["p99_ms"] for row in rows) for stage in STAGES)
    result["faults"] = float(sum(o["verdict"] == "fault" for o in said))
    return result


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Medians over the rounds, and what the viewers cost in per cent."""
    medians = {kind: {key: statistics.median(r[key] for r in rows) for key in rows[0]} for kind, rows in found.items()}
    cost = {key: round(100 * (medians["viewers"][key] / medians["none"][key] - 1), 1) for key in ("sum", "sum of p99")}
    told = {kind: {key: round(value, 3) for key, value in row.items()} for kind, row in medians.items()}
    return {"milliseconds": told, "cost_percent": cost, "rounds": len(found["none"])}


def _watch(port: int, stop: threading.Event) -> None:
    """One viewer."""
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
    with client, client.stream("GET", "/stream") as answer:
        shown_s = 0.0
        for line in answer.iter_lines():
            if stop.is_set():
                return
            if line == "event: status" and time.monotonic() - shown_s >= 0.19:
                shown_s = time.monotonic()
                client.get("/live")


def _annoy(port: int, stop: threading.Event) -> None:
    """Garbage, slow requests, and one that asks for pictures and never reads them."""
    held = [socket.create_connection(("127.0.0.1", port))]
    held[0].sendall(b"GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    garbage = os.urandom(1 << 20)
    while not stop.wait(0.5):
        held.append(socket.create_connection(("127.0.0.1", port)))
        held[-1].sendall(b"GET / HTTP/1.1\r\nHost: loc")
        try:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"POST /reset HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + garbage)
        except OSError:
            continue  # refused, as it should be
    for sock in held:
        sock.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--work", type=int, default=14)
    parser.add_argument("--rough", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
