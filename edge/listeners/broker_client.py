"""A paho-mqtt client as we want it: callbacks of version 2, TLS from files, reconnecting with growing pauses."""

from __future__ import annotations

import ssl
from typing import Any

from edge.errors import InputError
from edge.listeners.address import Broker, Credentials

KEEPALIVE_S = 15
MAX_QUEUED = 1000


def new_client(client_id: str, broker: Broker, who: Credentials, reconnect_max_s: float = 30.0) -> Any:
    """A client that is not connected yet. Raises InputError for unusable TLS files, ImportError without paho-mqtt."""
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
    username = who.username or broker.username
    if username:
        client.username_pw_set(username, who.password or None)
    if broker.tls:
        client.tls_set_context(_tls(who))
    client.max_queued_messages_set(MAX_QUEUED)
    client.reconnect_delay_set(min_delay=1, max_delay=max(1, int(reconnect_max_s)))
    return client


def _tls(who: Credentials) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(who.ca) if who.ca else None)
        if who.certificate:
            context.load_cert_chain(who.certificate, who.key)
    except (ssl.SSLError, OSError) as error:
        raise InputError(
            "cannot use the TLS files of the broker", str(error), "check ca_file, cert_file, key_file"
        ) from error
    return context
