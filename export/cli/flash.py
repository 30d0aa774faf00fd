"""edge-flash: from the desk to the station, over the system's OpenSSH."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from edge.cli.base import main_of
from edge.cli.install import status_lines
from edge.errors import UsageError
from export.flash import Flasher, Parcel
from export.flash_bootstrap import Bootstrap
from export.flash_hosts import read_hosts, require_all, staged
from export.flash_remote import Remote

Paths = Annotated[
    list[str] | None, typer.Argument(metavar="[USER@HOST] [NAME.edge]", help="the station, and the signed bundle")
]


def flash(
    where_and_what: Paths = None,
    hosts: Annotated[
        Path | None, typer.Option(help="file with one USER@HOST a line: the first alone, then the rest")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="what is installed there")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="back to the release before")] = False,
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="first installation, or update of the program")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="releases to keep on the station")] = 3,
    root: Annotated[str, typer.Option(help="folder of the installation on the station")] = "/opt/edge",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="ssh port")] = None,
    ssh_option: Annotated[list[str] | None, typer.Option(help="passed to ssh as -o; may be repeated")] = None,
    install_option: Annotated[list[str] | None, typer.Option(help="passed to edge-install on the station")] = None,
    bootstrap_option: Annotated[list[str] | None, typer.Option(help="passed to bootstrap.py on the station")] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="with --bootstrap: the key that the station will trust")
    ] = None,
    station_config: Annotated[Path | None, typer.Option(help="with --bootstrap: station.toml to begin with")] = None,
    wheelhouse: Annotated[Path, typer.Option(help="with --bootstrap: folder that `make wheelhouse` filled")] = Path(
        "wheelhouse"
    ),
    python: Annotated[str, typer.Option(help="with --bootstrap: the station's Python")] = "/usr/bin/python3",
    as_json: Annotated[bool, typer.Option("--json", help="with --status: plain data")] = False,
) -> None:
    """Copy, verify, install, build, self-test, switch, restart, probe; the station rolls back by itself on failure."""
    targets, bundle = _targets(where_and_what or [], hosts, needs_bundle=not (status or rollback or bootstrap))

    def flasher(target: str, say: Callable[[str], None]) -> Flasher:
        remote = Remote(target, port, tuple(ssh_option or ()))
        return Flasher(remote, root, say, install_options=tuple(install_option or ()))

    if status:
        act = _status_of(flasher, as_json)
    elif rollback:
        act = _each(lambda target: flasher(target, _say_for(targets, target)).rollback())
    elif bootstrap:
        plan = Bootstrap(wheelhouse, root, public_key, python, station_config, tuple(bootstrap_option or ()))
        act = _each(lambda target: plan.run(flasher(target, print).remote, _say_for(targets, target)))
    else:
        assert bundle is not None
        act = _flash_of(flasher, Parcel.of(bundle), keep, targets)
    _run_all(targets, act)


def _each(act: Callable[[str], None]) -> Callable[[str], None]:
    """`act` with its type said: what is done to one host."""
    return act


def _flash_of(
    flasher: Callable[[str, Callable[[str], None]], Flasher], parcel: Parcel, keep: int, targets: list[str]
) -> Callable[[str], None]:
    def act(target: str) -> None:
        one = flasher(target, _say_for(targets, target))
        if len(targets) > 1 or not sys.stderr.isatty():
            one.flash(parcel, keep)
            return
        with _bar() as bar:
            task = bar.add_task("copy", total=parcel.size)
            shown = Flasher(
                one.remote,
                one.root,
                bar.console.print,
                lambda arrived, _all: bar.update(task, completed=arrived),
                one.install_options,
            )
            shown.flash(parcel, keep)

    return act


def _status_of(flasher: Callable[[str, Callable[[str], None]], Flasher], as_json: bool) -> Callable[[str], None]:
    def act(target: str) -> None:
        told = flasher(target, print).status()
        print(json.dumps({"host": target} | told) if as_json else "\n".join([target, *status_lines(told)]), flush=True)

    return act


def _run_all(targets: list[str], act: Callable[[str], None]) -> None:
    outcomes = staged(targets, act)
    if len(targets) > 1:
        print("\n".join(map(str, outcomes)), flush=True)
    require_all(outcomes)


def _targets(given: list[str], hosts: Path | None, *, needs_bundle: bool) -> tuple[list[str], Path | None]:
    bundles = [Path(word) for word in given if word.endswith(".edge")]
    targets = [word for word in given if not word.endswith(".edge")]
    if len(targets) + (hosts is not None) != 1:
        raise UsageError("which station", "name one USER@HOST or --hosts FILE", "see edge-flash --help")
    if len(bundles) != needs_bundle:
        wanted = "name one NAME.edge" if needs_bundle else "no NAME.edge is wanted here"
        raise UsageError("which bundle", wanted, "see edge-flash --help")
    return (read_hosts(hosts) if hosts else targets), (bundles[0] if bundles else None)


def _say_for(targets: list[str], target: str) -> Callable[[str], None]:
    prefix = f"{target}: " if len(targets) > 1 else ""
    return lambda line: print(f"{prefix}{line}", flush=True)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True, markup=False), transient=True)


main = main_of(flash)

if __name__ == "__main__":
    main()
