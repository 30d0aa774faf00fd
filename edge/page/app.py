"""The routes of the page. Nothing here reads a path from a request: ids are matched, files have names of ours."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import InputError
from edge.listeners.metrics import metrics_text
from edge.page.access import COOKIE, SESSION_S
from edge.page.guard import App, Doors, Guard, client_of
from edge.page.hub import MAX_VIEWERS, Hub
from edge.report.reading import EventReader
from edge.station.commands import Acknowledge, Command, MarkEvent, ResetAlarm, ShelveAlarm

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Handler = Callable[["Request"], Awaitable["Response"]]
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
BOUNDARY = b"edge-frame"
PICTURES = {"jpg": ("overlay.jpg", "image/jpeg"), "png": ("frame.png", "image/png")}


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    who: str = Field(default="page", min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f]+$")


class AcknowledgeWish(_Wish):
    """Body of POST /acknowledge: everything up to alarm number `up_to`, the newest one that the operator saw."""

    up_to: int = Field(ge=1, le=2**53)


class ShelveWish(_Wish):
    """Body of POST /shelve; 0 seconds end it."""

    seconds: float = Field(ge=0.0, le=86_400.0, allow_inf_nan=False)


class MarkWish(_Wish):
    """Body of POST /mark."""

    event: str = Field(pattern=r"^[AF]\d{1,12}$")
    mark: Literal["false-alarm", "true-alarm", "none"]


class TokenWish(BaseModel):
    """Body of POST /login."""

    model_config = ConfigDict(extra="forbid", strict=True)
    token: str = Field(max_length=200)


def page_app(hub: Hub, doors: Doors, *, secure: bool) -> App:
    """The whole page as an ASGI application. Raises ImportError without starlette or prometheus-client."""
    import prometheus_client  # noqa: F401  # said here, not at the first scrape
    from starlette.applications import Starlette
    from starlette.routing import Route

    routes = [
        *(Route(path, _file(name, kind)) for path, (name, kind) in FILES.items()),
        Route("/stream", _stream(hub, hub.status_lines, "text/event-stream")),
        Route("/live.mjpeg", _stream(hub, lambda: hub.frames(BOUNDARY), _multipart())),
        Route("/live", _live(hub)),
        Route("/palette", _palette()),
        Route("/metrics", _metrics(hub)),
        Route("/pictures/{event}", _picture(hub.context.events_folder)),
        Route("/session", _session(doors)),
        Route("/login", _login(doors, secure), methods=["POST"]),
        Route("/acknowledge", _acknowledge(hub), methods=["POST"]),
        Route("/reset", _reset(hub), methods=["POST"]),
        Route("/shelve", _shelve(hub), methods=["POST"]),
        Route("/mark", _mark(hub), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), doors)


def _file(name: str, kind: str) -> Handler:
    from starlette.responses import Response

    content = (files("edge.page") / "static" / name).read_bytes()

    async def serve(request: Request) -> Response:
        return Response(content, media_type=kind)

    return serve


def _stream(hub: Hub, lines: Callable[[], AsyncIterator[bytes]], kind: str) -> Handler:
    from starlette.responses import Response, StreamingResponse

    class Counted(StreamingResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            hub.viewers += 1
            try:
                await super().__call__(scope, receive, send)
            finally:
                hub.viewers -= 1

    async def serve(request: Request) -> Response:
        if hub.viewers >= MAX_VIEWERS:
            return Response(f"there are {MAX_VIEWERS} viewers already\n", 503, {"retry-after": "5"})
        return Counted(lines(), media_type=kind)

    return serve


def _multipart() -> str:
    return f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"


def _live(hub: Hub) -> Handler:
    """Frame and heat map of one moment: length of the frame (uint32, big-endian), its JPEG, then the heat map's."""
    from starlette.responses import Response

    async def serve(request: Request) -> Response:
        picture = hub.picture()
        if picture is None:
            return Response(status_code=204)
        size = len(picture.frame_jpeg).to_bytes(4, "big")
        headers = {"x-sequence": str(picture.sequence)}
        return Response(
            size + picture.frame_jpeg + picture.heatmap_jpeg, headers=headers, media_type="application/octet-stream"
        )

    return serve


