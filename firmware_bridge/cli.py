"""`edge-bridge`: the field tool for the wire and the alarm line.

    edge-bridge watch /dev/ttyUSB0          every message in plain words
    edge-bridge send /dev/ttyUSB0 trigger 5 say something as the receiver would
    edge-bridge loopback /dev/ttyTHS1       does the port work? (TX joined to RX)
    edge-bridge gpio-test gpiod://tegra234-gpio/PAC.06?readback=PR.04
    edge-bridge decode recording.bin

Exit codes: 0 done, 2 usage, 3 bad input, 4 a test failed, 5 a device is missing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from firmware_bridge.address import parse_port
from firmware_bridge.codec import BadFrame
from firmware_bridge.errors import AddressError, BridgeError
from firmware_bridge.field import FieldLink, WatchOptions, frames_of, loopback, send, watch
from firmware_bridge.line import open_output
from firmware_bridge.messages import Acknowledge, Command, Reset, Shelve, Trigger
from firmware_bridge.port import open_port
from firmware_bridge.relay import prove
from firmware_bridge.show import bad_words, words_of

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Field tool for the wire and the alarm line.",
)
Url = Annotated[str, typer.Argument(help="/dev/ttyUSB0?baudrate=115200, socket://HOST:PORT, loop://, pty://PATH")]
Wire = Annotated[str, typer.Option(help="cobs or ascii")]


@app.command("watch")
def watch_command(
    url: Url,
    wire: Wire = "cobs",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per message")] = False,
    count: Annotated[int, typer.Option(min=0, help="stop after so many messages")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="stop after so long")] = 0.0,
    ack: Annotated[bool, typer.Option("--ack", help="acknowledge each alarm, as the operator would")] = False,
    listen: Annotated[bool, typer.Option("--listen", help="never send a byte (a tap on somebody's wire)")] = False,
    changes: Annotated[bool, typer.Option("--changes", help="leave out heartbeats that say nothing new")] = False,
) -> None:
    """Print every message of the station in plain words."""
    if ack and listen:
        raise typer.BadParameter("--ack speaks and --listen never does: choose one")
    with _field(url, wire, listen=listen) as field:
        watch(field, WatchOptions(as_json, count, seconds, listen, ack, changes), _say)


@app.command("send")
def send_command(
    url: Url,
    what: Annotated[str, typer.Argument(help="acknowledge, shelve, trigger or reset")],
    number: Annotated[int, typer.Argument(min=0, help="event (0: all), seconds, or trigger number")] = 0,
    wire: Wire = "cobs",
    seconds: Annotated[float, typer.Option(min=0.1, help="how long to wait for the answer")] = 3.0,
) -> None:
    """Say a command as the receiver would, and wait until the station has taken it."""
    command = _command(what, number)
    with _field(url, wire) as field:
        send(field, command, seconds, _say)


@app.command("loopback")
def loopback_command(
    url: Url,
    frames: Annotated[int, typer.Option(min=1, help="how many blocks")] = 20,
    size: Annotated[int, typer.Option(min=1, max=1024, help="bytes per block")] = 64,
) -> None:
    """Test a port with its TX joined to its RX."""
    port = open_port(parse_port(url))
    try:
        mean_ms, worst_ms = loopback(port, frames, size)
    finally:
        port.close()
    _say(f"loop-back passed: {frames} blocks of {size} bytes came back whole")
    _say(f"mean {mean_ms:.1f} ms, worst {worst_ms:.1f} ms per block")


@app.command("gpio-test")
def gpio_test_command(
    line: Annotated[str, typer.Argument(help="gpiod://CHIP_LABEL/LINE_NAME?readback=LINE, jetson://PIN, fake://NAME")],
    toggles: Annotated[int, typer.Option(min=1, help="how often")] = 3,
    pulse_ms: Annotated[float, typer.Option(min=0.1, help="how long each level")] = 10.0,
) -> None:
    """Toggle the alarm line, read it back each time, and leave it inactive."""
    output = open_output(line)
    try:
        _say(f"{line} passed: {prove(output, toggles, pulse_ms / 1000)}")
    finally:
        output.close()


@app.command("decode")
def decode_command(
    source: Annotated[str, typer.Argument(metavar="FILE", help="recorded bytes; - reads standard input")],
    wire: Wire = "cobs",
) -> None:
    """Print what a recording of the wire holds, unreadable frames included."""
    for item in frames_of(_bytes_of(source), wire):
        _say(bad_words(item) if isinstance(item, BadFrame) else words_of(item))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors print as one line."""
    try:
        app(args=arguments)
        return 0
    except SystemExit as leaving:  # typer's own end: 0, 2 once it has told what was typed wrongly, 130 on Ctrl-C
        return leaving.code if isinstance(leaving.code, int) else 1
    except BridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def main() -> None:
    """Console script."""
    sys.exit(run())


@contextmanager
def _field(url: str, wire: str, *, listen: bool = False) -> Iterator[FieldLink]:
    """A receiver on the port that ends on SIGTERM and SIGINT and gives the port back."""
    field = FieldLink(url, wire, listen=listen)
    old = [(number, signal.signal(number, lambda *_: field.stop())) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield field
    finally:
        for number, handler in old:
            signal.signal(number, handler)
        field.close()


_COMMANDS: dict[str, Callable[[int], Command]] = {
    "acknowledge": Acknowledge,
    "shelve": Shelve,
    "trigger": Trigger,
    "reset": lambda _: Reset(),
}
_LIMITS = {"acknowledge": 0xFFFFFFFF, "shelve": 0xFFFF, "trigger": 0xFFFFFFFF, "reset": 0}


def _command(what: str, number: int) -> Command:
    if what not in _COMMANDS:
        raise typer.BadParameter(f"{what!r} is no command: choose {', '.join(_COMMANDS)}")
    if number > _LIMITS[what]:
        raise typer.BadParameter(f"{what} takes a number up to {_LIMITS[what]}")
    return _COMMANDS[what](number)


def _bytes_of(source: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise AddressError(
            f"recording {source}", error.strerror or str(error), "name a file, or - for a pipe"
        ) from error


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError as error:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from error


if __name__ == "__main__":
    main()
