"""The subtraction of starlight from some integrations: one task of klip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from webbalign.core._kl_basis import make_basis_in_place
from webbalign.core.klip import KlBasis, Klip, Subtraction, stack_subtractions, subtract
from webbalign.core.mapped import release
from webbalign.products.aligned_sets import AlignedSets, OneSet
from webbalign.products.shared_arrays import SharedArray, scratch_array
from webbalign.products.shared_cubes import CubeFile, SharedCube

__all__ = ["FirstSet", "ReferenceFlags", "SubtractJob", "Subtracted", "blocks_of", "parts_of"]

DO_NOT_USE, NON_SCIENCE = 1, 512
# Parts that an exposure is cut into, at most; sums over integrations are sums of those over these,
# so this depends on nothing but the number of integrations.
PARTS = 256
# Integrations that are projected together on a basis that they share: it is read once for all.
BLOCK = 30


class ReferenceFlags:
    """What the flags of the references say about the residual.

    The union of all of them, but DO_NOT_USE only where no reference is good: a pixel that one
    reference lacks is predicted by the others.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._union = np.zeros(shape, np.uint32)
        self._none_good = np.ones(shape, bool)

    def add(self, dq: np.ndarray) -> None:
        """Take in the flags (n, ny, nx) of some references."""
        self._union |= np.bitwise_or.reduce(dq, axis=0)
        self._none_good &= (dq & np.uint32(DO_NOT_USE) != 0).all(axis=0)

    def join(self, others: ReferenceFlags) -> None:
        """Take in what is known of other references."""
        self._union |= others._union
        self._none_good &= others._none_good

    @property
    def flags(self) -> np.ndarray:
        """The flags, shape (ny, nx)."""
        kept = self._union & np.uint32(0xFFFFFFFF ^ DO_NOT_USE)
        kept[self._none_good] |= np.uint32(DO_NOT_USE)
        return kept


@dataclass(frozen=True)
class FirstSet:
    """The set of references from which the errors are computed: that of integration 0.

    Attributes
    ----------
    images : SharedArray
        As in its basis, (npsfs, npix); those that are used come first.
    variances : SharedArray
        (npsfs, npix).
    """

    images: SharedArray
    variances: SharedArray

    @classmethod
    def of(cls, npsfs: int, npix: int, folder: Any, *, in_file: bool) -> FirstSet:
        """Make room for a set."""
        return cls(
            SharedArray((npsfs, npix), np.float64, folder, in_file=in_file),
            SharedArray((npsfs, npix), np.float32, folder, in_file=in_file),
        )

    def close(self) -> None:
        """Give back the room."""
        self.images.close()
        self.variances.close()


@dataclass(frozen=True)
class Subtracted:
    """What comes back for some integrations.

    Attributes
    ----------
    subtraction : Subtraction
        Without its images.
    starlight : ndarray, shape (ny, nx)
        Sum of the models over the integrations that have data.
    flags : ReferenceFlags
        Of the sets of references that were not met before.
    basis, used : KlBasis, ndarray of bool; or None
        Of integration 0, if it is one of these: without its images, and which references it has.
    """

    subtraction: Subtraction
    starlight: np.ndarray
    flags: ReferenceFlags
    basis: KlBasis | None = None
    used: np.ndarray | None = None


