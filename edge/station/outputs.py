"""Wire and relay of a station. The only module of edge that knows firmware_bridge: it maps words to messages."""

from __future__ import annotations

import threading
import time

from edge.station.commands import Acknowledge, Command, CommandQueue, InspectPart, ResetAlarm, ShelveAlarm
from edge.station.config import OutputsSection
from edge.station.judge import FaultKind
from edge.station.judge import Verdict as OurVerdict
from edge.station.status import OutputState
from firmware_bridge import messages as wire
from firmware_bridge.alarm_output import AlarmOutput
from firmware_bridge.bridge import SerialBridge
from firmware_bridge.errors import BridgeError
from firmware_bridge.line import InputLine, open_input, open_output
from firmware_bridge.relay import RelaySettings

FIRST_GPIO_TRIGGER = 0x8000_0000  # numbers of parts announced by a line; the serial peer chooses its own below
NO_NUMBER = float("nan")


class Outputs:
    """Everything that leaves the station by wire. Every method returns at once; ports have threads of their own.

    Raises the errors of firmware_bridge (each with its exit code) when a named port or line is not there or its
    self-test fails: nothing is left out silently.
    """

    def __init__(self, section: OutputsSection, name: str, commands: CommandQueue) -> None:
        self._bridge: SerialBridge | None = None
        self._relay: AlarmOutput | None = None
        self._trigger: TriggerLine | None = None
        try:
            self._open(section, name, commands)
        except BridgeError:
            self.close()
            raise

    def _open(self, section: OutputsSection, name: str, commands: CommandQueue) -> None:
        if section.serial:
            self._bridge = SerialBridge(section.serial, section.wire, name=name.encode()[:24].decode(errors="ignore"))
        if section.gpio:
            relay = RelaySettings(min_pulse_s=section.min_pulse_s, life_period_s=section.life_period_s)
            self._relay = AlarmOutput(open_output(section.gpio), relay)
        if section.trigger_gpio:
            self._trigger = TriggerLine(open_input(section.trigger_gpio), commands)

    def show(self, state: OutputState) -> None:
        """The newest state: relay at once, wire at once if it changed, else with the next heartbeat."""
        if self._relay is not None:
            self._relay.update(_verdict(state.verdict))
        if self._bridge is not None:
            self._bridge.publish(_state(state))

    def alarm(self, event: int, state: OutputState, age_s: float) -> None:
        """Say one alarm; the wire repeats it until the receiver acknowledges it."""
        if self._bridge is not None:
            age_ms = max(0, round(1000 * age_s))
            self._bridge.raise_alarm(wire.AlarmRaised(event, state.score, state.threshold, state.frame, age_ms))

    def cleared(self, event: int, frame: int, *, reset: bool) -> None:
        """Say that an alarm is over."""
        if self._bridge is not None:
            reason = wire.ClearReason.RESET if reset else wire.ClearReason.RETURNED_TO_NORMAL
            self._bridge.clear_alarm(wire.AlarmCleared(event, reason, frame))

    def answer(self, trigger: int, state: OutputState, latency_s: float) -> None:
        """Answer one announced part; `state.verdict` is its verdict."""
        if self._bridge is not None:
            latency_ms = max(0, round(1000 * latency_s))
            verdict, fault = _verdict(state.verdict), _fault(state.fault)
            self._bridge.answer_trigger(
                wire.TriggerResult(trigger, verdict, fault, state.score, state.threshold, state.frame, latency_ms)
            )

    def take_commands(self, now_s: float) -> list[Command]:
        """What the receiver asked for since the last call."""
        if self._bridge is None:
            return []
        return [_command(command, now_s) for command in self._bridge.commands()]

    @property
    def trouble(self) -> str | None:
        """Why an output cannot be trusted now, None if all can."""
        if self._relay is not None and self._relay.error:
            return f"relay: {self._relay.error}"
        if self._trigger is not None and self._trigger.error:
            return f"trigger line: {self._trigger.error}"
        status = self._bridge.status if self._bridge is not None else None
        if status is not None and not status.port_open:
            return f"serial port {status.url} is lost: {status.last_error}"
        return None

    def describe(self) -> dict[str, str]:
        """One line per output, for people."""
        lines: dict[str, str] = {}
        if self._bridge is not None:
            s = self._bridge.status
            port, peer = "open" if s.port_open else "lost", "answers" if s.link_up else "silent"
            lines["serial"] = f"{s.url} {s.wire}: port {port}, receiver {peer}, {s.queued} queued, {s.sent} sent"
        if self._relay is not None:
            lines["relay"] = self._relay.error or str(self._relay.proof)
        return lines

    def close(self) -> None:
        """Drop the relay, say FAULT (stopping) and give the ports back. May be called again."""
        for part in (self._relay, self._trigger, self._bridge):
            if part is not None:
                part.close()


class TriggerLine:
    """The thread that watches the line on which parts are announced."""

    def __init__(self, line: InputLine, commands: CommandQueue) -> None:
        self._line, self._commands = line, commands
        self.error = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trigger line", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join(5)
        self._line.close()

    def _run(self) -> None:
        trigger = FIRST_GPIO_TRIGGER
        while not self._stopping.is_set():
            try:
                rose = self._line.wait_rise(0.1)
            except BridgeError as error:
                self.error = str(error)
                return
            if rose:
                self._commands.put(InspectPart(trigger, time.monotonic()))
                trigger = FIRST_GPIO_TRIGGER | (trigger + 1) & 0x7FFF_FFFF


def _verdict(verdict: OurVerdict) -> wire.Verdict:
    return wire.Verdict[verdict.name]


def _fault(kind: FaultKind | None) -> wire.Fault:
    return wire.Fault.NONE if kind is None else wire.Fault[kind.name]


def _state(state: OutputState) -> wire.StationState:
    return wire.StationState(
        verdict=_verdict(state.verdict),
        flags=_flags(state),
        fault=_fault(state.fault),
        score=state.score,
        threshold=state.threshold,
        frame=state.frame & 0xFFFF_FFFF,
        uptime_ms=state.uptime_ms,
        event=state.event,
        alarms=state.alarms,
        faults=state.faults,
        dropped_frames=state.dropped_frames & 0xFFFF_FFFF,
    )


def _flags(state: OutputState) -> wire.AlarmFlags:
    flags = wire.AlarmFlags.NONE
    for is_set, flag in (
        (state.active, wire.AlarmFlags.ACTIVE),
        (state.acknowledged, wire.AlarmFlags.ACKED),
        (state.latched, wire.AlarmFlags.LATCHED),
        (state.shelved, wire.AlarmFlags.SHELVED),
        (state.flooded, wire.AlarmFlags.SUPPRESSED),
    ):
        flags |= flag if is_set else wire.AlarmFlags.NONE
    return flags


def _command(command: wire.Command, now_s: float) -> Command:
    if isinstance(command, wire.Acknowledge):
        return Acknowledge("serial", command.event or None)
    if isinstance(command, wire.Shelve):
        return ShelveAlarm("serial", float(command.seconds))
    if isinstance(command, wire.Trigger):
        return InspectPart(command.trigger, now_s)
    return ResetAlarm("serial")
