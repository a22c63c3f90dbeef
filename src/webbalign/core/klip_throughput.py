"""How much of a companion's light is left after KLIP.

The modes are those of starlight, but a companion looks a little like them as well, and what it has
in common with them is subtracted. With references of other stars (none of which shows the
companion) this is linear: of the image p of a companion, of zero mean,

    p - Z^T Z p

is left, whatever else the target holds (Soummer, Pueyo & Larkin 2012, ApJ 755, L28; Pueyo 2016,
ApJ 824, 117, calls it over-subtraction). The throughput is what an aperture a measures of that:
``1 - (Z a).(Z p) / (a.p)``. Only the pixels near the companion are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from webbalign.core._kl_basis import KlBasis
from webbalign.core._pixel_sums import columns_of

__all__ = ["aperture_weights", "companion_throughput"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

N_ANGLES = 12
# Half of the side of a companion's image, in FWHM: a Gaussian has 0.2 % of its light beyond.
_REACH = 1.5
# Parts into which a side of a pixel is cut at the rim of the aperture.
_PARTS = 10
# References taken at a time: their pixels near all companions stay below some 20 MB.
_ROWS = 32


def companion_throughput(
    basis: KlBasis,
    centre: tuple[float, float],
    separations: Sequence[float] | Floats,
    *,
    fwhm: float,
    diameter: float,
) -> Floats:
    """Return the throughput at each distance from the star: the median over position angles.

    Parameters
    ----------
    basis : KlBasis
        Of references of (ny, nx).
    centre : tuple of float
        0-based (x, y) of the star.
    separations : sequence of float
        px.
    fwhm : float
        Of the companion, a round Gaussian, px.
    diameter : float
        Of the aperture in which it is measured, px.

    Returns
    -------
    ndarray, shape (n,)
        From 0 to about 1; NaN where less than half of the places lie on good pixels.
    """
    reach = max(int(np.ceil(_REACH * fwhm)), int(np.ceil(diameter / 2)))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    companion = np.exp(-4 * np.log(2) * (dx**2 + dy**2) / fwhm**2)
    aperture = aperture_weights(diameter, reach).ravel()
    x, y = _places(centre, np.asarray(separations, np.float64))
    ny, nx = basis.shape
    inside = (x >= reach) & (x < nx - reach) & (y >= reach) & (y < ny - reach)
    where = np.where(inside, y * nx + x, reach * nx + reach)[..., None] + (dy * nx + dx)
    good = basis.good.ravel()[where]
    inside &= good[..., aperture > 0].all(axis=-1)
    # of what is not good nothing is subtracted, and nothing is measured
    light, weight = companion * good, aperture * good
    modes = _modes_at(basis, where.ravel()).reshape(basis.n_modes, *where.shape)
    common = np.einsum("k...p,...p->k...", modes, light)
    common *= np.einsum("k...p,...p->k...", modes, weight)
    lost = common.sum(axis=0) + light.sum(axis=-1) * weight.sum(axis=-1) / basis.n_pixels
    throughput = 1 - lost / (light * weight).sum(axis=-1).clip(min=1e-300)
    enough = inside.sum(axis=1) > N_ANGLES / 2
    found = np.full(len(x), np.nan)
    for row in np.flatnonzero(enough):
        found[row] = np.median(throughput[row, inside[row]])
    return found


def aperture_weights(diameter: float, reach: int) -> Floats:
    """Return the share of each pixel within a disk (to 2 %), `reach` px about the middle one.

    Not by photutils, whose import takes longer than all the rest of this module.
    """
    side = 2 * reach + 1
    inside = (np.arange(side * _PARTS) + 0.5) / _PARTS - side / 2
    disk = np.hypot(inside, inside[:, None]) < diameter / 2
    return disk.reshape(side, _PARTS, side, _PARTS).mean(axis=(1, 3))


def _places(centre: tuple[float, float], radius: Floats) -> tuple[Ints, Ints]:
    """Return the pixels (x, y) at some angles, each of shape (nradii, N_ANGLES)."""
    angle = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    x = np.rint(centre[0] + np.outer(radius, np.cos(angle))).astype(np.intp)
    y = np.rint(centre[1] + np.outer(radius, np.sin(angle))).astype(np.intp)
    return x, y


def _modes_at(basis: KlBasis, pixels: Ints) -> Floats:
    """Return the modes at some pixels, (n_modes, npixels); a pixel may be named often."""
    unique, where = np.unique(pixels, return_inverse=True)
    modes = np.zeros((basis.n_modes, len(unique)))
    for start in range(0, len(basis.references), _ROWS):
        rows = slice(start, start + _ROWS)
        modes += basis.weights[:, rows] @ columns_of(basis.references[rows], unique)
    return modes[:, where.reshape(pixels.shape)]
