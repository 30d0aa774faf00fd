"""From marks to data: frames that somebody marked at a station join the folders that the next training reads.

False alarms are normal parts, so they join the normal pictures; true alarms are known anomalies. A copy's name holds
the store, the event and the picture's hash: stores of many stations mix, and a second collection adds nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge.dataset import MARKED
from edge.errors import InputError
from edge.files import sha256_of, write_atomic
from edge.station.events import EventRecord, EventStore


@dataclass(frozen=True)
class Collected:
    """What one collection found. `lost`: marked events whose picture is gone."""

    folder: Path
    added: int = 0
    there: int = 0
    lost: tuple[str, ...] = ()


def collect(stores: Iterable[Path], mark: str, folder: Path) -> Collected:
    """Copy the frames of all events in `stores` that carry `mark` into `folder`, which is made if need be.

    Raises InputError if a store is missing or cannot be read, or `folder` cannot be written.
    """
    added, there, lost = 0, 0, []
    for store, record, picture in _marked(stores, mark):
        if not picture.is_file():
            lost.append(f"{store.name} {record.id}")
            continue
        try:
            data = picture.read_bytes()
            target = folder / f"{MARKED}{store.resolve().name}-{record.id}-{sha256_of(data)[:8]}.png"
            if target.exists():
                there += 1
                continue
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)
        except OSError as error:
            raise InputError(
                f"cannot write {folder}", error.strerror or str(error), "free space or name another"
            ) from error
        added += 1
    return Collected(folder, added, there, tuple(lost))


def normal_folder(data: Path) -> Path:
    """Where normal pictures of the data folder `data` lie. Raises InputError if it is not there."""
    if not data.is_dir():
        raise InputError(f"no data folder {data}", "it does not exist or is not a folder", "check the path")
    good = data / "train" / "good"
    return good if good.is_dir() else data


def _marked(stores: Iterable[Path], mark: str) -> Iterator[tuple[Path, EventRecord, Path]]:
    for folder in stores:
        with closing(EventStore(folder, must_exist=True)) as store:
            for record in store.find("mark = ?", (mark,), limit=1_000_000):
                yield folder, record, _picture(store, record)


def _picture(store: EventStore, record: EventRecord) -> Path:
    """A false alarm's copy outlives the picture of the event, which goes when room is short."""
    if record.mark == "false-alarm":
        return store.normal_copy(record.id)
    return store.folder / (record.frame_picture or "gone")
