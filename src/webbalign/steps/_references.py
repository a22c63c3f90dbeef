"""The reference images of an alignment, prepared where they are needed, some at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from webbalign.core.alignment import PsfFrames, References
from webbalign.core.cubes import continue_outside, fill_bad_pixels
from webbalign.core.registration import AlignRefs
from webbalign.products.flags import interpret_bits
from webbalign.products.shared_cubes import CubeFile, Images, SharedCube

__all__ = ["REFERENCES_AT_ONCE", "SharedReferences", "repaired"]

# Reference images read, repaired or shifted at a time.
REFERENCES_AT_ONCE = 16
DO_NOT_USE, NON_SCIENCE = 1, 512


def repaired(
    images: Images, options: AlignRefs, outside: np.ndarray, name: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (float64) and errors without bad pixels, and where they were good.

    Each image by itself, so that it does not matter which are repaired together.

    Parameters
    ----------
    images : Images
        (n, ny, nx).
    options : AlignRefs
    outside : ndarray of bool, shape (ny, nx)
        Pixels that are no part of the sky in any image of the exposure or stack.
    name : str, optional
        The file, for errors.
    """
    data, err, dq = images
    bad = ~np.isfinite(data) | ((dq & np.uint32(interpret_bits(options.bad_bits))) != 0)
    beyond = (dq & np.uint32(NON_SCIENCE)) != 0
    empty = (bad | beyond).all(axis=(1, 2))
    if empty.any() and options.repair == "grow":
        # zeros, of any positive error: they get no fit, and spoil none
        bad[empty], beyond[empty] = False, False
        data = np.where(empty[:, None, None], np.float32(0), data)
        err = np.where(empty[:, None, None], np.float32(1), err)

    def fill(values: np.ndarray, wrong: np.ndarray) -> np.ndarray:
        filled = fill_bad_pixels(
            values, wrong, box=options.median_box_length, grow=options.repair == "grow",
            outside=beyond, name=name,
        )  # fmt: skip
        return filled if options.repair == "box" else continue_outside(filled, outside)

    filled = fill(data.astype(np.float64), bad)
    if options.err_shift == "flux":
        return filled, err, ~bad
    return filled, fill(err, bad | ~np.isfinite(err)), ~bad


class SharedReferences:
    """A stack of references; it may be pickled, and is then prepared once in each process.

    Parameters
    ----------
    cube : SharedCube or CubeFile
        The stack, (npsfs, ny, nx).
    outside : ndarray of bool, shape (ny, nx)
        Pixels that are no part of the sky in any of them.
    options : AlignRefs
    name : str, optional
        The file, for errors.
    keep : bool
        Whether what is prepared stays in memory (20 bytes per pixel); else it is read and prepared
        anew each time.
    """

    def __init__(
        self,
        cube: SharedCube | CubeFile,
        outside: np.ndarray,
        options: AlignRefs,
        name: str | None,
        *,
        keep: bool = True,
    ) -> None:
        self.cube, self.outside, self.options, self.name = cube, outside, options, name
        self.keep = keep
        self._kept: list[tuple[slice, References]] = []
        self._frames: tuple[np.ndarray, list[tuple[slice, PsfFrames]]] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.cube.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(npsfs, ny, nx)."""
        return self.cube.shape

    def blocks(self) -> Iterator[tuple[slice, References]]:
        """Yield the prepared references, a few at a time, with their places in the stack."""
        if not self.keep:
            yield from self._prepared()
            return
        with self._lock:  # one of the threads of a process prepares them
            self._kept = self._kept or list(self._prepared())
        yield from self._kept

    def frames(self, weight: np.ndarray) -> Iterator[tuple[slice, PsfFrames]]:
        """Yield them prepared for fits under a weight (ny, nx)."""
        if not self.keep:
            for rows, references in self.blocks():
                yield rows, PsfFrames(references, weight, self.options)
            return
        if self._frames is None or not np.array_equal(self._frames[0], weight):
            found = [
                (rows, PsfFrames(references, weight, self.options, keep=True))
                for rows, references in self.blocks()
            ]
            self._frames = weight, found
        yield from self._frames[1]

    def _prepared(self) -> Iterator[tuple[slice, References]]:
        several = self.keep and self.options.align_to == "each"  # each is shifted many times
        for start in range(0, len(self), REFERENCES_AT_ONCE):
            rows = slice(start, min(start + REFERENCES_AT_ONCE, len(self)))
            images = self.cube.read(rows)
            data, err, good = repaired(images, self.options, self.outside, self.name)
            # what is not finite is filled, but no measurement
            flags = np.where(np.isfinite(images.data), images.dq, images.dq | np.uint32(DO_NOT_USE))
            yield rows, References(data.astype(np.float32), err, flags, good, keep_spectra=several)

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_this_process, (self.cube, self.outside, self.options, self.name, self.keep)


# The references that were last sent to this process: tasks of one map, and of the next, share them.
_last: tuple[Any, SharedReferences] | None = None


def _in_this_process(
    cube: CubeFile, outside: np.ndarray, options: AlignRefs, name: str | None, keep: bool
) -> SharedReferences:
    global _last
    key = (cube, outside.tobytes(), options, name, keep)
    if _last is None or _last[0] != key:
        _last = None  # gone before the next are prepared
        _last = key, SharedReferences(cube, outside, options, name, keep=keep)
    return _last[1]
