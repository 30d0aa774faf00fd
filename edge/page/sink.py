"""The station page as a listener: `edge-run --page 127.0.0.1:8080`, or `page = "..."` under [sinks]."""

from __future__ import annotations

from pathlib import Path

from edge.errors import InputError
from edge.listeners.options import Options
from edge.page.access import Names, Sessions, is_loopback
from edge.page.app import page_app
from edge.page.guard import Doors
from edge.page.hub import Hub
from edge.page.server import PageServer, listening, split_address
from edge.station.events import EventRecord
from edge.station.sinks import SinkContext
from edge.station.status import StationStatus

KNOWN = frozenset("token token_file hosts cert_file key_file".split())
SHORTEST_TOKEN = 8


class PageSink:
    """See edge.station.sinks.Sink."""

    def __init__(self, url: str, context: SinkContext) -> None:
        """Open the page at `url` (ADDRESS:PORT).

        Raises InputError for a bad address or option, or an open address without a token; MissingError if the port is
        taken; ImportError without starlette and uvicorn.
        """
        options = Options("page", context.options, KNOWN)
        host, port = split_address(url)
        token = options.secret("token")
        _check_token(token, host, url)
        more = frozenset(name.strip().lower() for name in options.text("hosts").split(",") if name.strip())
        doors = Doors(Names(more), Sessions(token) if token else None)
        tls = _tls(options)
        self._hub = Hub(context)
        app = page_app(self._hub, doors, secure=tls is not None)
        self._server = PageServer(app, listening(host, port), self._hub.bind, tls)

    def publish(self, status: StationStatus) -> None:
        """See edge.station.sinks.Sink."""
        self._hub.publish(status)

    def event(self, record: EventRecord, change: str) -> None:
        """The page reads events from the store, where also their pictures and marks are."""

    def close(self) -> None:
        """End the server."""
        self._server.close()
        self._hub.close()


def _check_token(token: str, host: str, url: str) -> None:
    if token and len(token) < SHORTEST_TOKEN:
        raise InputError(
            "the page's token is too short",
            f"{len(token)} characters, at least {SHORTEST_TOKEN}",
            "openssl rand -hex 16 makes one",
        )
    if not token and not is_loopback(host):
        raise InputError(
            f"the page at {url} needs a token",
            "everybody who reaches this address could acknowledge alarms",
            "set token_file in [sink_options.page] or EDGE_PAGE_TOKEN, or use 127.0.0.1",
        )


def _tls(options: Options) -> tuple[Path, Path] | None:
    certificate, key = options.file("cert_file"), options.file("key_file")
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InputError("TLS of the page is half set", "cert_file and key_file belong together", "give both")
    return certificate, key
