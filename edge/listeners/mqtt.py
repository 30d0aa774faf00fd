"""The station over MQTT: state and health retained, events once each with QoS 1 from an outbox on disk.

PREFIX/STATION/availability   "online", and "offline" as last will (retained)
PREFIX/STATION/state          verdict, alarm, faults, score (retained; on change and every 10 s)
PREFIX/STATION/health         rates, latencies, outputs, outbox (retained; every 10 s)
PREFIX/STATION/event          every change of every event, with a message_id that is never used twice
homeassistant/device/edge-STATION/config    discovery (retained)
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from edge.listeners.address import Credentials, broker_at
from edge.listeners.broker_client import KEEPALIVE_S, new_client
from edge.listeners.messages import discovery_json, event_json, health_json, state_json, with_id
from edge.listeners.options import Options
from edge.listeners.outbox import Outbox
from edge.station.events import EventRecord
from edge.station.sinks import SinkContext
from edge.station.status import StationStatus

KNOWN = frozenset(
    "username password password_file ca_file cert_file key_file discovery discovery_prefix max_waiting outbox "
    "reconnect_max_s".split()
)
WINDOW = 50  # events on their way at a time
HEARTBEAT_S = 10.0
DRAIN_S = 3.0


class MqttSink:
    """See Sink. A broker that is away is no error: events wait in the outbox, and state is told anew."""

    def __init__(self, url: str, context: SinkContext) -> None:
        """Begin to connect. Raises InputError for a bad address, option or outbox."""
        options = Options("mqtt", context.options, KNOWN)
        broker = broker_at(url)
        self._station = context.station
        self._base = f"{broker.prefix}/{context.station}"
        self._prefix = broker.prefix
        self._discovery = options.text("discovery_prefix", "homeassistant") if options.flag("discovery", True) else ""
        path = options.text("outbox") or str(context.events_folder / "outbox-mqtt.db")
        who = _credentials(options)
        pause_s = options.number("reconnect_max_s", 30, 1, 3600)
        waiting = int(options.number("max_waiting", 100_000, 1, 10_000_000))
        self._client = new_client("", broker, who, pause_s)  # refuses what is unusable before a file is made
        self.outbox = Outbox(Path(path), waiting)
        self._client = new_client(f"edge-{context.station}-{self.outbox.tag}", broker, who, pause_s)
        self._status = context.latest()
        self._told: tuple[object, ...] = ()
        self._told_s = self._health_s = float("-inf")
        self._acked: deque[int] = deque()
        self._on_their_way: dict[int, int] = {}
        self._sent_up_to = 0
        self._connected = self._greet = self._stopping = False
        self._refusal = ""
        self._wake = threading.Event()
        self._start(broker.host, broker.port)

    def publish(self, status: StationStatus) -> None:
        """See edge.station.sinks.Sink."""
        self._status = status
        if self._shown(status) != self._told:
            self._wake.set()

    def event(self, record: EventRecord, change: str) -> None:
        """See edge.station.sinks.Sink."""
        self.outbox.put(event_json(self._station, record, change))
        self._wake.set()

    def close(self) -> None:
        """Send what waits (three seconds at most), say "offline", and leave; the rest stays in the outbox."""
        if self._stopping:
            return
        end_s = time.monotonic() + DRAIN_S
        while self._connected and self.outbox.count and time.monotonic() < end_s:
            time.sleep(0.02)
        self._stopping = True
        self._wake.set()
        self._thread.join(2.0)
        if self._connected:
            self._tell("availability", "offline").wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()
        self.outbox.close()

    def _start(self, host: str, port: int) -> None:
        client = self._client
        client.will_set(f"{self._base}/availability", "offline", qos=1, retain=True)
        client.on_connect, client.on_disconnect, client.on_publish = self._came, self._went, self._arrived
        client.connect_async(host, port, keepalive=KEEPALIVE_S)
        self._thread = threading.Thread(target=self._run, name="mqtt outbox", daemon=True)
        self._thread.start()
        client.loop_start()

    # The three callbacks run in paho's thread, which holds paho's locks: they only leave a note.
    def _came(self, client: object, userdata: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            if str(reason) != self._refusal:
                logging.getLogger(__name__).warning("MQTT broker refuses station %s: %s", self._station, reason)
            self._refusal = str(reason)
            return
        self._refusal = ""
        self._connected = self._greet = True
        self._wake.set()

    def _went(self, *_: object) -> None:
        self._connected = False

    def _arrived(self, client: object, userdata: object, number: int, *_: object) -> None:
        self._acked.append(number)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(0.5)
            self._wake.clear()
            try:
                self._turn()
            except Exception:  # a full disk, for example: tried again half a second later
                logging.getLogger(__name__).exception("mqtt")
                time.sleep(0.5)

    def _turn(self) -> None:
        self._forget_delivered()
        if not self._connected:
            return
        status, now_s = self._status, time.monotonic()
        if self._greet:
            self._greet, self._told, self._health_s = False, (), float("-inf")
            self._tell("availability", "online")
            if self._discovery:
                topic = f"{self._discovery}/device/edge-{self._station}/config"
                self._client.publish(topic, discovery_json(self._station, self._prefix), qos=1, retain=True)
        if now_s - self._health_s >= HEARTBEAT_S:
            self._health_s = now_s
            self._tell("health", health_json(status, self.outbox.count, self.outbox.lost))
        if self._shown(status) != self._told or now_s - self._told_s >= HEARTBEAT_S:
            self._told, self._told_s = self._shown(status), now_s
            self._tell("state", state_json(status))
        self._send_events()

    def _forget_delivered(self) -> None:
        delivered = []
        while self._acked:
            number = self._on_their_way.pop(self._acked.popleft(), None)
            if number is not None:
                delivered.append(number)
        if delivered:
            self.outbox.done(delivered)

    def _send_events(self) -> None:
        """Keep up to WINDOW events on their way. After a broken connection paho sends those again by itself."""
        room = WINDOW - len(self._on_their_way)
        for waiting in self.outbox.after(self._sent_up_to, room) if room > 0 else ():
            sent = self._client.publish(f"{self._base}/event", with_id(waiting.body, waiting.id), qos=1)
            if not sent.mid or sent.rc not in (0, 4):  # 4: the connection is just lost; paho keeps it all the same
                return
            self._on_their_way[sent.mid] = waiting.number
            self._sent_up_to = waiting.number

    def _tell(self, topic: str, text: str) -> Any:
        return self._client.publish(f"{self._base}/{topic}", text, qos=1, retain=True)

    @staticmethod
    def _shown(status: StationStatus) -> tuple[object, ...]:
        flags = (status.acknowledged, status.latched, status.shelved, status.flooded)
        return (status.verdict, status.alarm, status.occurrence, flags, tuple(status.faults.items()), status.bundle)


def _credentials(options: Options) -> Credentials:
    files = (options.file("ca_file"), options.file("cert_file"), options.file("key_file"))
    return Credentials(options.text("username"), options.secret("password"), *files)
