"""Around every request: our own names only, session, size and time limits, and headers that keep other sites out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from edge.page.access import COOKIE, Names, Sessions, TryLimit, foreign_action

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

SEND_S = 8.0  # a viewer that takes nothing for so long is dropped
BODY_S = 5.0
MAX_BODY = 4096
OPEN_PATHS = frozenset(("/", "/page.css", "/page.js", "/icon.svg", "/login", "/session"))
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
     b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]  # fmt: skip
REASONS = {400: "bad request", 401: "token needed", 403: "refused", 408: "too slow", 413: "too large", 429: "wait"}


class Gone(Exception):
    """The viewer has left, or takes nothing any more."""


@dataclass
class Doors:
    """Who may come in. `sessions` None: no token is asked for."""

    names: Names
    sessions: Sessions | None = None
    tries: TryLimit = field(default_factory=TryLimit)

    def has_session(self, headers: dict[str, str]) -> bool:
        """Whether the request carries our cookie."""
        if self.sessions is None:
            return True
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == COOKIE and self.sessions.is_good(value, time.time()) for name, _, value in pairs)

    def try_token(self, given: str, client: str, now_s: float) -> int:
        """200 if `given` is the token, 401 if not, 429 if there were too many wrong ones."""
        if self.sessions is None:
            return 200
        if self.tries.wait_s(client, now_s) > 0:
            return 429
        if self.sessions.is_token(given):
            return 200
        self.tries.failed(client, now_s)
        return 401


class Guard:
    """ASGI middleware. What passes has a known Host, a session where one is needed, and a small body."""

    def __init__(self, app: App, doors: Doors) -> None:
        self._app, self._doors = app, doors
        self.failures = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        scope["edge.headers"] = headers
        answer = _Answer(scope, headers, send)
        try:
            status, why = self._refusal(scope, headers)
            body = b""
            if not status and scope["method"] == "POST":
                status, why, body = await _read_body(headers, receive)
            if status:
                await answer.refuse(status, why)
            else:
                await self._app(scope, _replay(body, receive), answer.send)
        except Gone:
            scope.get("edge.abort", lambda: None)()
            await asyncio.sleep(0)  # let the connection notice before the server asks whether we have finished
        except Exception:  # told once in full; the viewer gets a plain 500
            self.failures += 1
            if self.failures == 1:
                logging.getLogger(__name__).exception("the page failed at %s", scope["path"])
            await answer.refuse(500, "this is a fault of ours")

    def _refusal(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> tuple[int, str]:
        if not self._doors.names.are_ours(headers.get("host", "")):
            return 400, "this name is not ours: add it to hosts in [sink_options.page]"
        if scope["method"] == "POST" and (why := foreign_action(headers)):
            return 403, why
        if scope["path"] in OPEN_PATHS or self._doors.has_session(headers):
            return 0, ""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or scope["method"] != "GET":
            return 401, "send the token to /login"
        status = self._doors.try_token(given, client_of(scope), time.monotonic())
        return (0, "") if status == 200 else (status, "wrong token")


class _Answer:
    """Sends with our headers and a time limit."""

    def __init__(self, scope: MutableMapping[str, Any], headers: dict[str, str], send: Send) -> None:
        self._scope, self._send = scope, send
        # A GET with a body is answered at once and its body is never read.
        unread = scope["method"] != "POST" and ("content-length" in headers or "transfer-encoding" in headers)
        self._last = [(b"connection", b"close")] if unread else []
        self._started = False

    async def send(self, message: Message) -> None:
        """Send one ASGI message. Raises Gone if the viewer takes nothing."""
        if message["type"] == "http.response.start":
            self._started = True
            given = {key for key, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *((k, v) for k, v in HEADERS if k not in given),
                *self._last,
            ]
        try:
            await asyncio.wait_for(self._send(message), SEND_S)
        except asyncio.TimeoutError:
            raise Gone from None

    async def refuse(self, status: int, why: str) -> None:
        """Answer with one plain line and close."""
        if self._started:
            raise Gone
        self._last = [(b"connection", b"close")]
        body = f"{REASONS.get(status, 'error')}: {why}\n".encode()
        head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": head})
        await self.send({"type": "http.response.body", "body": body})


def client_of(scope: MutableMapping[str, Any]) -> str:
    """The client's address."""
    client = scope.get("client")
    return str(client[0]) if client else "?"


async def _read_body(headers: dict[str, str], receive: Receive) -> tuple[int, str, bytes]:
    """(0, "", body), or (status, why, nothing)."""
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()) or int(length) > MAX_BODY:
        return 413, f"more than {MAX_BODY} bytes", b""
    end_s, body, more = time.monotonic() + BODY_S, b"", True
    while more:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, end_s - time.monotonic()))
        except asyncio.TimeoutError:
            return 408, f"the body did not come within {BODY_S:g} s", b""
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            return 413, f"more than {MAX_BODY} bytes", b""
    return 0, "", body


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then what follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
