"""A star list as the search of an offset takes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from webbalign.core._offset_peak import isolated
from webbalign.core.errors import InputError

__all__ = ["SearchList"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class SearchList:
    """A star list made ready for the search; see :meth:`of`.

    Attributes
    ----------
    z : ndarray (n,) of complex
        Positions x + iy in arcsec, of the stars that are the brightest in their neighbourhood.
    flux : ndarray (n,)
        Flux; nan if unknown.
    index : ndarray (n,)
        Their numbers in the whole list.
    sigma : float
        Typical one-axis error in arcsec; 0 if unknown.
    """

    z: Complex
    flux: Array
    index: Indices
    sigma: float

    @classmethod
    def of(
        cls,
        xy: ArrayLike,
        *,
        flux: ArrayLike | None = None,
        sigma: ArrayLike | None = None,
        separation: float = 0.0,
    ) -> SearchList:
        """Take the finite positions (n, 2), of close ones only the brightest.

        Raises
        ------
        InputError
            If the positions are no (n, 2) array.
        """
        points = np.asarray(xy, float)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(None, f"positions of shape {points.shape}", "shape (n, 2)")
        index = np.flatnonzero(np.isfinite(points).all(axis=1))
        z = points[index, 0] + 1j * points[index, 1]
        bright = np.full(len(z), np.nan) if flux is None else np.asarray(flux, float)[index]
        error = np.empty(0) if sigma is None else np.asarray(sigma, float)
        error = error[np.isfinite(error) & (error > 0)]
        # without fluxes there is no telling which of two stars the other list has
        known = np.isfinite(bright).any()
        lonely = isolated(z, bright, separation if known else 0.0)
        return cls(
            z[lonely],
            bright[lonely],
            index[lonely],
            float(np.median(error)) if len(error) else 0.0,
        )

    def taken(self, keep: NDArray[np.generic]) -> SearchList:
        """Return part of the list."""
        return SearchList(self.z[keep], self.flux[keep], self.index[keep], self.sigma)

    def at(self, index: Indices) -> Complex:
        """Return the positions of stars given by their numbers in the whole list."""
        return self.z[np.searchsorted(self.index, index)]

    @cached_property
    def tree(self) -> KDTree:
        """Tree of the positions."""
        return KDTree(np.stack([self.z.real, self.z.imag], axis=1))
