"""What a file holds, in 32 letters: to tell whether it is still the file that it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from webbalign.products._sealed_files import Part, parts_of

__all__ = ["content_hash", "remember"]

_BLOCK = 1 << 20
_ROW = 512  # 64-bit words

# By device, inode, size and time of change: a file is read once in a run, and a renamed one is
# known by its new name.
_KNOWN: dict[tuple[int, int, int, int], str] = {}


def content_hash(path: str | Path) -> str:
    """Return the hash of what a file holds.

    Its provenance (:mod:`webbalign.products.provenance`) does not count: a product has the same
    hash before and after it was written into it.

    For each MB, the sums of its rows and columns (as a table of 64-bit words) are hashed with
    blake2b. One or two words that change, or change places, are always noticed, and more of them
    but for accidents of 2**-64. No hash that resists intention is meant: those are made at 1 to
    2 GB/s, which would be a tenth of what a run takes; this one at the speed of reading.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    state = _state(path)
    known = _KNOWN.get(state)
    if known is None:
        known = _hash(path, parts_of(path))
        if _state(path) == state:  # it has not been written to meanwhile
            _KNOWN[state] = known
    return known


def remember(path: str | Path, known: str) -> None:
    """Take the hash of a file as known: its provenance has just been written, nothing else."""
    _KNOWN[_state(Path(path))] = known


def _state(path: Path) -> tuple[int, int, int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _hash(path: Path, parts: Iterable[Part]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    words = np.zeros((_BLOCK // 8 // _ROW, _ROW), "<u8")
    room = words.data.cast("B")
    with open(path, "rb", buffering=0) as file:
        for part in parts:
            if isinstance(part, bytes):
                digest.update(part)
                continue
            start, left = part
            file.seek(start)
            # small parts must not be mistaken for the zeros that fill the last block
            digest.update(str(left).encode())
            while left > 0:
                count = file.readinto(room[: min(left, _BLOCK)])
                if not count:
                    break
                room[count:] = bytes(_BLOCK - count)
                digest.update(words.sum(axis=0))
                digest.update(words.sum(axis=1))
                left -= count
    return digest.hexdigest()
