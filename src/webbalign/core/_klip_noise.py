"""Noise of the targets of a subtraction; see :mod:`webbalign.core.klip_errors`.

Residuals and variances are gone through one integration at a time, three times in all, so that
neither needs to be in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from webbalign.core._klip_sums import Sweep
from webbalign.core.errors import InputError
from webbalign.core.mapped import visit

__all__ = ["Images", "TargetNoise"]

Floats = NDArray[np.float64]


class Images(Protocol):
    """A cube (nints, ny, nx), or what makes its images when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(nints, ny, nx)."""

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Return an image (ny, nx)."""


class _Target(NamedTuple):
    """One integration, each of shape (npix,)."""

    residual: NDArray[Any]
    variance: Floats
    """0 where not used."""
    used: NDArray[np.bool_]


class TargetNoise:
    """Variances of the targets, before and after the filter 1 - P.

    Parameters
    ----------
    residuals : ndarray, shape (nints, ny, nx)
    variances : Images
        Of the targets before subtraction.

    Attributes
    ----------
    count : ndarray of int, shape (npix,)
        Number of integrations with a finite residual and a finite variance.
    mean_variance, mean_residual : ndarray, shape (npix,)
        Means over these; 0 where there is none.
    mean_filtered : ndarray, shape (npix,)
        Mean of the filtered variances.
    squares : ndarray, shape (npix,)
        Sum of the squared deviations of the residuals from their mean.

    Raises
    ------
    InputError
        If no pixel has both.
    """

    def __init__(self, residuals: NDArray[Any], variances: Images) -> None:
        self._residuals, self._variances = residuals, variances
        npix = int(np.prod(residuals.shape[1:]))
        self.count = np.zeros(npix, np.int64)
        self.mean_variance, self.mean_residual = np.zeros(npix), np.zeros(npix)
        for target in self._targets():
            self.count += target.used
            self.mean_variance += target.variance
            self.mean_residual += np.where(target.used, target.residual, 0.0)
        if not self.count.any():
            found = "no pixel has a finite residual and a finite variance"
            raise InputError(None, found, "images with errors")
        self.mean_variance /= self.total
        self.mean_residual /= self.total

    @property
    def total(self) -> NDArray[np.int64]:
        """`count`, but at least 1."""
        return np.maximum(self.count, 1)

    def filter(self, swept: Sweep) -> None:
        """Pass the variances through the filter."""
        weights = self.mean_variance * swept.leverage
        self._kept, self._quadratic = 1.0 - 2.0 * swept.leverage, swept.quadratic
        self._levels = np.ones(len(self._residuals))
        self.mean_filtered, self.squares = np.zeros_like(weights), np.zeros_like(weights)
        for i, target in enumerate(self._targets()):
            norm = target.used @ weights
            if norm > 0:
                self._levels[i] = target.variance @ swept.leverage / norm
            self.mean_filtered += self._filtered(i, target)
            self.squares += np.where(target.used, target.residual - self.mean_residual, 0.0) ** 2
        self.mean_filtered /= self.total

    def filtered(self, index: int) -> Floats:
        """Return the filtered variances (npix,) of one integration; NaN where not used."""
        target = self._target(index)
        filtered = self._filtered(index, target)
        filtered[~target.used] = np.nan
        return filtered

    def _filtered(self, index: int, target: _Target) -> Floats:
        filtered = target.variance * self._kept
        filtered += self._levels[index] * self._quadratic
        np.maximum(filtered, 0.0, out=filtered)
        filtered[~target.used] = 0.0
        return filtered

    def _targets(self) -> Iterator[_Target]:
        for index in visit(self._residuals):
            yield self._target(index)

    def _target(self, index: int) -> _Target:
        residual = self._residuals[index].ravel()
        variance = np.array(self._variances[index], np.float64).ravel()
        used = np.isfinite(residual) & np.isfinite(variance)
        variance[~used] = 0.0
        return _Target(residual, variance, used)
