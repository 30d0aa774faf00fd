"""Events by HTTP POST, signed, from an outbox on disk. An endpoint that is away, slow or hangs only makes them wait.

Headers: X-Edge-Message-Id (drop repetitions by it), X-Edge-Timestamp (Unix seconds), X-Edge-Signature: sha256=HEX, the
HMAC-SHA256 of "TIMESTAMP.BODY" with the shared secret.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import random
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from edge.errors import InputError
from edge.listeners.messages import event_json, with_id
from edge.listeners.options import Options
from edge.listeners.outbox import Outbox, Waiting
from edge.station.events import EventRecord
from edge.station.sinks import SinkContext
from edge.station.status import StationStatus
from edge.version import VERSION

KNOWN = frozenset("secret secret_file timeout_s kinds max_waiting outbox ca_file first_pause_s".split())
LONGEST_PAUSE_S = 300.0
TRY_AGAIN = frozenset((408, 425, 429))  # the other 4xx say that this message will never be taken


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Value of X-Edge-Signature."""
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def pause_s(failures: int, first_s: float, luck: float) -> float:
    """Pause after so many failures in a row: doubling, at most 300 s, times 0.5 to 1 by `luck` (0 to 1)."""
    return min(LONGEST_PAUSE_S, first_s * 2.0 ** min(failures - 1, 20)) * (0.5 + 0.5 * luck)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to post, with what secret, and how long one delivery may take as a whole."""

    url: SplitResult
    secret: str
    timeout_s: float
    ca: Path | None = None

    def post(self, message_id: str, body: bytes, now_wall_s: float) -> int:
        """Deliver once; the HTTP status. Raises OSError or http.client.HTTPException. Follows no redirect."""
        timestamp = int(now_wall_s)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-anomaly/{VERSION}",
            "X-Edge-Message-Id": message_id,
            "X-Edge-Timestamp": str(timestamp),
        }
        if self.secret:
            headers["X-Edge-Signature"] = signature(self.secret, timestamp, body)
        connection = self._connection()
        # The socket's own timeout starts anew with every byte; the timer ends an answer that only drips.
        limit = threading.Timer(self.timeout_s, _hang_up, (connection,))
        limit.start()
        try:
            target = (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")
            connection.request("POST", target, body, headers)
            return connection.getresponse().status
        finally:
            limit.cancel()
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host = self.url.hostname or ""
        if self.url.scheme == "http":
            return http.client.HTTPConnection(host, self.url.port or 80, timeout=self.timeout_s)
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        return http.client.HTTPSConnection(host, self.url.port or 443, timeout=self.timeout_s, context=context)


class WebhookSink:
    """See Sink. Events go one after the other; `refused` counts those the endpoint turned down for good."""

    def __init__(self, url: str, context: SinkContext) -> None:
        """Raises InputError for a bad address, option or outbox."""
        options = Options("webhook", context.options, KNOWN)
        timeout_s = options.number("timeout_s", 5, 0.1, 60)
        self._endpoint = Endpoint(_address(url), options.secret("secret"), timeout_s, options.file("ca_file"))
        self._kinds = frozenset(options.text("kinds", "alarm,fault").split(","))
        self._first_s = options.number("first_pause_s", 1, 0.01, 60)
        self._station = context.station
        path = options.text("outbox") or str(context.events_folder / "outbox-webhook.db")
        self.outbox = Outbox(Path(path), int(options.number("max_waiting", 100_000, 1, 10_000_000)))
        self.refused = self.failures = 0
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def publish(self, status: StationStatus) -> None:
        """A webhook hears of events only."""

    def event(self, record: EventRecord, change: str) -> None:
        """See edge.station.sinks.Sink."""
        if record.kind in self._kinds:
            self.outbox.put(event_json(self._station, record, change))
            self._news.set()

    def close(self) -> None:
        """Deliver what goes at once (three seconds at most); the rest stays in the outbox."""
        if self._stopping.is_set():
            return
        end_s = time.monotonic() + 3.0
        while self.outbox.count and not self.failures and time.monotonic() < end_s:
            time.sleep(0.02)
        self._stopping.set()
        self._news.set()
        self._thread.join(1.0)
        if not self._thread.is_alive():  # else it hangs in a delivery and ends with the process
            self.outbox.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait(1.0)
            self._news.clear()
            try:
                self._deliver_all()
            except Exception:  # a full disk, for example: tried again a second later
                logging.getLogger(__name__).exception("webhook")
                self._stopping.wait(1.0)

    def _deliver_all(self) -> None:
        while not self._stopping.is_set() and (waiting := self.outbox.after(0, 1)):
            if self._delivered(waiting[0]):
                self.outbox.done([waiting[0].number])
                self.failures = 0
            else:
                self.failures += 1
                self._stopping.wait(pause_s(self.failures, self._first_s, random.random()))

    def _delivered(self, waiting: Waiting) -> bool:
        """Whether this message is dealt with: taken, or refused for good."""
        body = with_id(waiting.body, waiting.id).encode()
        try:
            status = self._endpoint.post(waiting.id, body, time.time())
        except (OSError, http.client.HTTPException, AttributeError) as error:  # AttributeError: hung up by the timer
            return self._failed(str(error) or type(error).__name__)
        if 400 <= status < 500 and status not in TRY_AGAIN:
            self.refused += 1
            logging.getLogger(__name__).warning("the webhook refuses message %s: HTTP %d", waiting.id, status)
            return True
        return 200 <= status < 300 or self._failed(f"HTTP {status}")

    def _failed(self, why: str) -> bool:
        if not self.failures:
            logging.getLogger(__name__).warning("the webhook does not take events: %s; they wait", why)
        return False


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or parts.password is not None:
        raise InputError("cannot read the webhook's address", "it is not http(s)://HOST/PATH", "mend it")
    return parts


def _hang_up(connection: http.client.HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(2)
        except OSError:
            return  # it is gone already
