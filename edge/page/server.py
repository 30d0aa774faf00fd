"""uvicorn in a thread of its own, on a socket that is opened first, with limits for slow and greedy clients."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from edge.errors import InputError, MissingError
from edge.page.guard import App, Receive, Send

REQUEST_S = 6.0  # a request, head and body, must be here by then
MAX_CONNECTIONS = 64
MAX_HEAD = 16 * 1024
START_S = 10.0
SEND_BUFFER = 256 * 1024


def split_address(address: str) -> tuple[str, int]:
    """("127.0.0.1", 8080) from "127.0.0.1:8080" or "[::1]:8080". Raises InputError for anything else."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    good = bool(colon) and port.isascii() and port.isdecimal() and 0 <= int(port) <= 65535
    try:
        ipaddress.ip_address(host)
    except ValueError:
        good = good and host == "localhost"
    if not good:
        raise InputError(
            f"cannot read page address {address[:100]}", "it is not ADDRESS:PORT", "write for example 127.0.0.1:8080"
        )
    return host, int(port)


def listening(host: str, port: int) -> socket.socket:
    """A bound socket. Raises MissingError if the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # what one viewer may leave unread
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise MissingError(
            f"cannot open the page at {host}:{port}",
            error.strerror or str(error),
            "choose another port, or stop what listens there",
        ) from error
    return sock


class PageServer:
    """Serves `app` until `close`. `begin(loop)` is called in the server's loop before the first request."""

    def __init__(
        self,
        app: App,
        sock: socket.socket,
        begin: Callable[[asyncio.AbstractEventLoop], None],
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        import uvicorn

        certificate, key = tls or (None, None)
        config = uvicorn.Config(
            app,
            http=_strict_protocol(),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MAX_HEAD,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self._server = uvicorn.Server(config)
        self._sock, self._begin = sock, begin
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        end_s = time.monotonic() + START_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < end_s:
            time.sleep(0.01)
        if not self._server.started:
            self.close()
            raise MissingError("the page does not start", "its server ended at once", "see the messages above")

    def close(self) -> None:
        """End the server; viewers are cut off after a second."""
        self._server.should_exit = True
        self._thread.join(4.0)
        self._sock.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._begin(asyncio.get_running_loop())
        await self._server.serve(sockets=[self._sock])


def _strict_protocol() -> type[asyncio.Protocol]:
    """uvicorn's h11 protocol with a deadline for requests, a limit for connections, and a way to hang up at once."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class StrictProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app = _with_abort(self.app, transport.abort)
            if len(self.connections) > MAX_CONNECTIONS:
                transport.abort()
            else:
                self._deadline = self.loop.call_later(REQUEST_S, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            is_whole = self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
            if is_whole:
                self._relax()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._relax()
            super().connection_lost(exc)

        def _relax(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return StrictProtocol


def _with_abort(app: Any, abort: Callable[[], None]) -> Any:
    async def with_abort(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        scope["edge.abort"] = abort
        await app(scope, receive, send)

    return with_abort