def _palette() -> Handler:
    """The 256 colours (RGB) of the heat map from cold to hot, so that the page can make the cold ones transparent."""
    from starlette.responses import Response

    levels = np.arange(256, dtype=np.uint8).reshape(1, 256)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[0, :, ::-1].tobytes()

    async def serve(request: Request) -> Response:
        return Response(colours, media_type="application/octet-stream")

    return serve


def _metrics(hub: Hub) -> Handler:
    from starlette.responses import Response

    async def serve(request: Request) -> Response:
        return Response(metrics_text(hub.status), media_type="text/plain; version=0.0.4; charset=utf-8")

    return serve


def _picture(folder: Path) -> Handler:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response

    async def serve(request: Request) -> Response:
        found = re.fullmatch(r"([AF][0-9]{1,12})\.(jpg|png)", request.path_params["event"])
        if found is None:
            return Response("no such picture\n", 404)
        suffix, kind = PICTURES[found[2]]
        path = folder / "pictures" / f"{found[1]}-{suffix}"
        try:
            content = await run_in_threadpool(path.read_bytes)
        except OSError:
            return Response("no such picture\n", 404)
        return Response(content, media_type=kind)

    return serve


def _session(doors: Doors) -> Handler:
    from starlette.responses import JSONResponse

    async def serve(request: Request) -> JSONResponse:
        return JSONResponse({"open": doors.has_session(request.scope["edge.headers"])})

    return serve


def _login(doors: Doors, secure: bool) -> Handler:
    from starlette.responses import Response

    async def serve(request: Request) -> Response:
        wish = _parsed(TokenWish, await request.body())
        if wish is None:
            return Response('expected {"token": "..."}\n', 400)
        client, now_s = client_of(request.scope), time.monotonic()
        status = doors.try_token(wish.token, client, now_s)
        if status == 429:
            wait_s = int(doors.tries.wait_s(client, now_s)) + 1
            return Response(f"too many wrong tokens, wait {wait_s} s\n", 429, {"retry-after": str(wait_s)})
        answer = Response("welcome\n" if status == 200 else "wrong token\n", status)
        if status == 200 and doors.sessions is not None:
            value = doors.sessions.new(time.time())
            answer.set_cookie(COOKIE, value, SESSION_S, httponly=True, samesite="strict", secure=secure)
        return answer

    return serve


def _acknowledge(hub: Hub) -> Handler:
    return _wish(hub, AcknowledgeWish, lambda w: Acknowledge(w.who, w.up_to))


def _reset(hub: Hub) -> Handler:
    return _wish(hub, _Wish, lambda w: ResetAlarm(w.who))


def _shelve(hub: Hub) -> Handler:
    return _wish(hub, ShelveWish, lambda w: ShelveAlarm(w.who, w.seconds))


def _mark(hub: Hub) -> Handler:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response

    ask = _wish(hub, MarkWish, lambda w: MarkEvent(w.who, w.event, w.mark))

    async def serve(request: Request) -> Response:
        wish = _parsed(MarkWish, await request.body())
        why = "" if wish is None else await run_in_threadpool(_unmarkable, hub.context.events_folder, wish)
        return Response(f"{why}\n", 409) if why else await ask(request)

    return serve


def _unmarkable(folder: Path, wish: MarkWish) -> str:
    """Why the store would refuse this mark; "" if it would not."""
    try:
        reader = EventReader(folder)
    except InputError as error:
        return str(error)
    record = reader.get(wish.event)
    reader.close()
    if record is None:
        return f"there is no event {wish.event}"
    return "no picture was kept" if wish.mark == "false-alarm" and not record.frame_picture else ""


def _wish(hub: Hub, kind: type[Any], command: Callable[[Any], Command]) -> Handler:
    from starlette.responses import Response

    async def serve(request: Request) -> Response:
        wish = _parsed(kind, await request.body())
        if wish is None:
            return Response("cannot read this request\n", 400)
        asked = hub.ask(command(wish))
        return Response("asked\n", 202) if asked else Response("the station is flooded with commands\n", 503)

    return serve


def _parsed(kind: type[Any], body: bytes) -> Any:
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError:
        return None
