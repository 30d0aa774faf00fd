"""What the page is told, as JSON text. Made once for all viewers, in the listener's own thread."""

from __future__ import annotations

import json
from collections.abc import Sequence

from edge.listeners.messages import plain
from edge.station.events import EventRecord
from edge.station.status import StationStatus
from edge.station.terminal import as_json

WORDS = {"starting": "STARTING", "ok": "OK", "alarm": "ALARM", "fault": "FAULT"}


def status_text(status: StationStatus, picture_age_s: float | None) -> str:
    """The newest status. `picture_age_s`: age of the live picture, None if there is none."""
    values = {**as_json(status), "word": WORDS[status.verdict.value]}
    values["picture"] = None if status.picture is None else status.picture.sequence
    values["picture_age_s"] = None if picture_age_s is None else round(picture_age_s, 1)
    return _text(values)


def trend_text(at_s: float, columns: Sequence[tuple[int, float, float]]) -> str:
    """Columns of the score's trend. `now` is the second that they are counted to."""
    return _text({"now": int(at_s), "columns": [(s, _short(low), _short(high)) for s, low, high in columns]})


def events_text(records: Sequence[EventRecord]) -> str:
    """The newest events, newest first, as far as the page shows them."""
    return _text({"events": [_event(record) for record in records]})


def _event(record: EventRecord) -> dict[str, object]:
    names = "id kind number began_at ended_at source reason score threshold announced acknowledged_at mark note".split()
    values: dict[str, object] = {name: getattr(record, name) for name in names}
    return {**values, "picture": bool(record.overlay_picture), "by": record.acknowledged_by}


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _text(values: dict[str, object]) -> str:
    return json.dumps(plain(values), allow_nan=False, separators=(",", ":"))
