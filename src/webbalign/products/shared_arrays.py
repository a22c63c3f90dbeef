"""Arrays that several processes fill, each its own part.

Within a process such an array is in memory (or in a scratch file, if it is large). Only if it is
pickled, it gets a file in the hidden folder: other processes write into that, and this process
reads from it.
"""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np

from webbalign.core.mapped import Scratch, release
from webbalign.products.atomic import discard, reserve

__all__ = ["SharedArray", "scratch_array"]

# Parts written at a time.
_AT_ONCE = 16


def scratch_array(folder: str | Path, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros in a scratch file that has no name and is gone with the array.

    See :mod:`webbalign.core.mapped`.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return _mapped(file, shape, np.dtype(dtype), Path(folder), create=True)


def _mapped(
    file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, folder: Path, *, create: bool
) -> np.ndarray:
    size = max(int(np.prod(shape)) * dtype.itemsize, 1)
    if create and hasattr(os, "posix_fallocate"):
        # on a full disk an error now, instead of the end of the process when it is written to
        os.posix_fallocate(file.fileno(), 0, size)
    elif create:
        file.truncate(size)
    scratch = Scratch(file.fileno(), size)
    scratch.folder = str(folder)
    return np.ndarray(shape, dtype, buffer=scratch)


class SharedArray:
    """An array, first zero, to be filled in parts.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    folder : Path
        Where its file may lie, in the hidden folder.
    in_file : bool
        Whether it is to lie in a file in any case: it is too large for the memory.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, folder: str | Path, *, in_file: bool = False
    ) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._folder = Path(folder).resolve()  # workers may have another current folder
        self._path: Path | None = None
        self._array: np.ndarray | None = None
        self._owner = True
        self._lock = threading.Lock()
        if in_file:
            self._make_file()

    @property
    def array(self) -> np.ndarray:
        """The whole array."""
        with self._lock:
            if self._array is None:
                self._array = self._map() if self._path else np.zeros(self.shape, self.dtype)
            return self._array

    def put(self, index: int | slice, values: np.ndarray) -> None:
        """Set a part (along the first axis)."""
        if self._owner:
            self.array[index] = values
            release(self.array)
            return
        # written, not mapped: on a network file system others see it when the file is closed
        first = index.start if isinstance(index, slice) else index
        stride = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        with open(self._path or "", "r+b") as file:
            file.seek((first or 0) * stride)
            np.ascontiguousarray(values, self.dtype).tofile(file)

    def give(self, values: np.ndarray) -> None:
        """Set the first of the parts all at once; without a file they are taken as they are."""
        if self._owner and self._path is None:
            self._array = values
            return
        for start in range(0, len(values), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self.put(part, values[part])
            release(values)

    def close(self) -> None:
        """Remove the file, if there is one; an array in use stays readable."""
        with self._lock:
            if self._owner and self._path is not None:
                discard(self._path)
            self._path = self._array = None

    def _make_file(self) -> None:
        self._path = reserve(self._folder / "array.raw")
        weakref.finalize(self, discard, self._path)
        before = self._array
        self._array = self._map(create=True)
        if before is not None:
            self._array[...] = before

    def _map(self, *, create: bool = False) -> np.ndarray:
        with open(self._path or "", "w+b" if create else "r+b") as file:
            return _mapped(file, self.shape, self.dtype, self._folder, create=create)

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:  # an executor may pickle in a thread of its own
            if self._path is None:
                self._make_file()
        return _opened, (str(self._path), self.shape, self.dtype.str)


def _opened(path: str, shape: tuple[int, ...], dtype: str) -> SharedArray:
    shared = SharedArray(shape, dtype, Path(path).parent)
    shared._path, shared._owner = Path(path), False
    return shared
