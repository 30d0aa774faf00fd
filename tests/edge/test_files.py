from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import InputError, one_line
from edge.files import atomic_path, write_atomic


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_atomic(target, b"old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("power cut")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel refuses to write past RLIMIT_FSIZE as a full disk does: mid-file, with an OSError."""
    script = f"""
import resource, signal
from pathlib import Path
from edge.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
target = Path({str(tmp_path / "a.bin")!r})
write_atomic(target, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))
write_atomic(target, b"x" * 100_000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_an_unwritable_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path / "file" / "a.bin", b"")


def test_a_message_is_one_line_whatever_the_name() -> None:
    assert one_line("a\n2026 OK all good\x1b[2J") == "a\\n2026 OK all good\\x1b[2J"
