"""Who may see the page and what they may do. Pure: headers, addresses and time in, decisions out.

With a token: it is sent once, and a cookie that only the token can make lets in from then on. Without a token only
this machine's own addresses are served. Names other than ours are refused (a foreign name that resolves to us), and so
are changes that another site's page asks for.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

SESSION_S = 12 * 3600
COOKIE = "edge_session"
ACTION_HEADER = "x-edge-page"
TRIES, TRIES_WINDOW_S = 5, 60.0
ALL_TRIES = 60
MAX_CLIENTS = 1000


class Sessions:
    """Cookies made from the token alone, so that they outlive a restart and end when the token is changed."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.sha256(b"edge page session" + token.encode()).digest()
        self._token = token.encode()

    def is_token(self, given: str) -> bool:
        """Whether `given` is the token, in constant time."""
        return hmac.compare_digest(given.encode(errors="replace"), self._token)

    def new(self, now_wall_s: float) -> str:
        """A cookie value good for twelve hours."""
        body = f"{int(now_wall_s) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{body}.{self._sign(body)}"

    def is_good(self, cookie: str, now_wall_s: float) -> bool:
        """Whether `cookie` is ours and not over."""
        body, _, mark = cookie.rpartition(".")
        expires = body.partition(".")[0]
        if not hmac.compare_digest(mark.encode(errors="replace"), self._sign(body).encode()):
            return False
        return expires.isascii() and expires.isdecimal() and now_wall_s < int(expires)

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(errors="replace"), hashlib.sha256).hexdigest()


class TryLimit:
    """Wrong tokens: five a minute per client address, sixty a minute from all. Counts failures only."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=ALL_TRIES)

    def wait_s(self, client: str, now_s: float) -> float:
        """Seconds until `client` may try again; 0: now."""
        mine = self._failed.get(client, deque())
        waits = [0.0]
        if len(mine) >= TRIES:
            waits.append(TRIES_WINDOW_S - (now_s - mine[-TRIES]))
        if len(self._all) >= ALL_TRIES:
            waits.append(TRIES_WINDOW_S - (now_s - self._all[0]))
        return max(waits)

    def failed(self, client: str, now_s: float) -> None:
        """Note a wrong token."""
        self._failed.setdefault(client, deque(maxlen=TRIES)).append(now_s)
        self._failed.move_to_end(client)
        self._all.append(now_s)
        while len(self._failed) > MAX_CLIENTS:
            self._failed.popitem(last=False)


@dataclass(frozen=True)
class Names:
    """The names under which we may be called: addresses, localhost, this machine's name, and what the config adds."""

    more: frozenset[str] = field(default_factory=frozenset)

    def are_ours(self, host_header: str) -> bool:
        """Whether a Host header names us. An address cannot be a foreign name that resolves to us."""
        host = host_without_port(host_header)
        if not host:
            return False
        try:
            ipaddress.ip_address(host)
            return True
        except ValueError:
            own = socket.gethostname().lower()
            return host in {"localhost", own, own.partition(".")[0], f"{own.partition('.')[0]}.local"} | self.more


def host_without_port(host_header: str) -> str:
    """Lower-case name or address of a Host header, "" if it is none."""
    text = host_header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def foreign_action(headers: Mapping[str, str]) -> str:
    """Why a request that changes something is refused: it does not come from our own page. "" if it does."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "it comes from another site"
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        return "its origin is another site"
    if ACTION_HEADER not in headers:
        return f"it lacks the header {ACTION_HEADER}"
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "it is not JSON"
    return ""
