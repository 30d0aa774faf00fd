"""Subscribes to all stations of a broker."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from edge.errors import MissingError
from edge.listeners.address import Broker, Credentials
from edge.listeners.broker_client import KEEPALIVE_S, new_client

CONNECT_S = 10.0


class Watcher:
    """Calls `heard(topic, payload)` in a thread of its own for every message of every station, until `close`."""

    def __init__(self, broker: Broker, who: Credentials, heard: Callable[[str, bytes], None], kinds: str = "+") -> None:
        """Connect and subscribe. Raises MissingError if the broker is not there or refuses."""
        self._broker, self._heard, self._topic = broker, heard, f"{broker.prefix}/+/{kinds}"
        self._ready = threading.Event()
        self._refusal = ""
        client = self._client = new_client(f"edge-fleet-{uuid.uuid4().hex[:12]}", broker, who, reconnect_max_s=5)
        client.on_connect, client.on_subscribe, client.on_message = self._came, self._subscribed, self._told
        try:
            client.connect(broker.host, broker.port, keepalive=KEEPALIVE_S)
        except OSError as error:
            raise self._missing(error.strerror or str(error)) from error
        client.loop_start()
        end_s = time.monotonic() + CONNECT_S
        while not self._ready.wait(0.05):
            if self._refusal or time.monotonic() > end_s:
                self.close()
                raise self._missing(self._refusal or "it does not answer")

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _came(self, client: Any, userdata: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            client.subscribe(self._topic, qos=1)

    def _subscribed(self, *_: object) -> None:
        self._ready.set()

    def _told(self, client: object, userdata: object, message: Any) -> None:
        self._heard(message.topic, message.payload)

    def _missing(self, why: str) -> MissingError:
        where = f"{self._broker.host}:{self._broker.port}"
        return MissingError(f"no MQTT broker at {where}", why, "check address, port and credentials")
