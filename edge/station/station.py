"""The station: one loop that hears the pipeline, judges, and tells wire, relay, store and sinks.

It owns everything that must survive the pipeline: verdict, alarm, outputs, events. It waits for nothing but the
pipeline's next word, 20 ms at most; disks, ports and viewers have threads of their own.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge.camera.address import redacted
from edge.station.announcer import Announcer, Seen
from edge.station.channel import (
    MARKED,
    Alive,
    Blind,
    Ended,
    Failed,
    Inspect,
    Keep,
    Pictures,
    Progress,
    Ready,
    Scored,
    Show,
    Word,
    receive_pictures,
    receive_words,
    send_word,
)
from edge.station.commands import (
    Acknowledge,
    Command,
    InspectPart,
    MarkEvent,
    ResetAlarm,
    ShelveAlarm,
    Stop,
    WantPictures,
)
from edge.station.config import StationConfig
from edge.station.event_writer import free_bytes
from edge.station.events import FAULT
from edge.station.judge import Event, Fault, FaultKind, FaultSource, Verdict
from edge.station.parts import StationParts
from edge.station.parts_waiting import PartsWaiting
from edge.station.pipeline_spec import PipelineSpec
from edge.station.setup import Duty, PipelineFailed, decision_rules, new_judge
from edge.station.snapshot import Around, Counters, Identity, output_state, station_status
from edge.station.status import LivePicture, OutputState, StationStatus
from edge.station.supervisor import PipelineProcess, Supervisor
from edge.station.systemd import Notifier, Watchdog

TICK_S = 0.02
PUBLISH_S = 0.2


class Station:
    """Everything of one station. `run` returns when it is stopped or its recording ends."""

    def __init__(
        self,
        config: StationConfig,
        duty: Duty | None = None,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[Path], float] = free_bytes,
    ) -> None:
        """Open store, outputs and sinks, in this order; on an error everything opened before is closed again."""
        self._config, self._duty, self._clock = config, duty or Duty(), clock
        self.parts = StationParts(config, free)
        self._counters = Counters(clock())
        self._identity = Identity(config.name, redacted(config.camera.url), config.version)
        self._judge = new_judge(config, self.parts.store)
        self._announcer = Announcer(self.parts.outputs, self.parts.writer, self.parts.sinks, config.version)
        self._announcer.last_fault = self.parts.store.last_number(FAULT)
        marked = config.events.folder / "normal" if self._duty.learning else None
        spec = PipelineSpec(config=config, frames=self._duty.frames, marked=marked)
        self.supervisor = Supervisor(spec, config.supervisor)
        self._watchdog = Watchdog(Notifier(), config.supervisor.fault_patience_s)
        self.ready: Ready | None = None
        self._seen = Seen()
        self._waiting = PartsWaiting(config.decision.answer_within_s)
        self._note = "starting"
        self._published_s = self._ticked_s = 0.0
        self._published: tuple[object, ...] = ()
        self._over: str | None = None
        self._reader: threading.Thread | None = None
        self.lost_events = 0
        self._latest = self._snapshot()
        self.parts.open_sinks(lambda: self._latest)

    @property
    def status(self) -> StationStatus:
        """The newest snapshot; may be read from any thread."""
        return self._latest

    @property
    def alarms(self) -> int:
        """Alarms raised since the start."""
        return self._announcer.alarms

    @property
    def faults(self) -> int:
        """Faults that began since the start."""
        return self._announcer.faults

    def stop(self, reason: str) -> None:
        """End `run` soon. Safe from signal handlers and other threads."""
        self._over = reason

    def run(self) -> str:
        """Run until stopped, ended or failed; returns why. Raises PipelineFailed if the pipeline cannot start."""
        try:
            self._adopt(self.supervisor.start(self._clock()))
            while self._over is None:
                self._turn()
            return self._over
        finally:
            self._finish()

    def _turn(self) -> None:
        process = self.supervisor.process
        words = self._wait_for_words(process) if process is not None else self._sleep()
        for word in words:
            self._hear(word, self._clock())
        now_s = self._clock()
        if now_s - self._ticked_s >= TICK_S or self._over is not None:
            self._ticked_s = now_s
            self._tick(now_s)

    def _wait_for_words(self, process: PipelineProcess) -> list[Word]:
        poll = select.poll()
        poll.register(process.words, select.POLLIN)
        poll.poll(1000 * TICK_S)
        try:
            words = receive_words(process.words)
            if not words and process.exit_code is not None:  # then what it said last, or the end of its channel
                words = receive_words(process.words)
                if not words:
                    raise EOFError("its process is gone, though another one holds its channel")
            return words
        except (EOFError, ValueError) as error:
            self._lost(str(error), self._clock())
            return []

    def _sleep(self) -> list[Word]:
        time.sleep(TICK_S)
        return []

    def _hear(self, word: Word, now_s: float) -> None:
        self.supervisor.heard(now_s)
        if isinstance(word, Scored):
            self._scored(word, now_s)
        elif isinstance(word, Blind):
            self._blind(word, now_s)
        elif isinstance(word, Ready):
            self._take_ready(word)
        elif isinstance(word, Progress):
            self._note = word.text
            self._watchdog.status(word.text)
        elif isinstance(word, Ended):
            self._over = word.reason
        elif isinstance(word, Failed):
            self._failed(word, now_s)
        else:
            assert isinstance(word, Alive)

    def _take_ready(self, ready: Ready) -> None:
        self.supervisor.ready()
        self.ready = self._announcer.ready = ready
        self._judge.vote.rules = decision_rules(self._config, ready.threshold, ready.spread)
        self._judge.vote.forget()
        self._note = f"threshold {ready.threshold:.6g} {ready.threshold_source}"

    def _scored(self, word: Scored, now_s: float) -> None:
        learning = self._duty.learning
        if word.trigger == MARKED:
            if learning is not None:
                learning.marked.append(word.score)
            return
        key = (self.supervisor.restarts, word.sequence)
        if not self._judge.is_fresh(key, word.captured_at_s, now_s):
            self._counters.late_frames += 1
            return
        self._counters.take(word, now_s)
        self._seen = Seen(word.sequence, word.captured_at_s, word.masked_error, now_s - word.captured_at_s)
        self._act(self._judged(word, key, now_s), now_s)
        self._counters.judged(word, self._clock())
        self._watchdog.scored(now_s, self._fault_text())
        if word.trigger in self._waiting:
            self._act(self._judge.clear(FaultSource.TRIGGER, now_s), now_s)
            self._answer(word.trigger, self._part_verdict(word.score), now_s)

    def _judged(self, word: Scored, key: tuple[int, int], now_s: float) -> list[Event]:
        learning = self._duty.learning
        if learning is not None:
            learning.take(word.score)
            return self._judge.sight(now_s)
        if self._config.decision.mode == "free":
            return self._judge.observe(word.score, key, word.captured_at_s, now_s)
        if word.trigger < 0:
            return self._judge.glance(key, word.captured_at_s, now_s)
        return self._judge.new_part(now_s) + self._judge.observe(word.score, key, word.captured_at_s, now_s)

    def _blind(self, word: Blind, now_s: float) -> None:
        fault = Fault(FaultSource[word.source], FaultKind[word.kind], word.reason)
        self._act(self._judge.fault(fault, now_s), now_s)
        if word.trigger >= 0:
            self._answer(word.trigger, Verdict.FAULT, now_s)

    def _failed(self, word: Failed, now_s: float) -> None:
        fault = Fault(FaultSource[word.source], FaultKind[word.kind], word.message)
        self._act(self._judge.fault(fault, now_s), now_s)
        if not self.supervisor.was_ready:
            raise PipelineFailed(word.message, word.exit_code)

    def _lost(self, why: str, now_s: float) -> None:
        """The pipeline is gone: FAULT first, then clean up after it."""
        reason = f"the pipeline process ended: {why}"
        self._act(self._judge.fault(Fault(FaultSource.PIPELINE, FaultKind.OTHER, reason), now_s), now_s)
        how = self.supervisor.lost(now_s)
        self._note = f"the pipeline was {how}" if how.startswith("killed") else f"the pipeline {how}"
        if not self.supervisor.was_ready and self.supervisor.restarts >= self._config.supervisor.restarts:
            raise PipelineFailed(f"the pipeline cannot start: it {how}; see the messages above", 5)

    def _tick(self, now_s: float) -> None:
        """Everything that is not a frame; apart from frames, so that a fast pipeline pays for it only now and then."""
        for command in (*self.parts.outputs.take_commands(now_s), *self.parts.commands.take()):
            self._obey(command, now_s)
        self._watch_pipeline(now_s)
        self._watch_store_and_outputs(now_s)
        self._answer_late_parts(now_s)
        self._act(self._judge.tick(now_s), now_s)
        self._acknowledge_complete(now_s)
        if self._duty.seconds is not None and now_s - self._counters.started_s >= self._duty.seconds:
            self._over = f"{self._duty.seconds:g} s are over"
        if self._duty.learning is not None and self._duty.learning.is_complete:
            self._over = "learned"
        self._publish(now_s)

    def _watch_pipeline(self, now_s: float) -> None:
        broken = self.supervisor.check(now_s)
        if broken is not None:
            self._act(self._judge.fault(broken, now_s), now_s)
            self.supervisor.kill(now_s)
        started = self.supervisor.try_restart(now_s)
        if isinstance(started, Fault):
            self._act(self._judge.fault(started, now_s), now_s)
        elif started is not None:
            self._adopt(started)

    def _adopt(self, process: PipelineProcess) -> None:
        """A new pipeline is there: hear it, and read its pictures in a thread."""
        self._reader = threading.Thread(target=self._read_pictures, args=(process,), name="pictures", daemon=True)
        self._reader.start()

    def _read_pictures(self, process: PipelineProcess) -> None:
        with process.pictures, process.pictures.makefile("rb") as stream:
            while (pictures := receive_pictures(stream)) is not None:
                self._take_pictures(pictures)

    def _take_pictures(self, pictures: Pictures) -> None:
        if pictures.event:
            self.parts.writer.save_pictures(pictures)
        else:
            self._counters.picture = LivePicture(pictures.sequence, pictures.frame, pictures.overlay)

    def _watch_store_and_outputs(self, now_s: float) -> None:
        trouble = self.parts.writer.trouble
        if trouble is not None:
            self._act(self._judge.fault(Fault(FaultSource.DISK, trouble.kind, trouble.reason), now_s), now_s)
        else:
            self._act(self._judge.clear(FaultSource.DISK, now_s), now_s)
        lost = self.parts.outputs.trouble
        if lost is not None:
            fault = Fault(FaultSource.OUTPUT, FaultKind.OUTPUT_NOT_PROVEN, lost)
            self._act(self._judge.fault(fault, now_s), now_s)
        else:
            self._act(self._judge.clear(FaultSource.OUTPUT, now_s), now_s)

    def _obey(self, command: Command, now_s: float) -> None:
        alarm = self._judge.alarm
        if isinstance(command, Acknowledge):
            self._announcer.want_acknowledged(command, alarm.occurrence)
        elif isinstance(command, ResetAlarm):
            self._act(list(alarm.reset(now_s)), now_s)
        elif isinstance(command, ShelveAlarm):
            shelving = alarm.shelve(now_s, command.seconds) if command.seconds > 0 else alarm.unshelve(now_s)
            self._act(list(shelving), now_s)
        elif isinstance(command, MarkEvent):
            self.parts.writer.mark(command.event, command.mark, command.who)
        elif isinstance(command, InspectPart):
            self._waiting.announce(command.trigger, now_s)
            self._ask(Inspect(command.trigger, command.since_s))
        elif isinstance(command, WantPictures):
            self._ask(Show(command.until_s))
        elif isinstance(command, Stop):
            self._over = command.reason

    def _acknowledge_complete(self, now_s: float) -> None:
        """Acknowledge what was asked for, but only what is written already; the rest waits."""
        for command in self._announcer.acknowledgeable(now_s):
            self._act(list(self._judge.alarm.acknowledge(now_s, command.up_to)), now_s)

    def _answer_late_parts(self, now_s: float) -> None:
        for part in self._waiting.late(now_s):
            reason = f"part {part} was not inspected within {self._waiting.within_s:g} s"
            self._act(self._judge.fault(Fault(FaultSource.TRIGGER, FaultKind.TRIGGER_TIMEOUT, reason), now_s), now_s)
            self._answer(part, Verdict.FAULT, now_s)

    def _part_verdict(self, score: float) -> Verdict:
        if self._judge.faults:
            return Verdict.FAULT
        return Verdict.ALARM if score > self._judge.vote.rules.threshold else Verdict.OK

    def _answer(self, part: int, verdict: Verdict, now_s: float) -> None:
        """Answer one announced part, once: a second answer finds it no longer waiting."""
        waited_s = self._waiting.answered(part, now_s)
        if waited_s is not None:
            self.parts.outputs.answer(part, replace(self._state(now_s), verdict=verdict), waited_s)

    def _ask(self, word: Word) -> None:
        process = self.supervisor.process
        if process is None:
            return
        try:
            send_word(process.words, word)
        except EOFError:
            return  # it has just died; the next turn hears that

    def _act(self, events: list[Event], now_s: float) -> None:
        """Tell everybody what happened: relay and wire before anything else."""
        if not events:
            return
        state = self._state(now_s)
        for event in events:
            kept = self._announcer.tell(event, state, self._seen)
            if kept is not None:
                self._ask(Keep(kept, self._seen.sequence if kept.startswith("A") else -1))
        self.parts.outputs.show(self._state(now_s))
        if fault := self._fault_text():
            self._watchdog.blind(fault)

    def _fault_text(self) -> str:
        faults = self._judge.faults
        return f"{faults[0].kind.value}: {faults[0].reason}" if faults else ""

    def _state(self, now_s: float) -> OutputState:
        return output_state(self._judge, self._counters, now_s, self._announcer.alarms, self._announcer.faults)

    def _publish(self, now_s: float) -> None:
        """Keep outputs fed every tick; tell sinks after a change and five times a second."""
        self.parts.outputs.show(self._state(now_s))
        judge = self._judge
        shown = (judge.verdict, judge.alarm.state, judge.alarm.occurrence, tuple(f.kind for f in judge.faults))
        if shown == self._published and now_s - self._published_s < PUBLISH_S:
            return
        self._published, self._published_s = shown, now_s
        self._latest = self._snapshot()
        for sink in self.parts.sinks:
            sink.publish(self._latest)

    def _snapshot(self) -> StationStatus:
        keeper = self.supervisor
        around = Around(keeper.restarts, keeper.memory_mb, self._note, self.parts.outputs.describe())
        return station_status(self._identity, self._judge, self._counters, self.ready, around)

    def _finish(self) -> None:
        """Pipeline first (its last pictures still come), then outputs into the safe state, then the store."""
        self._watchdog.stopping()
        self._published = ()
        self._publish(self._clock())
        stopping = replace(self._state(self._clock()), verdict=Verdict.FAULT, fault=FaultKind.STOPPING)
        self.parts.outputs.show(stopping)  # the pipeline may take a while to leave; nobody judges meanwhile
        self.supervisor.close()
        if self._reader is not None:
            self._reader.join(5.0)
        self.lost_events = self.parts.close()
