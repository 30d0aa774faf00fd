"""`edge-events`: what happened at a station. Works while the station runs."""

from __future__ import annotations

import csv
import json
import shutil
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge.cli.base import main_of
from edge.errors import InputError
from edge.station.collect import Collected, collect, normal_folder
from edge.station.events import COLUMNS, MARKS, EventRecord, EventStore

Folder = Annotated[Path, typer.Option("--events", help="folder of the event store")]
Id = Annotated[str, typer.Argument(help="A17 (or 17) for an alarm, F5 for a fault")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)


@app.command("list")
def list_events(
    events: Folder = Path("events"),
    kind: Annotated[str, typer.Option(help="alarm, fault or all")] = "all",
    limit: Annotated[int, typer.Option(min=1, help="newest so many")] = 50,
    unacknowledged: Annotated[
        bool, typer.Option("--unacknowledged", help="only alarms that wait for somebody")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
) -> None:
    """List events, newest first."""
    if kind not in ("alarm", "fault", "all"):
        raise InputError(f"no kind {kind}", "there are alarm, fault and all", "use one of them")
    where = "(? = 'all' OR kind = ?)" + (" AND kind = 'alarm' AND acknowledged_at IS NULL" if unacknowledged else "")
    with closing(EventStore(events, must_exist=True)) as store:
        found = store.find(where, (kind, kind), limit)
    for record in found:
        print(json.dumps(asdict(record)) if as_json else _line(record))
    if not found and not as_json:
        print(f"no events in {events}")


@app.command()
def show(
    event: Id,
    events: Folder = Path("events"),
    as_json: Annotated[bool, typer.Option("--json", help="as one JSON object")] = False,
) -> None:
    """Show one event with everything that is known of it, and its history."""
    with closing(EventStore(events, must_exist=True)) as store:
        record = store.get(event)
        journal = store.journal(record.id)
    if as_json:
        print(json.dumps({**asdict(record), "journal": journal}))
        return
    for column in COLUMNS:
        value = getattr(record, column)
        if value not in (None, ""):
            print(f"{column:16} {_when(value) if column.endswith('_at') else value}")
    for at, change, who in journal:
        print(f"{_when(at)}  {change} ({who})")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="new folder for events.csv and the pictures")],
    events: Folder = Path("events"),
    kind: Annotated[str, typer.Option(help="alarm, fault or all")] = "all",
) -> None:
    """Write events as CSV with copies of their pictures into a new folder."""
    if folder.exists():
        raise InputError(f"{folder} is there already", "an export never mixes with older files", "name a new folder")
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    with closing(EventStore(events, must_exist=True)) as store:
        found = store.find("(? = 'all' OR kind = ?)", (kind, kind), limit=1_000_000)
    try:
        pictures = _write_export(temporary, events, found)
        temporary.rename(folder)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}", error.strerror or str(error), "free space or name another"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"exported: {len(found)} events, {pictures} pictures, {folder / 'events.csv'}")


@app.command()
def mark(
    event: Id,
    as_what: Annotated[str, typer.Argument(help=", ".join(MARKS))],
    events: Folder = Path("events"),
    who: Annotated[str, typer.Option(help="your name, for the journal")] = "operator",
) -> None:
    """Mark an event. The frame of a false alarm joins the normal set in EVENTS/normal."""
    with closing(EventStore(events, must_exist=True)) as store:
        copy = store.mark(event, as_what, who)
    print(f"marked: {event} {as_what}" + (f", {copy}" if copy else ""))
    if copy:
        print(f"next: edge-run --learn 300 ... to refit the threshold, or edge-events collect DATA --events {events}")


@app.command("collect")
def collect_marked(
    data: Annotated[Path, typer.Argument(help="data folder that false alarms join: MVTec layout, or plain")],
    events: Annotated[list[Path] | None, typer.Option("--events", help="event store; name several stations'")] = None,
    defects: Annotated[Path | None, typer.Option(help="folder that true alarms join, as known anomalies")] = None,
) -> None:
    """Copy marked frames into the folders of the next training: false alarms are normal, true alarms are defects."""
    stores = events or [Path("events")]
    normals = collect(stores, "false-alarm", normal_folder(data))
    print(f"collected: {_counted(normals, 'false alarms')}")
    known = ""
    if defects is not None:
        print(f"collected: {_counted(collect(stores, 'true-alarm', defects), 'true alarms')}")
        known = f" --known-anomalies {defects}" if defects.is_dir() else ""
    print(f"next: edge-train --data {data}{known} --out NEW-RUN")


@app.command()
def acknowledge(
    event: Id,
    events: Folder = Path("events"),
    who: Annotated[str, typer.Option(help="your name, for the journal")] = "operator",
) -> None:
    """Note in the store that all alarms up to this one were seen. A running station has its own acknowledge inputs."""
    with closing(EventStore(events, must_exist=True)) as store:
        record = store.get(event)
        if record.kind != "alarm":
            raise InputError(f"{record.id} is no alarm", "only alarms are acknowledged", "name an alarm such as A17")
        store.acknowledge(record.number, time.time(), who)
    print(f"acknowledged: alarms up to {record.id}")


def _counted(found: Collected, what: str) -> str:
    text = f"{found.added} {what} into {found.folder}"
    if found.there:
        text += f", {found.there} were there already"
    if found.lost:
        text += f"; pictures are gone of {', '.join(found.lost)}"
    return text


def _write_export(target: Path, events: Path, found: list[EventRecord]) -> int:
    target.mkdir(parents=True)
    copied = 0
    with (target / "events.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for record in found:
            writer.writerow(asdict(record).values())
            for name in filter(None, (record.frame_picture, record.overlay_picture)):
                shutil.copyfile(events / name, target / Path(name).name)
                copied += 1
    return copied


def _line(record: EventRecord) -> str:
    lasted = "" if record.ended_at is None else f" for {record.ended_at - record.began_at:.1f} s"
    if record.kind == "fault":
        return f"{record.id:6} {_when(record.began_at)}{lasted}  {record.reason}"
    state = "acknowledged" if record.acknowledged_at else "UNACKNOWLEDGED"
    mark_text = "" if record.mark == "none" else f", {record.mark}"
    pictures = record.overlay_picture or record.note or "no picture"
    score = f"score {record.score or 0:.4g} over {record.threshold or 0:.4g}"
    return f"{record.id:6} {_when(record.began_at)}{lasted}  {score}, {state}{mark_text}  {pictures}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


main = main_of(app)
