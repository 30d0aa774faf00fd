from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.cli.base import run
from edge.cli.fleet import app
from edge.errors import InputError, MissingError
from edge.fleet.view import Fleet
from edge.fleet.watcher import Watcher
from edge.listeners.address import Broker, Credentials, broker_at
from edge.listeners.messages import discovery_json, health_json, state_json
from edge.listeners.mqtt import MqttSink
from edge.station.events import EventRecord
from edge.station.judge import Verdict
from tests.edge.listeners.broker import Mosquitto
from tests.edge.page.statuses import PretendStation, a_status

ALARM = EventRecord(id="A1", kind="alarm", number=1, began_at=1.0, score=9.0, threshold=6.0)


def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


class Plant:
    """Somebody who subscribes with a lasting session: what the broker takes for it is kept while it is away."""

    def __init__(self, port: int, topic: str = "edge/#") -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, bytes]] = []
        self.subscribed = threading.Event()
        client = self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="plant", clean_session=False)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_message = lambda c, u, m: self.heard.append((m.topic, m.payload))
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert self.subscribed.wait(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def ids(self) -> Counter[str]:
        """How often each event arrived."""
        return Counter(json.loads(p)["message_id"] for t, p in list(self.heard) if t.endswith("/event"))

    def last(self, topic: str) -> Any:
        """The newest payload of a topic."""
        found = [payload for t, payload in list(self.heard) if t == topic]
        return found[-1] if found else None


@pytest.fixture
def plant(broker: Mosquitto) -> Iterator[Plant]:
    one = Plant(broker.port)
    yield one
    one.close()


def test_state_and_health_are_told_and_the_end_as_well(broker: Mosquitto, plant: Plant, tmp_path: Path) -> None:
    station = PretendStation(tmp_path / "events")
    sink = MqttSink(broker.url, station.context)
    eventually(lambda: plant.last("edge/line-4/availability") == b"online")
    eventually(lambda: plant.last("edge/line-4/health"))
    sink.publish(a_status(Verdict.FAULT))
    eventually(lambda: b'"fault"' in (plant.last("edge/line-4/state") or b""))
    assert json.loads(plant.last("edge/line-4/state"))["faults"] == {"camera": "camera lost: no picture for 1.2 s"}
    discovery = "homeassistant/device/edge-line-4/config"
    late = Plant(broker.port, "homeassistant/#")
    eventually(lambda: late.last(discovery))
    told = json.loads(late.last(discovery))
    assert told["availability_topic"] == "edge/line-4/availability" and set(told["cmps"]) >= {"verdict", "problem"}
    late.close()
    sink.close()
    sink.close()


def test_the_last_will_says_offline(broker: Mosquitto, plant: Plant, tmp_path: Path) -> None:
    sink = MqttSink(broker.url, PretendStation(tmp_path / "events").context)
    eventually(lambda: plant.last("edge/line-4/availability") == b"online")
    sink._client._sock.shutdown(2)  # the cable is cut
    eventually(lambda: b"offline" in [p for t, p in plant.heard if t.endswith("availability")])
    eventually(lambda: plant.last("edge/line-4/availability") == b"online")  # and is plugged in again
    sink.close()
    eventually(lambda: plant.last("edge/line-4/availability") == b"offline")


def outage(broker: Mosquitto, plant: Plant, folder: Path, away_s: float, period_s: float) -> str:
    """Kill the broker under load, start it again; every event must arrive, counted once by its id."""
    sink = MqttSink(broker.url, PretendStation(folder, reconnect_max_s=1).context)
    sent, slowest_s, began_s = 0, 0.0, time.monotonic()
    killed = started = False
    while time.monotonic() - began_s < away_s + 3.0:
        put_s = time.monotonic()
        sink.event(replace(ALARM, id=f"A{sent}", number=sent), "raised")
        sent, slowest_s = sent + 1, max(slowest_s, time.monotonic() - put_s)
        if not killed and put_s - began_s > 1.0:
            broker.kill()
            killed = True
        if not started and put_s - began_s > 1.0 + away_s:
            broker.start()
            started = True
        time.sleep(period_s)
    eventually(lambda: len(plant.ids()) == sent, 60.0)
    eventually(lambda: sink.outbox.count == 0)
    sink.close()
    arrived, repeated = len(plant.ids()), sum(count - 1 for count in plant.ids().values())
    return (
        f"broker away for {away_s:g} s: {sent} events sent, {arrived} arrived, lost {sent - arrived}, "
        f"{repeated} repeated on the wire (dropped by id), slowest hand-over {1000 * slowest_s:.1f} ms"
    )


def test_nothing_is_lost_when_the_broker_is_killed_under_load(broker: Mosquitto, plant: Plant, tmp_path: Path) -> None:
    print(outage(broker, plant, tmp_path / "events", away_s=1.0, period_s=0.002))


@pytest.mark.slow
def test_nothing_is_lost_when_the_broker_is_away_for_half_a_minute(
    broker: Mosquitto, plant: Plant, tmp_path: Path
) -> None:
    print(outage(broker, plant, tmp_path / "events", away_s=30.0, period_s=0.005))


def test_events_of_an_outage_survive_a_restart_of_the_station(broker: Mosquitto, plant: Plant, tmp_path: Path) -> None:
    broker.kill()
    context = PretendStation(tmp_path / "events", reconnect_max_s=1).context
    first = MqttSink(broker.url, context)
    for n in range(100):
        first.event(replace(ALARM, id=f"A{n}", number=n), "raised")
    began_s = time.monotonic()
    first.close()
    assert time.monotonic() - began_s < 20.0
    plant.subscribed.clear()
    broker.start()
    assert plant.subscribed.wait(60)
    second = MqttSink(broker.url, context)
    eventually(lambda: len(plant.ids()) == 100)
    arrived = [json.loads(p)["number"] for t, p in plant.heard if t.endswith("/event")]
    assert arrived == list(range(100)), "in order"
    eventually(lambda: second.outbox.count == 0)
    second.close()


def test_credentials_come_from_a_file_and_a_wrong_one_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "edge", "right"], check=True, capture_output=True)
    broker = Mosquitto(tmp_path / "broker", "allow_anonymous false", f"password_file {passwords}")
    try:
        (tmp_path / "good").write_text("right\n")
        (tmp_path / "bad").write_text("wrong\n")
        url = broker.url.replace("//", "//edge@")
        bad = MqttSink(url, PretendStation(tmp_path / "a", password_file=str(tmp_path / "bad")).context)
        eventually(lambda: "refuses station line-4" in caplog.text)
        good = MqttSink(url, PretendStation(tmp_path / "b", password_file=str(tmp_path / "good")).context)
        good.event(ALARM, "raised")
        eventually(lambda: good.outbox.count == 0)
        bad.event(ALARM, "raised")
        assert bad.outbox.count == 1
        assert run(app, ["watch", url, "--once", "--wait", "0.2"]) == 5
        bad.close()
        good.close()
    finally:
        broker.kill()


