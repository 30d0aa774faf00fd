from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.errors import InputError
from edge.listeners.metrics import MetricsFile, metrics_text
from edge.station.judge import Verdict
from tests.edge.page.statuses import PretendStation, a_status

DOCS = Path(__file__).parents[3] / "docs" / "fleet"


def samples(text: str) -> dict[tuple[str, str], float]:
    """(name, value of its most telling label) -> value; of several stages the first."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            labels = {k: v for k, v in s.labels.items() if k not in ("station", "stage")} or s.labels
            found.setdefault((s.name, next(iter(labels.values()))), s.value)
    return found


def test_values_in_base_units() -> None:
    found = samples(metrics_text(a_status(Verdict.ALARM)).decode())
    assert found["edge_verdict", "alarm"] == 1.0 and found["edge_verdict", "ok"] == 0.0
    assert found["edge_alarm_state", "unacknowledged-active"] == 1.0
    assert found["edge_stage_latency_seconds", "0.5"] == pytest.approx(0.0002)
    assert found["edge_pipeline_memory_bytes", "line-4"] == 312e6
    assert found["edge_fault", "camera"] == 0.0 and found["edge_frames_total", "line-4"] == 107_280
    assert samples(metrics_text(a_status(Verdict.FAULT)).decode())["edge_fault", "camera"] == 1.0


def test_every_name_says_its_unit_and_has_a_help_text() -> None:
    units = ("_seconds", "_bytes", "_hertz", "_total", "_info")
    without = {"edge_verdict", "edge_alarm_state", "edge_alarm_acknowledged", "edge_alarm_flood", "edge_fault",
               "edge_score", "edge_score_threshold"}  # fmt: skip
    for family in text_string_to_metric_families(metrics_text(a_status()).decode()):
        names = {sample.name for sample in family.samples}
        assert all(name.endswith(units) or name in without for name in names), names
        assert family.documentation


def test_before_the_first_frame_there_is_no_score() -> None:
    text = metrics_text(a_status(Verdict.STARTING, score=None, threshold=None, stages={})).decode()
    assert "edge_score{" not in text and "edge_score_threshold{" not in text


def test_the_file_is_written_whole_and_taken_away(tmp_path: Path) -> None:
    station = PretendStation(tmp_path)
    path = tmp_path / "collector" / "edge.prom"
    sink = MetricsFile(str(path), station.context)
    before = path.read_text()
    sink.publish(a_status())
    assert path.read_text() == before, "not more often than every five seconds"
    sink.publish(a_status(Verdict.ALARM))
    assert samples(path.read_text())["edge_verdict", "alarm"] == 1.0
    assert [p.name for p in path.parent.iterdir()] == ["edge.prom"]
    sink.close()
    sink.close()
    assert not path.exists()


def test_a_file_that_nobody_would_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\*\.prom only"):
        MetricsFile(str(tmp_path / "edge.txt"), PretendStation(tmp_path).context)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        MetricsFile(str(tmp_path / "file" / "edge.prom"), PretendStation(tmp_path).context)


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml"])
def test_dashboard_and_alerts_name_metrics_that_exist(name: str) -> None:
    text = (DOCS / name).read_text()
    if name.endswith("json"):
        panels = json.loads(text)["panels"]
        text = " ".join(target["expr"] for panel in panels for target in panel.get("targets", []))
    families = text_string_to_metric_families(metrics_text(a_status()).decode())
    existing = {sample.name for family in families for sample in family.samples}
    named = set(re.findall(r"\bedge_[a-z_]+", text))
    assert named and named <= existing, named - existing


def test_the_guide_lists_every_metric() -> None:
    families = text_string_to_metric_families(metrics_text(a_status()).decode())
    existing = {sample.name for family in families for sample in family.samples}
    assert set(re.findall(r"\bedge_[a-z_]+", (DOCS / "README.md").read_text())) == existing
