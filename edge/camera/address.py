"""Camera addresses: which kind of source a string names, and how it may be shown to people."""

from __future__ import annotations

import re
from pathlib import Path

from edge.errors import MissingError

_SCHEME = re.compile(r"^([a-z][a-z0-9+]{1,15}):(?!\\)")
_LOGIN = re.compile(r"(?<=://)[^/@\s\"']+@")
_SECRET = re.compile(r"(?i)\b((?:user-id|user-pw|user|password|passwd|pwd|token|key)=)[^&!\s]+")


def scheme_of(url: str) -> str:
    """ "v4l2" for 0 and /dev/...; the scheme for scheme:...; "folder" or "clip" for a path that is there.

    Raises MissingError, with the cameras that this machine has, if `url` is none of these.
    """
    if url.isdecimal() or url.startswith("/dev/"):
        return "v4l2"
    named = _SCHEME.match(url)
    if named:
        return named.group(1)
    path = Path(url).expanduser()
    if path.is_dir():
        return "folder"
    if path.is_file():
        return "clip"
    raise MissingError(f"no camera {redacted(url)}", "there is no such file or folder", cameras_here())


def redacted(text: str) -> str:
    """`text` (an address, a pipeline, an error message) without user names, passwords and tokens."""
    return _SECRET.sub(r"\1***", _LOGIN.sub("***@", text))


def video_devices(root: Path = Path("/dev")) -> list[str]:
    """V4L2 devices of this machine, those with a stable name first."""
    stable = sorted(str(path) for path in (root / "v4l" / "by-id").glob("*"))
    return stable + sorted(str(path) for path in root.glob("video[0-9]*"))


def cameras_here() -> str:
    """For error messages: the cameras that can be named on this machine."""
    found = video_devices()
    return f"cameras here: {', '.join(found)}" if found else "no camera is connected (no /dev/video*); connect one"
