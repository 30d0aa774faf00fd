"""A folder of its own in which a page's commands are typed, one block after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.book import blocks

PROGRAMS = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"


@dataclass
class Sandbox:
    """`folder` is where the commands are typed; home and temporary files lie beside it."""

    folder: Path
    replaced: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def type_blocks(self, path: Path, kinds: str) -> None:
        """Type the blocks of a page that are of these kinds; a `toml` block becomes station.toml."""
        for kind, body in blocks(path.read_text(), f"{kinds}|toml"):
            for said, typed in self.replaced.items():
                body = body.replace(said, typed)
            if kind == "toml":
                (self.folder / "station.toml").write_text(body)
            else:
                self.type(body, path.name)

    def type(self, body: str, page: str) -> None:
        """Type one block as a shell script that ends at the first error; nothing of it is left running."""
        with (self.folder.parent / "output.txt").open("w+") as said:
            shell = ["bash", "-euo", "pipefail", "-c", body]
            process = subprocess.Popen(
                shell, cwd=self.folder, env=self.environment(), stdout=said, stderr=said, start_new_session=True
            )
            try:
                code = process.wait(timeout=600)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            said.seek(0)
            assert code == 0, f"{page}:\n{body}\n{said.read()[-5000:]}"

    def environment(self) -> dict[str, str]:
        """Ours, with a home and a place for temporary files of its own, and this environment's commands first."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGE_", "XDG_", "MAKE"))}
        places = {name: self.folder.parent / name.lower() for name in ("HOME", "TMPDIR")}
        for place in places.values():
            place.mkdir(exist_ok=True)
        ours = {name: str(place) for name, place in places.items()}
        calm = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin starve on a busy machine
        return {**kept, **ours, **calm, "PATH": PROGRAMS, **self.variables}
