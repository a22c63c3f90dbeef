"""The references aligned to each integration: one set after the other, each in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

from webbalign.products.shared_cubes import CubeFile, Images, SharedCube

__all__ = ["AlignedSets", "CalledSets", "OneSet", "StoredSets"]

# References of a set read at a time.
AT_ONCE = 16


class AlignedSets(Protocol):
    """Sets of aligned references, one for each integration; picklable."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(nints, npsfs, ny, nx)."""

    def blocks(self, index: int) -> Iterator[tuple[slice, Images]]:
        """Yield the references of one integration, a few at a time, with their places."""

    def only(self, part: slice) -> Self:
        """Return what is needed for some of the integrations, which keep their numbers."""


@dataclass(frozen=True)
class StoredSets:
    """Sets in a file, one after the other.

    Attributes
    ----------
    file : CubeFile
        (nints * npsfs, ny, nx).
    npsfs : int
    """

    file: CubeFile
    npsfs: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(nints, npsfs, ny, nx)."""
        count, ny, nx = self.file.shape
        return count // self.npsfs, self.npsfs, ny, nx

    def blocks(self, index: int) -> Iterator[tuple[slice, Images]]:
        """Yield the references of one integration, a few at a time, with their places."""
        first = index * self.npsfs
        for start in range(0, self.npsfs, AT_ONCE):
            stop = min(start + AT_ONCE, self.npsfs)
            yield slice(start, stop), self.file.read(slice(first + start, first + stop))

    def put(self, index: int, rows: slice, images: Images) -> None:
        """Write some references of one integration."""
        self.file.write(index * self.npsfs + (rows.start or 0), images)

    def only(self, part: slice) -> StoredSets:
        """Return itself: the file serves all integrations."""
        return self


@dataclass(frozen=True)
class CalledSets:
    """Sets made by any function.

    Attributes
    ----------
    shape : tuple of int
        (nints, npsfs, ny, nx).
    part : callable
        ``part(index)`` returns a whole set.
    """

    shape: tuple[int, int, int, int]
    part: Callable[[int], Images]

    def blocks(self, index: int) -> Iterator[tuple[slice, Images]]:
        """Yield the references of one integration, all at once."""
        yield slice(0, self.shape[1]), self.part(index)

    def only(self, part: slice) -> CalledSets:
        """Return itself."""
        return self


@dataclass(frozen=True, eq=False)
class OneSet:
    """One set that serves all integrations.

    Attributes
    ----------
    cube : SharedCube or CubeFile
        (npsfs, ny, nx).
    nints : int
    """

    cube: SharedCube | CubeFile
    nints: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(nints, npsfs, ny, nx)."""
        return (self.nints, *self.cube.shape)

    def blocks(self, index: int) -> Iterator[tuple[slice, Images]]:
        """Yield the references, a few at a time, with their places."""
        for start in range(0, self.cube.shape[0], AT_ONCE):
            rows = slice(start, min(start + AT_ONCE, self.cube.shape[0]))
            yield rows, self.cube.read(rows)

    def only(self, part: slice) -> OneSet:
        """Return itself."""
        return self
