"""The bundle that a station runs: the one that was named, else the installed current one."""

from __future__ import annotations

import os
from pathlib import Path

from edge.bundle import Bundle, open_bundle
from edge.errors import InputError
from edge.signature import load_public_key, open_signed

DEFAULT_ROOT = "/opt/edge"
DEFAULT_KEY = Path("/etc/edge/trusted.pub")


def edge_root() -> Path:
    """The folder of the installed station: $EDGE_ROOT, else /opt/edge."""
    return Path(os.environ.get("EDGE_ROOT", DEFAULT_ROOT))


def bundle_path(named: Path | None) -> Path:
    """The bundle that was named, else the installed current one. Raises InputError when nothing is installed."""
    if named is not None:
        return named
    installed = edge_root() / "current" / "bundle.edge"
    if not installed.is_file():
        raise InputError(
            "no bundle to run", f"none was named and {installed} is not there", "use --bundle NAME.edge, or edge-flash"
        )
    return installed


def state_folder(named: Path | None) -> Path:
    """Where learned thresholds live: $EDGE_ROOT/state for the installed bundle, else NAME.state beside the bundle."""
    return edge_root() / "state" if named is None else named.with_name(f"{named.stem}.state")


def trusted_bundle(named: Path | None, key: Path | None) -> Bundle:
    """Open the bundle. Its signature is checked with `key`; the installed one with the device's own key if it has one.

    Raises InputError or CheckFailed as edge.bundle and edge.signature do.
    """
    if key is None and named is None and DEFAULT_KEY.is_file():
        key = DEFAULT_KEY
    path = bundle_path(named)
    return open_bundle(path) if key is None else open_signed(path, load_public_key(key))
