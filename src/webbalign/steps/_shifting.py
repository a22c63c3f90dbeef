"""Shifted references: made when they are asked for, or written into the 4-D product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from webbalign.core.mapped import release
from webbalign.core.registration import ShiftFit
from webbalign.products.aligned_sets import StoredSets
from webbalign.products.shared_cubes import Images
from webbalign.steps._references import SharedReferences

__all__ = ["ShiftJob", "ShiftedSets"]


@dataclass(frozen=True, eq=False)
class ShiftedSets:
    """Sets that are computed when they are asked for.

    Attributes
    ----------
    references : SharedReferences
    fits : sequence of sequence of ShiftFit
        For each integration those of all references.
    first : int
        Number of the first integration in `fits`.
    """

    references: SharedReferences
    fits: Sequence[Sequence[ShiftFit]]
    first: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(nints, npsfs, ny, nx)."""
        return (self.first + len(self.fits), *self.references.shape)

    def blocks(self, index: int) -> Iterator[tuple[slice, Images]]:
        """Yield the references of one integration, a few at a time, with their places."""
        fits = self.fits[index - self.first]
        for rows, references in self.references.blocks():
            yield rows, Images(*references.shifted(fits[rows], self.references.options))

    def put(self, index: int, arrays: Sequence[np.ndarray]) -> None:
        """Put the references of one integration into arrays (npsfs, ny, nx): data, err, dq."""
        fits, options = self.fits[index - self.first], self.references.options
        for rows, references in self.references.blocks():
            data, err, flags = (array[rows] for array in arrays)
            references.shifted(fits[rows], options, (data, err, flags))
            release(*arrays)

    def only(self, part: slice) -> ShiftedSets:
        """Return what is needed for some of the integrations, which keep their numbers."""
        first = part.start - self.first
        return replace(self, fits=self.fits[first : part.stop - self.first], first=part.start)


@dataclass(frozen=True)
class ShiftJob:
    """Writes a set into its place in a file; called with its number and the sets it is one of."""

    target: StoredSets

    def __call__(self, item: tuple[int, ShiftedSets]) -> None:
        """Shift and write."""
        index, sets = item
        for rows, images in sets.blocks(index):
            self.target.put(index, rows, images)
