"""The pipeline: newest frame -> preprocessing -> health -> engine -> one word to the station. A process of its own.

It holds no state that matters: verdict, alarm, outputs and events belong to the station, so that the pipeline may die
at any moment and nothing but sight is lost. It writes nothing to disk and never waits for anybody but the camera.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import replace

import cv2
import numpy as np

from edge.bundle import Bundle
from edge.camera.base import CameraLost, EndOfStream, Frame
from edge.camera.grabber import Grabber
from edge.camera.open import is_live
from edge.camera.settings import CameraSettings
from edge.engine.base import Engine, Scores
from edge.engine.open import open_engine
from edge.errors import EdgeError, EngineFault, InputError
from edge.golden import check_golden
from edge.health import HealthKind, HealthLimits, HealthMonitor
from edge.health_measures import Repeats
from edge.images import list_images, read_image
from edge.installed import state_folder, trusted_bundle
from edge.locate import cells_of
from edge.preprocess import prepared, preprocess
from edge.station.channel import (
    MARKED,
    NO_PART,
    Alive,
    Blind,
    Ended,
    Failed,
    Inspect,
    Keep,
    Progress,
    Ready,
    Scored,
    Show,
    Word,
    receive_words,
    send_word,
)
from edge.station.evidence import Sight
from edge.station.judge import FaultKind, FaultSource
from edge.station.learned import Limit, limit_of
from edge.station.picture_sender import PictureSender
from edge.station.pipeline_spec import PipelineSpec

WAIT_S = 0.1  # for a frame, before a sign of life is given and commands are read
HELD_FRAMES = 8
ENGINE_TRIES = 3
OPENING_S = 2.0  # a camera that is being opened is not called lost yet
PR_SET_PDEATHSIG = 1
KINDS = {
    FaultSource.BUNDLE: FaultKind.BUNDLE_REFUSED,
    FaultSource.ENGINE: FaultKind.ENGINE_ERROR,
    FaultSource.CAMERA: FaultKind.CAMERA_LOST,
}
HEALTH_KINDS: dict[HealthKind, FaultKind] = {
    "frozen": FaultKind.CAMERA_FROZEN,
    "black": FaultKind.PICTURE_BLACK,
    "saturated": FaultKind.PICTURE_SATURATED,
    "washed_out": FaultKind.EXPOSURE_DRIFT,
    "out_of_focus": FaultKind.OUT_OF_FOCUS,
    "exposure_drift": FaultKind.EXPOSURE_DRIFT,
    "moved": FaultKind.CAMERA_MOVED,
}


class Pipeline:
    """One run of the pipeline; `turn` handles one frame."""

    def __init__(self, spec: PipelineSpec, link: socket.socket, pictures: PictureSender) -> None:
        self._spec, self._link, self._pictures = spec, link, pictures
        self._triggered = spec.config.decision.mode == "triggered"
        self._waiting: deque[Inspect] = deque()
        self._held: deque[Sight] = deque(maxlen=HELD_FRAMES)
        self._suspicious: deque[Sight] = deque(maxlen=HELD_FRAMES)
        self._repeats = Repeats()
        self._sequence = -1
        self._scored = self._engine_failures = 0
        self._scored_at_s = self._show_until_s = 0.0
        self.doing = FaultSource.BUNDLE

    def open(self) -> None:
        """Bundle, engine, golden frames, camera, in this order; each is told to the station."""
        config = self._spec.config
        self._bundle = trusted_bundle(config.engine.bundle, config.engine.key)
        self._prep = self._bundle.manifest.preprocessing
        self.doing = FaultSource.ENGINE
        self._open_engine()
        self._limit = limit_of(
            self._bundle, self._engine.variant, config.engine.threshold, state_folder(config.engine.bundle)
        )
        self.doing = FaultSource.CAMERA
        self._say(Progress("opening the camera"))
        settings = CameraSettings(**config.camera.model_dump(exclude={"url"}))
        self._grabber = Grabber(config.camera.url, settings, must_open=not self._spec.again)
        self._opened_s = time.monotonic()
        self._is_live = is_live(config.camera.url, settings)
        self._health = _health_monitor(self._bundle, config.health)
        self._say(_ready(self._bundle, self._engine, self._grabber, self._limit))
        self._score_marked()

    def turn(self) -> bool:
        """Handle commands and one frame; False when there is nothing more to do."""
        self._obey()
        try:
            frame = self._grabber.newest(self._sequence, WAIT_S)
        except CameraLost as lost:
            self._no_frame(lost)
            return True
        except EndOfStream as end:
            self._say(Ended(str(end.what)))
            return False
        self._sequence = frame.sequence
        now_s = time.monotonic()
        # A recorded picture has no age: it waits for us, not we for it.
        self._look(frame if self._is_live else replace(frame, captured_at_s=now_s), now_s)
        self._health.settle()
        if self._spec.frames is not None and self._scored >= self._spec.frames:
            self._say(Ended(f"{self._scored} frames were scored"))
            return False
        return True

    def close(self) -> None:
        """Release camera and engine."""
        for part in ("_grabber", "_engine"):
            if hasattr(self, part):
                getattr(self, part).close()

    def _score_marked(self) -> None:
        folder = self._spec.marked
        if folder is None or not any(folder.glob("*.png")):
            return
        for path in list_images(folder):
            scores = self._engine.infer(preprocess(read_image(path), self._prep))
            self._say(Scored(0, time.monotonic(), scores.score, scores.masked_error, MARKED, 0, (0.0, 0.0, 0.0, 0.0)))

    def _open_engine(self) -> None:
        config = self._spec.config.engine
        self._say(Progress("opening the engine"))
        self._engine: Engine = open_engine(
            self._bundle, config.precision, config.backend, config.threads, lambda text: self._say(Progress(text))
        )
        self._say(Progress("checking the golden frames"))
        check_golden(self._engine, self._bundle)

    def _obey(self) -> None:
        for word in receive_words(self._link):
            if isinstance(word, Inspect):
                self._waiting.append(word)
            elif isinstance(word, Keep):
                self._pictures.keep(word.event, word.sequence, self._sight(word.sequence))
            elif isinstance(word, Show):
                self._show_until_s = word.until_s

    def _sight(self, sequence: int) -> Sight | None:
        """The held frame with this sequence; the newest for -1."""
        if sequence == -1:
            return self._held[-1] if self._held else None
        return next((s for s in (*self._held, *self._suspicious) if s.sequence == sequence), None)

    def _no_frame(self, lost: CameraLost) -> None:
        status = self._grabber.status
        opening = status.last_frame_at_s is None and time.monotonic() - self._opened_s < OPENING_S
        if status.connected or opening:
            self._say(Alive())
        else:
            self._blind(FaultSource.CAMERA, FaultKind.CAMERA_LOST, status.fault or str(lost))

    def _look(self, frame: Frame, picked_s: float) -> None:
        try:
            ready = prepared(frame.image, self._prep)
        except InputError as error:
            return self._blind(FaultSource.CAMERA, FaultKind.OTHER, str(error))
        prepared_s = time.monotonic()
        problems = self._health.update(ready.overview, self._fingerprint(frame), frame.captured_at_s)
        healthy_s = time.monotonic()
        if problems:
            self._held.append(Sight(frame.sequence, frame.image, None, 0.0))
            self._show(self._held[-1])
            return self._blind(FaultSource.HEALTH, HEALTH_KINDS[problems[0].kind], "; ".join(p.text for p in problems))
        if self._health.repeated or not self._is_due(frame):
            return self._say(Alive())
        try:
            scores = self._engine.infer(ready.frame)
        except EngineFault as error:
            self.doing = FaultSource.ENGINE
            return self._mend_engine(error)
        stages_s = (frame.captured_at_s, picked_s, prepared_s, healthy_s, time.monotonic())
        self._say_scored(frame, scores, stages_s)
        place = cells_of(ready.place, ready.frame.shape[:2], scores.heatmap.shape)
        self._remember(Sight(frame.sequence, frame.image, scores.heatmap, self._heat(scores.score), place))
        self._engine_failures = 0

    def _say_scored(self, frame: Frame, scores: Scores, s: tuple[float, float, float, float, float]) -> None:
        """The verdict waits for this word: nothing that can be done after it is done before."""
        stages_ms = (1e3 * (s[1] - s[0]), 1e3 * (s[2] - s[1]), 1e3 * (s[3] - s[2]), 1e3 * (s[4] - s[3]))
        trigger, left_out = self._trigger_for(frame), self._grabber.status.dropped
        self._say(
            Scored(frame.sequence, frame.captured_at_s, scores.score, scores.masked_error, trigger, left_out, stages_ms)
        )

    def _fingerprint(self, frame: Frame) -> int:
        """Two equal pictures of a camera mean that it hangs; in a recording they are what was recorded."""
        return self._repeats.number_of(frame.image) if self._is_live else frame.sequence

    def _is_due(self, frame: Frame) -> bool:
        """Free-running: every frame. Triggered: one per part, and now and then one more to prove that we see."""
        if not self._triggered:
            return True
        if self._waiting and frame.captured_at_s >= self._waiting[0].since_s:
            return True
        return frame.captured_at_s - self._scored_at_s >= 0.4 * self._spec.config.decision.max_age_s

    def _trigger_for(self, frame: Frame) -> int:
        if self._waiting and frame.captured_at_s >= self._waiting[0].since_s:
            return self._waiting.popleft().trigger
        return NO_PART

    def _remember(self, sight: Sight) -> None:
        self._scored += 1
        self._scored_at_s = time.monotonic()
        self._held.append(sight)
        if sight.heat > 1.0:
            self._suspicious.append(sight)
        self._show(sight)

    def _show(self, sight: Sight) -> None:
        """People who watch see what the camera sees, also when it is too poor to be scored."""
        if time.monotonic() < self._show_until_s:
            self._pictures.show(sight)

    def _heat(self, score: float) -> float:
        """0 three spreads below the threshold, 1 at it."""
        reach = max(3.0 * self._limit.spread, 1e-12)
        return 1.0 + (score - self._limit.threshold) / reach

    def _mend_engine(self, error: EngineFault) -> None:
        self._blind(FaultSource.ENGINE, FaultKind.ENGINE_ERROR, str(error))
        self._engine_failures += 1
        if self._engine_failures >= ENGINE_TRIES:
            raise error
        self._engine.close()
        self._open_engine()

    def _blind(self, source: FaultSource, kind: FaultKind, reason: str) -> None:
        trigger = self._waiting.popleft().trigger if self._waiting else NO_PART
        self._say(Blind(source.name, kind.name, reason, trigger))

    def _say(self, word: Word) -> None:
        send_word(self._link, word)


def _ready(bundle: Bundle, engine: Engine, grabber: Grabber, limit: Limit) -> Ready:
    row = bundle.manifest.variants[engine.variant]
    return Ready(
        engine=engine.description,
        variant=engine.variant,
        camera=grabber.status.description,
        bundle=bundle.manifest.name,
        bundle_identity=bundle.identity,
        model_hash=bundle.manifest.members[row.graph].sha256,
        threshold=limit.threshold,
        spread=limit.spread,
        threshold_source=limit.source,
    )


def _health_monitor(bundle: Bundle, limits: HealthLimits) -> HealthMonitor:
    baseline = bundle.manifest.normal_images
    if baseline.reference is None:
        return HealthMonitor(baseline, None, limits)
    flags = cv2.IMREAD_GRAYSCALE if bundle.manifest.preprocessing.colour == "grey" else cv2.IMREAD_COLOR
    reference = cv2.imdecode(np.frombuffer(bundle.read(baseline.reference), np.uint8), flags)
    if reference is None:
        raise InputError(f"{bundle.path} has a damaged reference picture", baseline.reference, "export it again")
    return HealthMonitor(baseline, np.asarray(reference, np.uint8), limits)


def _settle_memory() -> None:
    """What stays is all there: the collector need not walk it while a frame waits, and what opening took goes back."""
    gc.freeze()
    with contextlib.suppress(AttributeError):  # glibc's own
        ctypes.CDLL(None).malloc_trim(0)


def run(spec: PipelineSpec, words: socket.socket, pictures: socket.socket) -> int:
    """Run until the source ends or the station goes; returns the exit code."""
    sender = PictureSender(pictures)
    pipeline = Pipeline(spec, words, sender)
    try:
        pipeline.open()
        _settle_memory()
        while pipeline.turn():
            sender.check()
        return 0
    except EOFError:
        return 0  # the station is gone, and so are we
    except EdgeError as error:
        with contextlib.suppress(EOFError):
            send_word(words, Failed(pipeline.doing.name, KINDS[pipeline.doing].name, str(error), error.exit_code))
        return error.exit_code
    finally:
        pipeline.close()
        sender.close()


def main() -> int:
    """`python -m edge.station.pipeline WORDS PICTURES`: descriptors of two sockets; the specification is on stdin."""
    # The kernel ends us if the station dies, even while a driver call blocks.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.setswitchinterval(0.0005)  # a new frame must not wait for the thread that encodes pictures
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the station, which then closes the channel
    words, pictures = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    spec = PipelineSpec.model_validate_json(sys.stdin.buffer.read())
    return run(spec, words, pictures)


if __name__ == "__main__":
    sys.exit(main())
