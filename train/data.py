"""Images in memory as the networks take them. Everything is read through edge.preprocess and nowhere else."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.dataset import MARKED
from edge.errors import InputError
from edge.images import SUFFIXES, list_images, read_image
from edge.preprocess import Preprocessing, preprocess, same_view
from train.method import UNKNOWN

CACHE_BYTES = 2 * 1024**3
LEAST_CONTRAST = 1.0  # grey levels, standard deviation over a picture; a lens cap has less
MASK_LEVEL = 63  # of 255, after shrinking: a pixel that is a quarter defect counts as defect
MASK_FOLDERS = ("masks", "ground_truth")
MARKED_SHARE, MARKED_TIMES = 0.15, 10


class Frames:
    """Preprocessed images, uint8 [H, W, C], kept in memory up to a limit and read again beyond it.

    All are read once at the start. Raises InputError that names the images that cannot be decoded or have no contrast.
    `sizes` counts the pictures by their original (height, width).
    """

    def __init__(self, paths: Sequence[Path], spec: Preprocessing, threads: int = 2, limit: int = CACHE_BYTES) -> None:
        self.paths, self.spec, self._threads = tuple(paths), spec, max(1, threads)
        self._cached = min(len(self.paths), limit // (spec.height * spec.width * spec.channels))
        self._pixels = np.zeros((self._cached, spec.height, spec.width, spec.channels), np.uint8)
        self.sizes: Counter[tuple[int, int]] = Counter()
        self._read_all()

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Sequence[int]) -> Tensor:
        """The chosen images, uint8 [n, H, W, C], in the given order."""
        if self._cached == len(self.paths):
            return torch.from_numpy(self._pixels[list(indices)])
        with ThreadPoolExecutor(self._threads) as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._one, indices))))

    def _one(self, index: int) -> NDArray[np.uint8]:
        if index < self._cached:
            return np.asarray(self._pixels[index], np.uint8)
        return preprocess(read_image(self.paths[index]), self.spec)

    def _read_all(self) -> None:
        unreadable: list[InputError] = []
        flat: list[Path] = []
        with ThreadPoolExecutor(self._threads) as pool:
            for index, result in enumerate(pool.map(_read, self.paths, repeat(self.spec))):
                if isinstance(result, InputError):
                    unreadable.append(result)
                    continue
                frame, size = result
                self.sizes[size] += 1
                if index < self._cached:
                    self._pixels[index] = frame
                if float(frame.std()) < LEAST_CONTRAST:
                    flat.append(self.paths[index])
        _refuse(len(self.paths), unreadable, flat)

    def size_note(self) -> str:
        """One line on the pictures' sizes, with counts if they are mixed."""
        target = f"{self.spec.width}x{self.spec.height}"
        counted = ", ".join(f"{count} of {w}x{h}" for (h, w), count in self.sizes.most_common(4))
        more = len(self.sizes) - 4
        return f"{counted}{f' and {more} more sizes' if more > 0 else ''} -> {target} {self.spec.colour}"


class Part:
    """Some of the images of `whole`, in the order of `indices`. See FrameSource."""

    def __init__(self, whole: Frames, indices: Sequence[int]) -> None:
        self._whole, self._indices = whole, tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, indices: Sequence[int]) -> Tensor:
        """See Frames."""
        return self._whole.take([self._indices[i] for i in indices])


def read_parts(
    training: Sequence[Path], held_out: Sequence[Path], spec: Preprocessing, threads: int = 2
) -> tuple[Part, Part, str]:
    """The images to train on, those held out, and one line on the sizes of all; read, and checked, as one.

    Those to train on that an operator marked come up more often (see `shown_more`). Raises as Frames does.
    """
    whole = Frames([*training, *held_out], spec, threads)
    indices = shown_more([path.name.startswith(MARKED) for path in training])
    return Part(whole, indices), Part(whole, range(len(training), len(whole))), whole.size_note()


def shown_more(marked: Sequence[bool]) -> list[int]:
    """Indices of all pictures, the marked ones repeated: they are few, and each stands for a mistake to be unlearnt.

    Together they become MARKED_SHARE of the pictures, if MARKED_TIMES repetitions are enough for it.
    """
    count, others = sum(marked), len(marked) - sum(marked)
    wanted = MARKED_SHARE / (1 - MARKED_SHARE) * others / max(count, 1)
    times = int(min(max(round(wanted), 1), MARKED_TIMES))
    return [index for index, again in enumerate(marked) for _ in range(times if again else 1)]


class FrameSource(Protocol):
    """Preprocessed images by index."""

    def __len__(self) -> int:
        """How many."""
        ...

    def take(self, indices: Sequence[int]) -> Tensor:
        """The chosen images, uint8 [n, H, W, C]."""
        ...


