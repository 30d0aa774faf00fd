"""edge-install: the station's side of edge-flash. Works alone too: status, rollback, check, log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.cli.base import main_of
from edge.install import staging
from edge.install.layout import DEFAULT_KEY, DEFAULT_ROOT, Layout

if TYPE_CHECKING:
    from edge.install.installer import Installer

DEFAULT_CONFIG = Path("/etc/edge/station.toml")

Root = Annotated[Path, typer.Option(envvar="EDGE_ROOT", help="folder of the installation")]
Key = Annotated[Path, typer.Option(envvar="EDGE_TRUSTED_KEY", help="pinned public key")]
Config = Annotated[Path, typer.Option(help="station.toml; its [engine] section says what is built")]
RestartCommand = Annotated[str | None, typer.Option(help="instead of systemctl restart")]
ProbeCommand = Annotated[str | None, typer.Option(help="instead of systemctl is-active")]
HealthySeconds = Annotated[float, typer.Option(min=0, help="the station must stay healthy for so long")]
TimeoutSeconds = Annotated[float, typer.Option(min=1, help="and become so within")]
Sha256 = Annotated[str, typer.Option(help="SHA-256 of the bundle")]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Releases on this station: install, status, rollback, check. edge-flash calls it over ssh.",
)
# Each command imports what it needs itself: a copy over ssh should not wait for numpy and OpenCV.


@app.command()
def receive(sha256: Sha256, size: Annotated[int, typer.Option(min=1)], root: Root = DEFAULT_ROOT) -> None:
    """Append standard input to the staged bundle."""
    _outlive_the_connection()
    layout = Layout(root)
    with layout.locked():
        staging.receive(layout, sha256, size, sys.stdin.buffer)


@app.command()
def install(
    sha256: Sha256,
    root: Root = DEFAULT_ROOT,
    key: Key = DEFAULT_KEY,
    config: Config = DEFAULT_CONFIG,
    keep: Annotated[int, typer.Option(min=1, help="releases to keep")] = 3,
    restart_command: RestartCommand = None,
    probe_command: ProbeCommand = None,
    healthy_s: HealthySeconds = 5.0,
    timeout_s: TimeoutSeconds = 60.0,
) -> None:
    """Install the staged bundle: verify, build, self-test, switch, restart, probe; back to the old one on failure."""
    _outlive_the_connection()
    wishes = _Wishes(config, restart_command, probe_command, healthy_s, timeout_s)
    _installer(root, key, wishes, keep).install(sha256)


@app.command()
def rollback(
    root: Root = DEFAULT_ROOT,
    key: Key = DEFAULT_KEY,
    config: Config = DEFAULT_CONFIG,
    restart_command: RestartCommand = None,
    probe_command: ProbeCommand = None,
    healthy_s: HealthySeconds = 5.0,
    timeout_s: TimeoutSeconds = 60.0,
) -> None:
    """Go back to the release that ran before."""
    _outlive_the_connection()
    _installer(root, key, _Wishes(config, restart_command, probe_command, healthy_s, timeout_s)).roll_back()


@app.command()
def recover(
    root: Root = DEFAULT_ROOT,
    key: Key = DEFAULT_KEY,
    restart_command: RestartCommand = "true",
    probe_command: ProbeCommand = "true",
) -> None:
    """Undo an install that a power cut interrupted. Runs at boot, before the station."""
    wishes = _Wishes(DEFAULT_CONFIG, restart_command, probe_command, 0.0, 60.0)
    _installer(root, key, wishes).recover()


@app.command()
def status(
    root: Root = DEFAULT_ROOT,
    key: Key = DEFAULT_KEY,
    probe_command: ProbeCommand = None,
    as_json: Annotated[bool, typer.Option("--json", help="plain data instead of lines")] = False,
) -> None:
    """What is installed, and whether it is healthy."""
    wishes = _Wishes(DEFAULT_CONFIG, "true", probe_command, 0.0, 60.0)
    told = _installer(root, key, wishes).status()
    print(json.dumps(told, indent=1) if as_json else "\n".join(status_lines(told)))


@app.command()
def check(root: Root = DEFAULT_ROOT, key: Key = DEFAULT_KEY) -> None:
    """Check the current release: folder, signature, counter, every member. Runs before every start of the station."""
    from edge.install.installer import check_current
    from edge.signature import load_public_key

    print(f"{check_current(Layout(root), load_public_key(key))} is whole and signed")


@app.command()
def log(root: Root = DEFAULT_ROOT, lines: Annotated[int, typer.Option("-n", min=1)] = 20) -> None:
    """The end of the install log."""
    print("\n".join(Layout(root).log_tail(lines)))


@app.command("self-test")
def self_test_command(
    bundle: Annotated[Path, typer.Argument(metavar="NAME.edge")],
    backend: Annotated[str, typer.Option(help="back end, or auto")] = "auto",
    precision: Annotated[str, typer.Option(help="precision, or auto")] = "auto",
) -> None:
    """Open the bundle as the station will, and score its golden frames."""
    from edge.bundle import open_bundle
    from edge.install.selftest import self_test

    print(self_test(open_bundle(bundle), precision, backend, _say), flush=True)


def status_lines(told: dict[str, Any]) -> list[str]:
    """The status as people read it."""
    lines = [f"root {told['root']}, lowest rollback counter {told['lowest_counter']}"]
    for row in told["releases"]:
        mark = "*" if row["id"] == told["current"] else " "
        proven = "proven" if row["proven"] else "not proven"
        when, size = row["installed_at"], row["size_bytes"] / 1e6
        lines.append(
            f"{mark} {row['id']}  {row['method']}  {size:.1f} MB  counter {row['rollback_counter']}  {proven}  {when}"
        )
    if told["trial"]:
        lines.append(f"interrupted on trial: {told['trial']}; run: edge-install recover")
    lines += [f"staged {sha[:12]}: {size} bytes arrived" for sha, size in told["staged"].items()]
    return [*lines, f"station: {told['health']}"]


@dataclass(frozen=True)
class _Wishes:
    config: Path
    restart: str | None
    probe: str | None
    healthy_s: float
    timeout_s: float


def _installer(root: Path, key: Path, wishes: _Wishes, keep: int = 3) -> Installer:
    from edge.install.installer import Installer
    from edge.install.station import CommandStation, default_prepare, default_probe, default_restart, split_command
    from edge.signature import load_public_key
    from edge.station.config import load_config

    os.umask(0o022)  # the station's own user must be able to read what is installed
    engine = load_config(wishes.config if wishes.config.exists() else None, {}).engine
    station = CommandStation(
        prepare_commands=default_prepare(engine.backend, engine.precision),
        restart_command=split_command(wishes.restart, default_restart),
        probe_command=split_command(wishes.probe, default_probe),
        report=_say,
        cache=root / "cache",
        healthy_s=wishes.healthy_s,
        timeout_s=wishes.timeout_s,
    )
    return Installer(Layout(root), load_public_key(key), station, _say, keep)


def _say(line: str) -> None:
    """Print, but go on if nobody listens any more: a lost connection must not stop a switch half-way."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def _outlive_the_connection() -> None:
    """A lost ssh connection (SIGHUP) is ignored; SIGTERM and Ctrl-C end the install by going back."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupted)


def _interrupted(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


main = main_of(app)

if __name__ == "__main__":
    main()
