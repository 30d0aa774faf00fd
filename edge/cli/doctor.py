"""edge-doctor: what this machine can do, and the one command that mends each gap."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge.cli.base import main_of
from edge.doctor.machine import LiveMachine, Machine, RecordedMachine
from edge.doctor.report import examine, lines_of
from edge.errors import InputError, one_line
from edge.install.layout import DEFAULT_KEY, DEFAULT_ROOT


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="plain data; edge-flash reads it")] = False,
    root: Annotated[Path, typer.Option(envvar="EDGE_ROOT", help="folder of the installation")] = DEFAULT_ROOT,
    key: Annotated[Path, typer.Option(envvar="EDGE_TRUSTED_KEY", help="pinned public key")] = DEFAULT_KEY,
    recorded: Annotated[Path | None, typer.Option(help="examine a recorded board instead of this machine")] = None,
) -> None:
    """Say what this machine can do. Exit code 5 if there is a gap, 0 if not."""
    report = examine(_machine(recorded), str(root), str(key))
    print(report.model_dump_json(indent=1) if as_json else "\n".join(map(one_line, lines_of(report))))
    if report.gaps:
        raise typer.Exit(5)


def _machine(recorded: Path | None) -> Machine:
    if recorded is None:
        return LiveMachine(sys.executable)
    try:
        return RecordedMachine.load(recorded)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{recorded} is no recorded board", str(error), "see docs/flashing.md") from error


main = main_of(doctor)

if __name__ == "__main__":
    main()
