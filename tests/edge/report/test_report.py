from __future__ import annotations

import json
import os
import re
import time
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bundle import open_bundle, write_bundle
from edge.cli.base import run
from edge.cli.report import command
from edge.report.reading import EventReader
from edge.report.shift import settled, shift_of, union_s
from edge.station.events import EventRecord, EventStore
from tests.edge.page.browser import chromium, size
from tests.edge.page.statuses import add_alarm, add_fault
from tests.edge.tiny_bundle import make_tiny_bundle


class Outline(HTMLParser):
    """Checks that tags are closed in order, and notes what the page would load or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "path", "rect", "br"):
            self.open.append(tag)
        if tag in ("script", "link", "iframe"):
            self.loads.append(tag)
        self.loads += [str(v) for k, v in attrs if k in ("src", "href") and not str(v).startswith("data:image/")]
        self.loads += [k for k, _ in attrs if k.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "rect"):
            assert self.open.pop() == tag


def fault(first: float, last: float | None, reason: str = "camera lost: x") -> EventRecord:
    return EventRecord(id="F1", kind="fault", number=1, began_at=first, ended_at=last, reason=reason)


def test_figures_of_a_shift() -> None:
    alarm = EventRecord(id="A1", kind="alarm", number=1, began_at=150.0, ended_at=160.0, mark="false-alarm")
    events = [fault(50, 120), fault(110, 130, "disk full: y"), fault(190, None), alarm]
    shift = shift_of(events, 100.0, 200.0)
    assert shift.blind_s == 30 + 10 and shift.availability == pytest.approx(0.6)
    assert [shift.lasted_s(event) for event in shift.faults] == [20, 20, 10]
    assert shift.by_reason() == [("camera lost", 2, 30.0), ("disk full", 1, 20.0)]
    assert (shift.unacknowledged, shift.false_alarms) == (1, 1)
    assert shift.per_slot(30.0) == [(100.0, 0), (130.0, 1), (160.0, 0), (190.0, 0)]


def test_what_an_earlier_run_left_open_does_not_count_for_ever() -> None:
    left, going_on = settled([fault(10, None), fault(110, None)], started_s=100.0)
    assert left.ended_at == 10 and "not recorded" in left.note and going_on.ended_at is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted)))
def test_overlapping_times_count_once(spans: list[list[int]]) -> None:
    seconds = {s for first, last in spans for s in range(first, last)}
    assert union_s([(float(a), float(b)) for a, b in spans]) == len(seconds)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """The store of a shift of eight hours."""
    folder = tmp_path / "events"
    with closing(EventStore(folder)) as store:
        for number in range(1, 8):
            add_alarm(store, number, ago_s=8 * 3600 - number * 3500)
        store.acknowledge(5, time.time(), "Ada <b>")
        store.mark("A2", "false-alarm", "Ada")
        add_fault(store, 1, ago_s=9000, lasted_s=95.0)
        add_fault(store, 2, ago_s=4000, lasted_s=20.0)
        add_fault(store, 3, ago_s=90_000, lasted_s=None)
    (folder / "config.json").write_text(json.dumps({"name": "line-4"}))
    return folder


def test_a_shift_report(events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shift.html"
    assert run(command, [str(events), "--from", "8h", "--out", str(out)]) == 0
    assert re.match(r"report: \d\.\d s, 7 alarms, 2 faults, 0\.\d\d MB, ", capsys.readouterr().out)
    html = out.read_text()
    assert Outline(html).loads == []
    assert html.count("data:image/jpeg") == 7 and "Ada &lt;b&gt;" in html and "Shift report, line-4" in html
    assert "camera lost" in html and "1.9 min" not in html and "95.0 s" in html and "99.6" in html


def test_a_shift_between_two_times(events: Path, tmp_path: Path) -> None:
    first, last = (time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - ago)) for ago in (9100, 8000))
    out = tmp_path / "shift.html"
    assert run(command, [str(events), "--from", first, "--to", last, "--out", str(out)]) == 0
    assert ">F1<" in out.read_text() and ">F2<" not in out.read_text()


def test_nothing_happened(tmp_path: Path) -> None:
    EventStore(tmp_path / "events").close()
    assert run(command, [str(tmp_path / "events"), "--out", str(tmp_path / "a.html")]) == 0
    assert "100.00%" in (tmp_path / "a.html").read_text()


def test_a_bundle_report(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.edge", name="tiny")
    assert run(command, [str(bundle), "--out", str(tmp_path / "tiny.html")]) == 0
    html = (tmp_path / "tiny.html").read_text()
    assert Outline(html).loads == [] and html.count("data:image/png") == 3
    opened = open_bundle(bundle)
    limit = opened.manifest.variants["fp32"].threshold
    assert f"{limit.value:.6g}" in html and opened.identity in html and html.count("ALARM</figcaption>") == 1
    model = opened.manifest.model.model_copy(update={"config": {"<script>": "<b>"}})
    write_bundle(bundle, opened.manifest.model_copy(update={"model": model}), opened.read_all())
    assert run(command, [str(bundle), "--out", str(tmp_path / "b.html")]) == 0
    assert Outline((tmp_path / "b.html").read_text()).loads == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.edge"], 3, "no bundle nowhere.edge"),
        (["."], 3, "no event store in ."),
        (["EVENTS", "--from", "yesterday"], 2, "cannot read --from yesterday"),
        (["EVENTS", "--to", "99999-01-01"], 2, "cannot read --to"),
        (["EVENTS", "--from", "2026-01-02", "--to", "2026-01-01"], 2, "the shift has no length"),
        (["EVENTS", "--out", "/proc/no/report.html"], 3, "cannot write"),
    ],
)
def test_errors_say_what_to_do(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(command, [str(events) if a == "EVENTS" else a for a in arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))


def test_a_report_while_the_station_writes(events: Path) -> None:
    with closing(EventStore(events)) as store, closing(EventReader(events)) as reader:
        before = reader.version
        add_alarm(store, 99)
        assert reader.version > before and reader.newest(1)[0].id == "A99"
        assert reader.get("A1000") is None


@pytest.mark.slow
def test_it_prints_on_paper(events: Path, tmp_path: Path) -> None:
    """A real browser prints both; EDGE_SAVE_SCREENSHOTS keeps what they look like."""
    import base64

    shift, bundle = tmp_path / "shift.html", tmp_path / "bundle.html"
    assert run(command, [str(events), "--from", "8h", "--out", str(shift)]) == 0
    assert run(command, [str(make_tiny_bundle(tmp_path / "tiny.edge")), "--out", str(bundle)]) == 0
    with chromium(tmp_path / "profile") as browser:
        size(browser, 1100, 1300)
        for page in (shift, bundle):
            browser.get(page.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 1100
            assert browser.execute_script("return [...document.images].every(i => i.naturalWidth > 0)")
            printed = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
            pdf = base64.b64decode(printed["data"])
            assert pdf.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
            if folder := os.environ.get("EDGE_SAVE_REPORTS"):
                taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                Path(folder, f"{page.stem}.png").write_bytes(base64.b64decode(taken["data"]))
                Path(folder, f"{page.stem}.pdf").write_bytes(pdf)