class ArrayFrames:
    """Images that are in memory already, uint8 [n, H, W, C]."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def take(self, indices: Sequence[int]) -> Tensor:
        """See FrameSource."""
        return torch.from_numpy(self._pixels[list(indices)])


@dataclass(frozen=True)
class Known:
    """Known anomalies with their masks, in memory: uint8 [n, H, W, C] and uint8 [n, H, W] (0, 1, UNKNOWN)."""

    root: Path
    paths: tuple[Path, ...]
    frames: Tensor
    masks: Tensor

    @property
    def marked(self) -> int:
        """How many have a mask."""
        return int((self.masks != UNKNOWN).flatten(1).all(1).sum())


def load_known(root: Path, spec: Preprocessing, threads: int = 2) -> Known:
    """Images in `root` and in its folders, except masks.

    The mask of ROOT/name.png is ROOT/masks/name_mask.png or name.png; that of ROOT/kind/name.png lies in
    ROOT/ground_truth/kind. Raises InputError if there are no images, one is unreadable, or a mask has another size.
    """
    paths = list_known(root)
    frames = Frames(paths, spec, threads)
    masks = [_known_mask(path, _mask_path(root, path), spec) for path in paths]
    return Known(root, tuple(paths), frames.take(range(len(paths))), torch.from_numpy(np.stack(masks)))


def list_known(root: Path) -> list[Path]:
    """The known anomalies under `root`, sorted. Raises InputError if there are none."""
    if not root.is_dir():
        raise InputError(f"no folder {root}", "it does not exist or is not a folder", "check --known-anomalies")
    folders = [root, *(d for d in root.iterdir() if d.is_dir() and d.name not in MASK_FOLDERS)]
    found = sorted(p for d in folders for p in d.iterdir() if p.suffix.lower() in SUFFIXES)
    return found or list_images(root)  # raises, saying what it looked for


def refuse_overlap(known: Sequence[Path], others: Sequence[Path], others_are: str) -> None:
    """Raise InputError if a known anomaly's file has the same content as one of `others`."""
    digests = {_digest(path): path for path in others}
    same = [(path, digests[_digest(path)]) for path in known if _digest(path) in digests]
    if same:
        raise InputError(
            f"{len(same)} of {len(known)} known anomalies are also {others_are}",
            f"first: {same[0][0]} is {same[0][1]}",
            "move them out of one of the two folders",
        )


def colour_of(paths: Sequence[Path], sample: int = 20) -> Literal["bgr", "grey"]:
    """ "bgr" if any of a few pictures, spread over all, shows colour; else "grey"."""
    chosen = paths[:: max(1, len(paths) // sample)]
    return "bgr" if any(_is_coloured(read_image(path)) for path in chosen) else "grey"


def _is_coloured(image: NDArray[np.uint8]) -> bool:
    if image.ndim == 2 or image.shape[2] == 1:
        return False
    wide = image.astype(np.int16)
    return float((wide.max(2) - wide.min(2)).mean()) > 2.0


def _read(path: Path, spec: Preprocessing) -> tuple[NDArray[np.uint8], tuple[int, int]] | InputError:
    try:
        image = read_image(path)
        return preprocess(image, spec), (image.shape[0], image.shape[1])
    except InputError as error:
        return error


def _refuse(count: int, unreadable: list[InputError], flat: list[Path]) -> None:
    if unreadable:
        first = unreadable[0]
        raise InputError(
            f"{len(unreadable)} of {count} images cannot be used", f"first: {first.what}: {first.why}", first.fix
        )
    if flat:
        raise InputError(
            f"{len(flat)} of {count} images have no contrast",
            f"first: {flat[0]} (standard deviation below {LEAST_CONTRAST:g} grey level)",
            "remove them: lens cap, lamp off or saturated camera",
        )


def _mask_path(root: Path, image: Path) -> Path | None:
    folder = root / "masks" if image.parent == root else root / "ground_truth" / image.parent.name
    candidates = (folder / f"{image.stem}_mask.png", folder / f"{image.stem}.png")
    return next((path for path in candidates if path.is_file()), None)


def _known_mask(image: Path, mask: Path | None, spec: Preprocessing) -> NDArray[np.uint8]:
    if mask is None:
        return np.full((spec.height, spec.width), UNKNOWN, np.uint8)
    return read_mask(image, mask, spec).astype(np.uint8)


def read_mask(image: Path, mask: Path, spec: Preprocessing) -> NDArray[np.bool_]:
    """The mask as the model would see it, bool [H, W]. Raises InputError if its size is not that of its image."""
    picture, marked = read_image(image), read_image(mask)
    if picture.shape[:2] != marked.shape[:2]:
        sizes = f"mask {marked.shape[1]}x{marked.shape[0]}, image {picture.shape[1]}x{picture.shape[0]}"
        raise InputError(f"mask {mask} does not fit its image", sizes, "make masks of the image's size")
    return np.asarray(same_view(marked, picture, spec) > MASK_LEVEL, np.bool_)


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
