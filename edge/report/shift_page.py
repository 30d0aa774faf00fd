"""The shift report as HTML: counts, availability, alarms with their pictures, faults with their durations."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from edge.report.html import Raw, bars, figure, mark, numbers, page, section, table, text
from edge.report.shift import Shift
from edge.station.events import EventRecord
from edge.version import VERSION

MAX_PICTURES = 60
PICTURE_WIDTH = 480
AVAILABILITY_NOTE = (
    "Availability is the part of this time in which no fault was recorded. Times in which the station was switched off "
    "leave no trace in the event store."
)


def shift_page(shift: Shift, folder: Path, station: str) -> str:
    """The page. Pictures come from the store in `folder`."""
    parts = [
        _figures(shift),
        text(AVAILABILITY_NOTE, note=True),
        section("Alarms over time", bars("alarms over time", _slots(shift))) if shift.alarms else Raw(""),
        section("Alarms", *_alarms(shift, folder)),
        section("Faults", *_faults(shift)),
    ]
    span = f"{_when(shift.first_s)} to {_when(shift.last_s)}"
    made = f"edge-report {VERSION}, made {_when(time.time())}. Not a safety function."
    return page(f"Shift report, {station}", f"{span}, {spell(shift.seconds)}", parts, made)


def spell(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _figures(shift: Shift) -> Raw:
    waiting = shift.unacknowledged
    return numbers(
        (
            ("Alarms", str(len(shift.alarms)), False),
            ("Not acknowledged", str(waiting), waiting > 0),
            ("Marked as false", str(shift.false_alarms), False),
            ("Faults", str(len(shift.faults)), False),
            ("Blind for", spell(shift.blind_s), shift.blind_s > 0),
            ("Availability", f"{shift.availability:.2%}", shift.availability < 0.99),
        )
    )


def _slots(shift: Shift) -> list[tuple[str, float]]:
    slot_s = next((s for s in (300.0, 900.0, 3600.0, 6 * 3600.0) if shift.seconds / s <= 48), 86_400.0)
    form = "%H:%M" if shift.seconds <= 2 * 86_400 else "%d.%m. %H:%M" if slot_s < 86_400 else "%d.%m."
    return [(time.strftime(form, time.localtime(start)), float(n)) for start, n in shift.per_slot(slot_s)]


def _alarms(shift: Shift, folder: Path) -> list[Raw]:
    if not shift.alarms:
        return [text("None.")]
    head = ("alarm", "began", "lasted", "score", "threshold", "seen by", "marked", "bundle")
    rows = [_alarm(shift, alarm) for alarm in shift.alarms]
    pictured = [alarm for alarm in shift.alarms if alarm.overlay_picture]
    pictures = [_picture(alarm, folder) for alarm in pictured[-MAX_PICTURES:]]
    left_out = len(pictured) - MAX_PICTURES
    note = [text(f"The oldest {left_out} pictures are left out.", note=True)] if left_out > 0 else []
    return [table(head, rows), *note, *(p for p in pictures if p is not None)]


def _alarm(shift: Shift, alarm: EventRecord) -> tuple[str | Raw, ...]:
    seen = mark(False, "nobody") if alarm.acknowledged_at is None else alarm.acknowledged_by
    lasted = _lasted(shift, alarm)
    marked = "" if alarm.mark == "none" else alarm.mark.replace("-", " ")
    silent = "" if alarm.announced else " (not announced)"
    scores = (f"{alarm.score or 0:.5g}", f"{alarm.threshold or 0:.5g}")
    return (alarm.id + silent, _when(alarm.began_at), lasted, *scores, seen, marked, alarm.bundle)


def _picture(alarm: EventRecord, folder: Path) -> Raw | None:
    """The overlay, small enough for a page of many; None if it is gone or damaged."""
    try:
        data = (folder / "pictures" / Path(alarm.overlay_picture).name).read_bytes()
    except OSError:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return None
    scale = min(1.0, PICTURE_WIDTH / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    caption = f"{alarm.id}, {time.strftime('%H:%M:%S', time.localtime(alarm.began_at))}, score {alarm.score or 0:.4g}"
    return figure(encoded.tobytes(), "image/jpeg", caption) if done else None


def _faults(shift: Shift) -> list[Raw]:
    if not shift.faults:
        return [text("None.")]
    totals = table(
        ("reason", "times", "together"), [(r, str(n), spell(seconds)) for r, n, seconds in shift.by_reason()]
    )
    rows = [(f.id, _when(f.began_at), _lasted(shift, f), f.source, f.reason) for f in shift.faults]
    return [totals, table(("fault", "began", "lasted", "source", "reason"), rows)]


def _lasted(shift: Shift, event: EventRecord) -> str:
    if event.ended_at == event.began_at and event.note:
        return event.note
    return spell(shift.lasted_s(event)) + ("" if event.ended_at is not None else ", goes on")


def _when(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_s))
