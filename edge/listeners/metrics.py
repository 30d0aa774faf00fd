"""Prometheus metrics of a station, names with units: for /metrics on the page, and for node_exporter's text files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.errors import InputError
from edge.files import write_atomic
from edge.listeners.options import Options
from edge.station.alarm import AlarmState
from edge.station.events import EventRecord
from edge.station.judge import FaultSource, Verdict
from edge.station.sinks import SinkContext
from edge.station.status import StationStatus
from edge.version import VERSION

PERIOD_S = 5.0


def metrics_text(status: StationStatus) -> bytes:
    """All metrics in Prometheus' text format. Raises ImportError without prometheus-client."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(status))
    return generate_latest(registry)


class MetricsFile:
    """See edge.station.sinks.Sink. Writes NAME.prom every five seconds and after each change of verdict."""

    def __init__(self, url: str, context: SinkContext) -> None:
        """Write it a first time. Raises InputError if that is impossible, ImportError without prometheus-client."""
        self._period_s = Options("metrics", context.options, frozenset({"period_s"})).number(
            "period_s", PERIOD_S, 1, 3600
        )
        self._path = Path(url)
        if self._path.suffix != ".prom":
            raise InputError(f"cannot use metrics file {url}", "node_exporter reads *.prom only", "name it edge.prom")
        self._verdict: Verdict | None = None
        self._written_s = float("-inf")
        self.publish(context.latest())

    def publish(self, status: StationStatus) -> None:
        """See edge.station.sinks.Sink."""
        now_s = time.monotonic()
        if status.verdict is self._verdict and now_s - self._written_s < self._period_s:
            return
        self._verdict, self._written_s = status.verdict, now_s
        write_atomic(self._path, metrics_text(status))

    def event(self, record: EventRecord, change: str) -> None:
        """Metrics tell of states; events are told elsewhere."""

    def close(self) -> None:
        """Take the file away: a station that does not run has no metrics."""
        self._path.unlink(missing_ok=True)


class _Collector:
    """What prometheus-client asks for the families of one status."""

    def __init__(self, status: StationStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Any]:
        """All families."""
        s = self._status
        yield from self._states("edge_verdict", "1 for the verdict that holds", "verdict", Verdict, s.verdict)
        yield from self._states("edge_alarm_state", "1 for the alarm's state (ISA-18.2)", "state", AlarmState, s.alarm)
        yield self._faults()
        for name, text, value in self._numbers():
            if value is not None:
                yield self._one(name, text, float(value))
        yield self._latencies()
        yield self._info()

    def _numbers(self) -> Iterator[tuple[str, str, float | None]]:
        s = self._status
        yield "edge_score", "Anomaly score of the newest frame", s.score
        yield "edge_score_threshold", "Decision threshold", s.threshold
        yield "edge_frame_rate_hertz", "Judged frames per second", s.fps
        yield "edge_frames_total", "Judged frames since the start", s.frames
        yield "edge_frames_left_out_total", "Frames that came while the pipeline was busy", s.frames_left_out
        yield "edge_alarms_total", "Alarms of this station so far", s.occurrence
        yield "edge_pipeline_restarts_total", "Restarts of the pipeline", s.restarts
        yield "edge_pipeline_memory_bytes", "Resident memory of the pipeline", 1e6 * s.memory_mb
        yield "edge_uptime_seconds", "Time since the start", s.uptime_s
        yield "edge_status_timestamp_seconds", "When this was so (Unix time)", s.wall_s
        yield "edge_alarm_acknowledged", "1 when nobody is waited for", s.acknowledged
        yield "edge_alarm_flood", "1 while alarms come in a flood", s.flooded

    def _one(self, name: str, text: str, value: float) -> Any:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        one = family(name, text, labels=["station"])
        one.add_metric([self._status.station], value)
        return one

    def _states(self, name: str, text: str, label: str, kinds: Any, now: object) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(name, text, labels=["station", label])
        for kind in kinds:
            family.add_metric([self._status.station, kind.value], float(kind is now))
        yield family

    def _faults(self) -> Any:
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(
            "edge_fault", "1 while this source keeps the station blind", labels=["station", "source"]
        )
        for source in FaultSource:
            family.add_metric([self._status.station, source.value], float(source.value in self._status.faults))
        return family

    def _latencies(self) -> Any:
        from prometheus_client.core import GaugeMetricFamily

        text = "Latency of a stage over the last frames"
        family = GaugeMetricFamily("edge_stage_latency_seconds", text, labels=["station", "stage", "quantile"])
        for stage, times in self._status.stages.items():
            for quantile, value_ms in (("0.5", times.p50_ms), ("0.99", times.p99_ms), ("1", times.max_ms)):
                family.add_metric([self._status.station, stage, quantile], value_ms / 1000)
        return family

    def _info(self) -> Any:
        from prometheus_client.core import GaugeMetricFamily

        s = self._status
        names = ("version", "bundle", "bundle_identity", "model_hash", "config_version", "engine", "camera")
        family = GaugeMetricFamily("edge_info", "What runs here; always 1", labels=["station", *names])
        hashes = (s.bundle_identity[:12], s.model_hash[:12])
        family.add_metric([s.station, VERSION, s.bundle, *hashes, s.config_version, s.engine, s.camera], 1.0)
        return family