# paho-mqtt leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_with_a_known_authority_only(tmp_path: Path) -> None:
    certificate(tmp_path)
    lines = ("allow_anonymous true", f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem")
    broker = Mosquitto(tmp_path / "broker", *lines)
    try:
        url = broker.url.replace("mqtt:", "mqtts:")
        sink = MqttSink(url, PretendStation(tmp_path / "events", ca_file=f"{tmp_path}/cert.pem").context)
        sink.event(ALARM, "raised")
        eventually(lambda: sink.outbox.count == 0)
        sink.close()
        with pytest.raises(MissingError, match="no MQTT broker"):
            Watcher(broker_at(url), Credentials(), lambda topic, payload: None)
    finally:
        broker.kill()


def certificate(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1 in cert.pem and key.pem."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1",
        "http://a",
        "mqtt://",
        "mqtt://a:x",
        "mqtt://a/b#c",
        "mqtt://a?x=1",
        "mqtt://u:p@a",
        "mqtt://a/+/",
    ],
)
def test_bad_broker_addresses(url: str) -> None:
    with pytest.raises(InputError):
        broker_at(url)


def test_broker_addresses() -> None:
    assert broker_at("mqtt://10.0.0.5") == Broker("10.0.0.5", 1883)
    assert broker_at("mqtts://me@[::1]:99/plant/a") == Broker("::1", 99, True, "me", "plant/a")


def test_messages_are_json_that_everybody_can_read() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    status = a_status(score=float("nan"), threshold=float("inf"))
    for text in (state_json(status), health_json(status, 1, 2), discovery_json("line-4", "edge")):
        json.loads(text, parse_constant=refuse)


def test_the_fleet_view_takes_anything() -> None:
    fleet = Fleet("edge")
    for topic, payload in (
        ("edge/a/state", b"\xff\x00"),
        ("edge/a/state", b"[1]"),
        ("edge/a/state", b"[" * 100_000),
        ("edge/a/health", b"x" * 100_000),
        ("edge", b""),
        ("edge/", b"{}"),
        ("other/a/state", b"{}"),
    ):
        assert fleet.take(topic, payload, 0.0) is None
    assert fleet.unreadable == 4 and fleet.rows(1.0) == []
    fleet.take("edge/b/state", b'{"verdict": ["?"], "faults": 5, "score": "x", "occurrence": {}}', 0.0)
    fleet.take("edge/b/health", b'{"stages_ms": {"engine": 5}, "events_waiting": true}', 0.0)
    assert fleet.rows(1.0)[0].verdict == "offline"


def test_the_fleet_in_one_table(broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["simulate", "5", broker.url, "--events", "20"]) == 0
    assert "100 events" in (out := capsys.readouterr().out) and "lost 0" in out
    stations = [PretendStation(tmp_path / name) for name in ("a", "b")]
    sinks = [MqttSink(broker.url, replace(s.context, station=f"line-{n}")) for n, s in enumerate(stations, 1)]
    sinks[1].publish(a_status(Verdict.FAULT))
    assert run(app, ["watch", broker.url, "--once", "--wait", "1", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["station"], row["verdict"]) for row in rows][:1] == [("line-2", "fault")]
    assert rows[-1]["station"] == "line-1" and rows[-1]["verdict"] == "ok" and rows[-1]["engine_p50_ms"] == 6.4
    assert sum(row["verdict"] == "offline" for row in rows) == 5
    assert run(app, ["watch", broker.url, "--once", "--wait", "0.5"]) == 0
    assert "7 stations: 1 FAULT, 5 OFFLINE, 1 OK" in capsys.readouterr().out
    for sink in sinks:
        sink.close()


def test_no_broker_is_one_line_and_exit_5(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["watch", "mqtt://127.0.0.1:1", "--once"]) == 5
    assert capsys.readouterr().err.startswith("error: no MQTT broker at 127.0.0.1:1: Connection refused;")


@pytest.mark.slow
def test_two_hundred_stations(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, ["simulate", "200", broker.url, "--events", "20"]) == 0
    out = capsys.readouterr().out
    print(out)
    assert "200 stations, 4000 events" in out and "lost 0" in out
