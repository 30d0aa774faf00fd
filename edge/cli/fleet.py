"""`edge-fleet`: many stations in one table, and a simulation of many stations."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.cli.base import main_of
from edge.errors import CheckFailed, InputError, MissingError, one_line
from edge.fleet.simulate import credentials, simulate
from edge.fleet.view import Fleet, Row
from edge.fleet.watcher import Watcher
from edge.listeners.address import broker_at
from edge.station.sinks import Option

COLOURS = {
    "ok": "black on green",
    "alarm": "bold white on red",
    "fault": "black on yellow",
    "starting": "white on blue",
    "offline": "white on grey37",
}
BrokerUrl = Annotated[str, typer.Argument(help="mqtt://[USER@]HOST[:PORT][/PREFIX], mqtts:// with TLS")]
PasswordFile = Annotated[Path | None, typer.Option(help="file with the broker's password; else $EDGE_MQTT_PASSWORD")]
CaFile = Annotated[Path | None, typer.Option(help="certificate of the authority that vouches for the broker")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)


@app.command()
def watch(
    broker: BrokerUrl,
    once: Annotated[bool, typer.Option("--once", help="show what is known after --wait seconds, then end")] = False,
    wait: Annotated[float, typer.Option(min=0.1, max=3600, help="seconds to listen with --once")] = 2.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON object per change; with --once one per station")
    ] = False,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
) -> None:
    """Show all stations of a broker in one table, those that need somebody first. Ctrl-C ends it."""
    address = broker_at(broker)
    fleet, lock, news = Fleet(address.prefix), threading.Lock(), threading.Event()

    def heard(topic: str, payload: bytes) -> None:
        with lock:
            station = fleet.take(topic, payload, time.monotonic())
            if station and as_json and not once:
                print(json.dumps(asdict(fleet.row(station, time.monotonic()))), flush=True)
        news.set()

    def shown() -> Table:
        with lock:
            return _table(fleet, time.monotonic())

    watcher = Watcher(address, credentials(_options(password_file, ca_file)), heard)
    try:
        if once:
            time.sleep(wait)
            _show_once(fleet, as_json)
        elif as_json:
            threading.Event().wait()
        else:
            _live(shown, news)
    finally:
        watcher.close()


@app.command("simulate")
def simulate_command(
    stations: Annotated[int, typer.Argument(min=1, max=2000, help="how many stations")],
    broker: BrokerUrl,
    events: Annotated[int, typer.Option(min=1, max=100_000, help="events of each station")] = 20,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
) -> None:
    """Let many made-up stations send events through a real broker, and count what arrives."""
    with tempfile.TemporaryDirectory(prefix="edge-fleet-") as folder:
        result = simulate(broker, stations, events, _options(password_file, ca_file), Path(folder))
    print(
        f"simulated: {result.stations} stations, {result.sent} events in {result.seconds:.1f} s, "
        f"{result.rate:.0f} messages/s, repeated {result.repeated}, lost {result.lost}"
    )
    if result.lost:
        raise CheckFailed(f"{result.lost} events were lost", f"{result.sent} were sent", "look at the broker's log")


def _options(password_file: Path | None, ca_file: Path | None) -> dict[str, Option]:
    options: dict[str, Option] = {}
    password = os.environ.get("EDGE_MQTT_PASSWORD", "")
    if password_file is not None:
        try:
            password = password_file.read_text(encoding="utf-8").splitlines()[0].strip()
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise InputError(
                f"cannot read {password_file}", str(error), "put the password in its first line"
            ) from error
    if password:
        options["password"] = password
    if ca_file is not None:
        if not ca_file.is_file():
            raise MissingError(f"no file {ca_file}", "it is not there", "check the path")
        options["ca_file"] = str(ca_file)
    return options


def _show_once(fleet: Fleet, as_json: bool) -> None:
    now_s = time.monotonic()
    if as_json:
        for row in fleet.rows(now_s):
            print(json.dumps(asdict(row)))
    else:
        Console().print(_table(fleet, now_s))


def _live(make: Callable[[], Table], news: threading.Event) -> None:
    with Live(make(), screen=False, auto_refresh=False) as live:
        while True:
            news.wait(1.0)
            news.clear()
            live.update(make(), refresh=True)
            time.sleep(0.2)


def _table(fleet: Fleet, now_s: float) -> Table:
    table = Table(title=fleet.summary(now_s), title_justify="left", expand=False)
    for name, justify in (
        ("station", "left"),
        ("verdict", "left"),
        ("score", "right"),
        ("threshold", "right"),
        ("FPS", "right"),
        ("engine ms", "right"),
        ("alarm or fault", "left"),
        ("waiting", "right"),
        ("bundle", "left"),
        ("heard", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in fleet.rows(now_s):
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[Text]:
    plain = (
        _said(row.score),
        _said(row.threshold),
        _said(row.fps, ".1f"),
        _said(row.engine_p50_ms, ".1f"),
        row.reason or row.alarm,
        str(row.waiting or ""),
        row.bundle,
        f"{row.age_s:.0f} s",
    )
    verdict = Text(f" {row.verdict.upper()} ", style=COLOURS[row.verdict])
    return [Text(one_line(row.station)), verdict, *(Text(one_line(text)) for text in plain)]


def _said(value: float | None, form: str = ".4g") -> str:
    return "" if value is None else format(value, form)


main = main_of(app)
