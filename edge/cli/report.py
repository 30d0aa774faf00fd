"""`edge-report`: a bundle or a shift as one HTML page that prints well."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from edge.bundle import open_bundle
from edge.cli.base import main_of, stage
from edge.errors import InputError, UsageError
from edge.files import write_atomic
from edge.report.bundle_page import bundle_page
from edge.report.reading import EventReader
from edge.report.shift import settled, shift_of
from edge.report.shift_page import shift_page

UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def command(
    source: Annotated[Path, typer.Argument(help="NAME.edge, or the folder of an event store")],
    out: Annotated[Path | None, typer.Option(help="the page; without it NAME.html or shift-TIME.html here")] = None,
    begin: Annotated[
        str, typer.Option("--from", help="begin of the shift: 2026-05-04T06:00, or 8h, 30m, 2d before its end")
    ] = "8h",
    end: Annotated[str, typer.Option("--to", help="its end: now, or a time like 2026-05-04T14:00")] = "now",
) -> None:
    """Report on a bundle (what it is), or on a shift (what happened)."""
    began_s = time.monotonic()
    if source.is_dir():
        path, html, what = _shift(source, out, begin, end)
    else:
        html = bundle_page(open_bundle(source))
        path, what = out or Path(f"{source.stem}.html"), "bundle"
    write_atomic(path, html.encode())
    stage("report", time.monotonic() - began_s, f"{what}, {len(html) / 1e6:.2f} MB, {path}")


def _shift(folder: Path, out: Path | None, begin: str, end: str) -> tuple[Path, str, str]:
    last_s = time.time() if end == "now" else _moment(end, "--to")
    ago = re.fullmatch(r"(\d{1,6})([mhd])", begin)
    first_s = last_s - float(ago[1]) * UNITS_S[ago[2]] if ago else _moment(begin, "--from")
    if first_s >= last_s:
        raise UsageError("the shift has no length", f"{begin} is not before {end}", "put --from before --to")
    with closing(EventReader(folder)) as reader:
        events = settled(reader.between(first_s, last_s), _started_s(folder))
    shift = shift_of([e for e in events if e.ended_at is None or e.ended_at >= first_s], first_s, last_s)
    name = f"shift-{time.strftime('%Y-%m-%d-%H%M', time.localtime(first_s))}.html"
    html = shift_page(shift, folder, _station_of(folder))
    return out or Path(name), html, f"{len(shift.alarms)} alarms, {len(shift.faults)} faults"


def _moment(text: str, option: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"cannot read {option} {text}", str(error), "write 2026-05-04T06:00, or for --from 8h, 30m, 2d"
        ) from None


def _started_s(folder: Path) -> float:
    """When the station was started last: it writes its configuration then."""
    try:
        return (folder / "config.json").stat().st_mtime
    except OSError:
        return float("-inf")


def _station_of(folder: Path) -> str:
    """The station's name from the configuration that it left in its store."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return folder.resolve().name
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / 'config.json'}", str(error), "move it away") from error
    return str(config.get("name", "")) if isinstance(config, dict) else folder.name


main = main_of(command)
