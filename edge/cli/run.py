"""`edge-run`: the station."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from edge.cli.base import main_of
from edge.errors import UsageError
from edge.installed import bundle_path, state_folder
from edge.station.config import StationConfig, load_config
from edge.station.learned import Learning, save_learned
from edge.station.setup import Duty
from edge.station.station import Station

# The thread that owns the port must not wait five milliseconds, Python's default, for a thread that computes.
SWITCH_S = 0.0005


def command(
    bundle: Annotated[Path | None, typer.Option(help="NAME.edge; without it the installed current one")] = None,
    camera: Annotated[
        str | None, typer.Option(help="0, /dev/v4l/by-id/..., csi://0, rtsp://..., gst:..., a clip, a folder")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="station.toml; what is typed here wins over it")] = None,
    serial: Annotated[str | None, typer.Option(help="alarm port: /dev/ttyTHS1, loop://, socket://HOST:PORT")] = None,
    wire: Annotated[str | None, typer.Option(help="cobs, ascii or modbus")] = None,
    gpio: Annotated[str | None, typer.Option(help="alarm relay: gpiod://CHIP/LINE, jetson://7, fake://relay")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, fp16, bf16, int8 or a variant's name")] = None,
    backend: Annotated[str | None, typer.Option(help="auto, onnxruntime, openvino or tensorrt")] = None,
    threads: Annotated[int | None, typer.Option(help="engine threads; 0: one per CPU")] = None,
    threshold: Annotated[float | None, typer.Option(help="decide by this instead of the stored one")] = None,
    events: Annotated[Path | None, typer.Option(help="folder of the event store")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="stop after so many scored frames")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="stop after so long")] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="play a clip or folder at its own rate, as a camera")
    ] = False,
    loop: Annotated[bool, typer.Option("--loop", help="play a clip or folder again and again")] = False,
    triggered: Annotated[
        bool, typer.Option("--triggered", help="judge one part per trigger message or input edge")
    ] = False,
    learn: Annotated[int | None, typer.Option(help="refit the threshold from N frames that you vouch for")] = None,
    false_alarm_rate: Annotated[float, typer.Option(help="stated rate for --learn, per frame")] = 0.001,
    page: Annotated[str | None, typer.Option(help="station page at ADDRESS:PORT, for example 127.0.0.1:8080")] = None,
    mqtt: Annotated[str | None, typer.Option(help="broker: mqtt://HOST:PORT, mqtts:// with TLS")] = None,
    webhook: Annotated[str | None, typer.Option(help="http(s)://... that events are posted to, signed")] = None,
    metrics_file: Annotated[str | None, typer.Option(help="NAME.prom for node_exporter's text files")] = None,
    sink: Annotated[list[str] | None, typer.Option(help="NAME=ADDRESS of one more listener")] = None,
    key: Annotated[Path | None, typer.Option(help="public key that the bundle must be signed with")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per second, change and event")] = False,
) -> None:
    """Watch a camera: OK, ALARM or FAULT on the wire, the relay and the screen."""
    typed = {
        "engine.bundle": bundle,
        "engine.key": key,
        "engine.precision": precision,
        "engine.backend": backend,
        "engine.threads": threads,
        "engine.threshold": threshold,
        "camera.url": camera,
        "camera.realtime": realtime or None,
        "camera.loop": loop or None,
        "decision.mode": "triggered" if triggered else None,
        "outputs.serial": serial,
        "outputs.wire": wire,
        "outputs.gpio": gpio,
        "events.folder": events,
        "sinks.json" if as_json else "sinks.terminal": "-",
        "sinks.page": page,
        "sinks.mqtt": mqtt,
        "sinks.webhook": webhook,
        "sinks.metrics": metrics_file,
        **_sinks(sink or []),
    }
    learning = Learning(learn, false_alarm_rate) if learn is not None else None
    _run(_complete(load_config(config, typed)), Duty(frames, seconds, learning))


def _complete(config: StationConfig) -> StationConfig:
    """`config`, if it names a camera and its bundle is there."""
    if not config.camera.url:
        raise UsageError(
            "no camera", "none was named", "use --camera 0, a clip or a folder, or [camera] url in --config"
        )
    bundle_path(config.engine.bundle)
    return config


def _sinks(named: list[str]) -> dict[str, object]:
    pairs = [item.partition("=") for item in named]
    if bad := [name for name, equals, _ in pairs if not equals or not name]:
        raise UsageError(f"cannot read --sink {bad[0]}", "expected NAME=ADDRESS", "write for example --sink json=-")
    return {f"sinks.{name}": address for name, _, address in pairs}


def _run(config: StationConfig, duty: Duty) -> None:
    sys.setswitchinterval(SWITCH_S)
    station = Station(config, duty)

    def stop(number: int, frame: FrameType | None) -> None:
        station.stop(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        why = station.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _summary(station, config, why)
    if duty.learning is not None:
        _save(duty.learning, station, config)


def _summary(station: Station, config: StationConfig, why: str) -> None:
    status, alarms = station.status, station.alarms
    out = sys.stderr if "json" in config.sinks else sys.stdout
    counted = f"{status.frames} frames, {alarms} alarms, {station.faults} faults"
    print(f"run: {status.uptime_s:.1f} s, {counted}; {why}; events in {config.events.folder}", file=out)
    if alarms:
        print(f"next: edge-events list --events {config.events.folder}", file=out, flush=True)
    if station.lost_events:
        print(f"warning: {station.lost_events} entries could not be written to {config.events.folder}", file=sys.stderr)


def _save(learning: Learning, station: Station, config: StationConfig) -> None:
    assert station.ready is not None
    learned = learning.fitted(station.ready)
    path = save_learned(state_folder(config.engine.bundle), learned)
    low, high = learned.threshold.rate_interval
    print(
        f"learned: threshold {learned.threshold.value:.6g} for {learned.variant}, {learned.threshold.frames} frames, "
        f"false-alarm rate {learned.threshold.false_alarm_rate:g} ({low:.2g} to {high:.2g} at 95 %), in {path}"
    )


main = main_of(command)
