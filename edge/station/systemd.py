"""Telling systemd: READY=1, STATUS=..., WATCHDOG=1. One datagram each to $NOTIFY_SOCKET; without it nothing happens.

WATCHDOG=1 is sent only after a fresh frame was scored. While a fault is known and shown (camera unplugged), a restart
of the service would only take the FAULT off the wire; so when a fault begins, systemd is asked for more patience, and
with the next scored frame the usual limit is set again.
"""

from __future__ import annotations

import os
import socket


class Notifier:
    """Where to send, and how often systemd wants to hear of us (None: no watchdog asked for)."""

    def __init__(self, address: str | None = None, watchdog_usec: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        wanted = os.environ.get("WATCHDOG_USEC", "") if watchdog_usec is None else watchdog_usec
        self.watchdog_s = int(wanted) / 1e6 if wanted.isdecimal() and int(wanted) else None

    def send(self, *lines: str) -> None:
        """Send assignments such as "READY=1". A systemd that is not there is not an error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            try:
                link.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
            except OSError:
                return


class Watchdog:
    """When to tell systemd what. Times are monotonic seconds."""

    def __init__(self, notifier: Notifier, patience_s: float) -> None:
        self._notifier, self._patience_s = notifier, patience_s
        self._fed_s = float("-inf")
        self._ready = self._patient = False
        self._status = ""

    def scored(self, now_s: float, fault: str = "") -> None:
        """A fresh frame was scored: the only thing that feeds the watchdog. `fault`: what is wrong all the same."""
        period_s = (self._notifier.watchdog_s or 2.0) / 2
        status = f"FAULT: {fault}" if fault else "scoring"
        if self._ready and not self._patient and status == self._status and now_s - self._fed_s < period_s / 2:
            return
        lines = ["WATCHDOG=1"]
        if not self._ready:
            lines.insert(0, "READY=1")
        if self._patient and self._notifier.watchdog_s:
            lines.insert(0, f"WATCHDOG_USEC={int(self._notifier.watchdog_s * 1e6)}")
        if status != self._status:
            lines.append(f"STATUS={status}")
        self._ready, self._patient, self._fed_s, self._status = True, False, now_s, status
        self._notifier.send(*lines)

    def blind(self, reason: str) -> None:
        """A fault began: ask for patience once, and say why in `systemctl status`."""
        if not self._patient and self._ready and self._notifier.watchdog_s:
            longer_s = max(self._patience_s, self._notifier.watchdog_s)
            self._notifier.send(f"WATCHDOG_USEC={int(longer_s * 1e6)}")
        self._patient = True
        self.status(f"FAULT: {reason}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._status = text
        self._notifier.send(f"STATUS={text}")

    def stopping(self) -> None:
        """The station is on its way out."""
        self._notifier.send("STOPPING=1")