@dataclass(eq=False)
class SubtractJob:
    """Subtracts the starlight from some integrations; called with a slice and their sets.

    Attributes
    ----------
    science : SharedCube or CubeFile
        The exposure, (nints, ny, nx).
    field : ndarray of bool, shape (ny, nx)
        Pixels that are good in any integration.
    options : Klip
    residual : SharedArray
        Gets the residuals, (nints, ny, nx).
    model : SharedArray or None
        Gets the starlight subtracted.
    first : FirstSet
    folder : str or None
        Where a set may lie while it is worked on; None: in memory.
    """

    science: SharedCube | CubeFile
    field: np.ndarray
    options: Klip
    residual: SharedArray
    model: SharedArray | None
    first: FirstSet
    folder: str | None
    _basis: KlBasis | None = None

    def __call__(self, item: tuple[slice, AlignedSets]) -> Subtracted:
        """Subtract, put the images where they belong, and return the rest."""
        part, sets = item
        shape = (self.field.shape[0], self.field.shape[1])
        flags, starlight, found = ReferenceFlags(shape), np.zeros(shape), []
        first: KlBasis | None = None
        used = None
        for piece in _pieces(part, sets):
            basis = self._basis
            if basis is None:
                basis, chosen = self._make_basis(sets, piece.start, flags)
                if piece.start == 0:
                    first, used = replace(basis, references=np.zeros((0, 0))), chosen
                # one that serves all integrations is made in one process, once
                self._basis = basis if isinstance(sets, OneSet) else None
            result = self._subtract(piece, basis)
            for starlit in result.model[result.n_used > 0]:
                starlight += starlit
            nothing = np.zeros((len(result.n_used), 0, 0))
            found.append(replace(result, residual=nothing, model=nothing))
            del basis  # before the next is made: it may have a GB
        return Subtracted(stack_subtractions(found), starlight, flags, first, used)

    def _subtract(self, piece: slice, basis: KlBasis) -> Subtraction:
        images = self.science.read(piece)
        good = np.isfinite(images.data)
        if self.options.bad_pixels != "keep":
            good &= (images.dq & np.uint32(DO_NOT_USE | NON_SCIENCE)) == 0
        result = subtract(basis, images.data, good=good)
        for k, index in enumerate(range(piece.start, piece.stop)):
            self.residual.put(index, result.residual[k])
            if self.model is not None:
                self.model.put(index, result.model[k] + result.offsets[k])
        return result

    def _make_basis(
        self, sets: AlignedSets, index: int, flags: ReferenceFlags
    ) -> tuple[KlBasis, np.ndarray]:
        """Return the basis of one set of references, and which of them it has."""
        npsfs, npix = sets.shape[1], self.field.size
        images, lost = self._room((npsfs, npix), np.float64), self._room((npsfs, npix), bool)
        if self.options.bad_pixels == "keep":
            lost[:] = False
        variances = self._room((npsfs, npix), np.float32) if index == 0 else None
        used = np.ones(npsfs, bool)
        for rows, block in sets.blocks(index):
            flags.add(block.dq)
            images[rows] = block.data.reshape(-1, npix)
            if self.options.bad_pixels != "keep":
                bad = (block.dq & np.uint32(DO_NOT_USE)) != 0
                lost[rows] = bad.reshape(-1, npix)
                used[rows] = (~bad & self.field).any(axis=(1, 2))
            if variances is not None:
                variances[rows] = np.square(block.err).reshape(-1, npix)
            release(images, lost, variances)
        if not used.any():  # all of them, if none has a good pixel
            used = ~used
        for array in (images, lost, variances):
            _close_up(array, used)
        count = np.count_nonzero(used)
        basis = make_basis_in_place(images[:count], self.options.truncate, self.field, lost[:count])
        if variances is not None:
            self.first.images.give(basis.references)
            self.first.variances.give(variances[:count])
        return basis, used

    def _room(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype) if self.folder is None else scratch_array(
            self.folder, shape, dtype
        )  # fmt: skip


def _close_up(array: np.ndarray | None, used: np.ndarray) -> None:
    """Move the rows that are used to the beginning."""
    if array is None or used.all():
        return
    for new, old in enumerate(np.flatnonzero(used)):
        array[new] = array[old]
        release(array)


def parts_of(nints: int) -> list[slice]:
    """Cut the integrations of an exposure into parts."""
    count = min(nints, PARTS)
    edges = [k * nints // count for k in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def blocks_of(nints: int) -> list[slice]:
    """Cut the integrations of an exposure into blocks that share one reading of their basis."""
    return [slice(a, min(a + BLOCK, nints)) for a in range(0, nints, BLOCK)]


def _pieces(part: slice, sets: AlignedSets) -> list[slice]:
    """Return what is projected at a time: all of a part, unless each has a basis of its own."""
    if isinstance(sets, OneSet):
        return [part]
    return [slice(index, index + 1) for index in range(part.start, part.stop)]
