"""How every command starts and ends: typer for the options, one line per error, the documented exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

INTERRUPTED = 130


def run(command: Callable[..., Any] | typer.Typer, arguments: list[str] | None = None) -> int:
    """Run `command` on `arguments` (default: the process's) and return its exit code.

    0 done, 2 usage, 3 bad input or config, 4 a check failed, 5 a device or back end is missing, 130 interrupted.
    """
    try:
        _as_app(command)(args=arguments)
        return 0
    except SystemExit as leaving:  # typer's own end: 0, 2 once it has told what was typed wrongly, 130 on Ctrl-C
        code = leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        return _exit_code(error)
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code


def main_of(command: Callable[..., Any] | typer.Typer) -> Callable[[], None]:
    """The console script entry point for `command`."""

    def main() -> None:
        sys.exit(run(command))

    return main


def stage(name: str, seconds: float, result: str, next_command: str | None = None) -> None:
    """One line for a finished stage, and the next command to type."""
    print(f"{name}: {seconds:.1f} s, {result}", flush=True)
    if next_command:
        print(f"next: {next_command}", flush=True)


def _as_app(command: Callable[..., Any] | typer.Typer) -> typer.Typer:
    if isinstance(command, typer.Typer):
        return command
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    return app


def _exit_code(error: Exception) -> int:
    """Errors that carry an `exit_code` (ours and firmware_bridge's) are told in one line; others are our bugs."""
    code = getattr(error, "exit_code", None)
    if not isinstance(code, int):
        raise error
    print(f"error: {error}", file=sys.stderr)
    return code
