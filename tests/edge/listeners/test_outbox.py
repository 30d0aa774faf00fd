from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.listeners.options import Options
from edge.listeners.outbox import Outbox


def test_what_waits_survives_and_keeps_its_id(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "a" / "outbox.db")
    for n in range(5):
        first.put(f"message {n}")
    ids = [w.id for w in first.after(0, 10)]
    first.done([w.number for w in first.after(0, 2)])
    first.close()
    again = Outbox(tmp_path / "a" / "outbox.db")
    assert again.count == 3 and [w.body for w in again.after(0, 10)] == ["message 2", "message 3", "message 4"]
    assert [w.id for w in again.after(0, 10)] == ids[2:]
    again.done(w.number for w in again.after(0, 10))
    again.put("message 5")
    assert again.after(0, 10)[0].id not in ids, "no id is used twice"
    again.close()
    other = Outbox(tmp_path / "b.db")
    other.put("x")
    assert other.after(0, 1)[0].id not in ids
    other.close()


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 20), st.lists(st.integers(1, 7), max_size=20))
def test_it_is_bounded_and_counts_what_it_gave_up(limit: int, puts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_bound(Path(folder) / "outbox.db", limit, puts)


def check_bound(path: Path, limit: int, puts: list[int]) -> None:
    box = Outbox(path, limit)
    put = 0
    for some in puts:
        for _ in range(some):
            box.put(str(put))
            put += 1
        assert box.count == min(limit, put) and box.lost == put - box.count
    assert [w.body for w in box.after(0, 1000)] == [str(n) for n in range(put)][-limit:]
    box.close()
    box = Outbox(path, limit)
    assert (box.count, box.lost) == (min(limit, put), put - min(limit, put))
    box.close()


def test_a_full_disk_only_makes_it_wait(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    box.put("before")
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    box._db.execute(f"PRAGMA max_page_count = {pages}")
    for n in range(50):
        box.put(f"{n}" + "x" * 1000)
    assert "full" in box.trouble and box.count == 51
    box._db.execute("PRAGMA max_page_count = 1000000")
    assert len(box.after(0, 100)) == 51 and box.trouble == ""
    box.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="cannot use outbox"):
        Outbox(tmp_path / "outbox.db")
    with pytest.raises(InputError, match="cannot use outbox"):
        Outbox(tmp_path / "outbox.db" / "below" / "outbox.db")


def _put_for_ever(path: Path, told: int) -> None:
    box = Outbox(path)
    for n in range(1_000_000):
        box.put(str(n))
        os.write(told, f"{n}\n".encode())


def test_power_cuts_lose_nothing_that_was_taken(tmp_path: Path) -> None:
    """The process is killed while it puts; all that `put` returned from is there."""
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_put_for_ever, args=(tmp_path / "o.db", write))
    process.start()
    os.close(write)
    data = b""
    while data.count(b"\n") < 50:
        data += os.read(read, 4096)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    while more := os.read(read, 65536):
        data += more
    process.join()
    os.close(read)
    box = Outbox(tmp_path / "o.db")
    assert [w.body for w in box.after(0, 10**6)][: data.count(b"\n")] == data.decode().split()
    box.close()


def test_options_are_known_and_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = frozenset(("url", "n", "on", "token", "token_file", "file"))
    (tmp_path / "token").write_text("from file\n")
    (tmp_path / "empty").write_text("\n")
    good = Options("page", {"url": "x", "n": 3, "on": True, "token_file": str(tmp_path / "token")}, known)
    assert (good.text("url"), good.number("n", 1, 0, 9), good.flag("on", False)) == ("x", 3.0, True)
    assert good.secret("token") == "from file"
    monkeypatch.setenv("EDGE_PAGE_TOKEN", "from environment")
    assert Options("page", {}, known).secret("token") == "from environment"
    assert Options("page", {"token": "typed"}, known).secret("token") == "typed"
    bad = Options("page", {"url": 5, "n": 99, "on": 1, "token_file": str(tmp_path / "empty"), "file": "/no"}, known)
    for read in (
        lambda: bad.text("url"),
        lambda: bad.number("n", 1, 0, 9),
        lambda: bad.flag("on", False),
        lambda: bad.secret("token"),
        lambda: bad.file("file"),
    ):
        with pytest.raises(InputError, match=r"bad setting sink_options\.page\."):
            read()
    with pytest.raises(InputError, match="there are file, n"):
        Options("page", {"nn": 1}, known)
