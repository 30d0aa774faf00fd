"""edge-run itself with its page, as a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.edge.page.conftest import free_port
from tests.edge.station.running import ENGINE, run_to_end, station, write_clip, write_folder
from tests.edge.tiny_bundle import make_tiny_bundle

ASK = {"x-edge-page": "1", "content-type": "application/json"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


def statuses(client: httpx.Client) -> Generator[dict, None, None]:  # type: ignore[type-arg]
    """What the page tells, from now on."""
    with client.stream("GET", "/stream") as answer:
        event = ""
        for line in answer.iter_lines():
            event = line.removeprefix("event: ") if line.startswith("event: ") else event
            if line.startswith("data: ") and event == "status":
                yield json.loads(line.removeprefix("data: "))


def reachable(url: str) -> httpx.Client:
    client = httpx.Client(base_url=url, headers=ASK, timeout=60, trust_env=False)
    end_s = time.monotonic() + 20
    while True:
        try:
            client.get("/session")
            return client
        except httpx.TransportError:
            assert time.monotonic() < end_s
            time.sleep(0.05)


def test_an_alarm_is_seen_and_acknowledged_through_the_page(tiny: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", 600, {30: 30})
    (tmp_path / "station.toml").write_text('[alarm]\nlatch = "acknowledge"\n')
    port = free_port()
    prom = tmp_path / "edge.prom"
    arguments = ["--config", tmp_path / "station.toml", "--bundle", tiny, "--camera", clip, "--realtime", *ENGINE]
    more = ["--events", tmp_path / "events", "--page", f"127.0.0.1:{port}", "--metrics-file", prom]
    with (
        station(*arguments, *more, "--json") as running,
        closing(reachable(f"http://127.0.0.1:{port}")) as client,
        closing(statuses(client)) as news,
    ):
        alarm = next(s for s in news if s["verdict"] == "alarm" and s["alarm"] == "latched-unacknowledged")
        assert alarm["occurrence"] == 1 and alarm["latched"]
        end_s = time.monotonic() + 10
        while (live := client.get("/live")).status_code != 200:
            assert time.monotonic() < end_s
            time.sleep(0.05)
        assert live.content[4:6] == b"\xff\xd8"
        assert client.post("/acknowledge", json={"up_to": 1, "who": "Ada"}).status_code == 202
        assert next(s for s in news if s["acknowledged"])["verdict"] == "ok"
        assert client.get("/pictures/A1.jpg").content.startswith(b"\xff\xd8")
        assert 'edge_verdict{station="station",verdict="ok"} 1.0' in client.get("/metrics").text
        assert "edge_uptime_seconds" in prom.read_text()
        news.close()
        code, out, err = running.stop()
    assert code == 0, err
    assert '"acknowledged_by": ""' in out and not prom.exists()


def test_a_port_in_use_is_one_line_and_exit_5(tiny: Path, tmp_path: Path) -> None:
    import socket

    camera = write_folder(tmp_path / "camera", 3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = run_to_end(
            "--bundle", tiny, "--camera", camera, "--events", tmp_path / "events", "--page", address
        )
    assert code == 5 and err == (
        f"error: cannot open the page at {address}: Address already in use; "
        "choose another port, or stop what listens there\n"
    )


def test_secrets_are_not_kept_with_the_events(tiny: Path, tmp_path: Path) -> None:
    camera = write_folder(tmp_path / "camera", 3)
    config = tmp_path / "station.toml"
    config.write_text('[sink_options.page]\ntoken = "a-long-enough-token"\n')
    arguments = ("--bundle", tiny, "--camera", camera, "--events", tmp_path / "events", "--config", config, *ENGINE)
    code, _, err = run_to_end(*arguments, "--page", f"127.0.0.1:{free_port()}")
    assert code == 0, err
    kept = (tmp_path / "events" / "config.json").read_text()
    assert "a-long-enough-token" not in kept and "(left out)" in kept
