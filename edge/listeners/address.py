"""Addresses of brokers: mqtt://[USER@]HOST[:PORT][/PREFIX], mqtts:// with TLS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge.errors import InputError

PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is. `prefix` is the first level of all topics."""

    host: str
    port: int
    tls: bool = False
    username: str = ""
    prefix: str = "edge"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to prove who we are, and whom to trust. `ca` None: the system's authorities."""

    username: str = ""
    password: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def broker_at(url: str) -> Broker:
    """Parse `url`. Raises InputError for anything else, and for a password in it: other users could read it."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise _bad(url, str(error)) from None
    prefix = parts.path.strip("/") or "edge"
    if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment:
        raise _bad(url, "it is not mqtt://HOST:PORT")
    if parts.password is not None:
        raise InputError(
            "a password in the broker's address is refused",
            "every user of this machine could read it",
            "use password_file in [sink_options.mqtt], or EDGE_MQTT_PASSWORD",
        )
    if not re.fullmatch(r"[A-Za-z0-9._/-]{1,100}", prefix):
        raise _bad(url, f"{prefix!r} is no topic prefix")
    return Broker(parts.hostname, port, parts.scheme == "mqtts", unquote(parts.username or ""), prefix)


def _bad(url: str, why: str) -> InputError:
    return InputError(f"cannot read broker address {url[:100]}", why, "write for example mqtt://192.168.1.5:1883")
