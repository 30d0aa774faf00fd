"""Draw inspection sets: python -m benchmarks.drawn_sets OUT [NAME ...]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from benchmarks.drawn_sets.layout import SETS, write


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    names = list(dict.fromkeys(given.names)) or list(SETS)
    for name in names:
        folder = given.out / name
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            print(f"{folder} is not an empty folder", file=sys.stderr)
            return 2
    cv2.setNumThreads(1)  # the pictures are small: more threads cost more than they bring
    for name in names:
        write(name, given.out / name)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawn_sets", description=__doc__)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder in which each set gets a folder of its name")
    parser.add_argument(
        "names", metavar="NAME", nargs="*", type=_known, help=f"sets to draw, of {', '.join(SETS)}; default: all"
    )
    return parser


def _known(name: str) -> str:
    if name not in SETS:
        raise argparse.ArgumentTypeError(f"no set is called {name}; there are {', '.join(SETS)}")
    return name


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
