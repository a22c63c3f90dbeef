"""Shift and roll between two star lists from an approximate one, without pairing them first.

Each star of the first list is either one of its neighbours in the second, with a Gaussian error,
or nothing: a mixture whose parameters (shift, roll, error, fraction of true stars) are found by
expectation maximisation (coherent point drift: Myronenko & Song 2010,
DOI 10.1109/TPAMI.2010.46). False pairs lie evenly about the true ones and are in the model, so
that the estimate is not drawn to a bin or an edge. Positions are complex numbers x + iy, in arcsec.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

__all__ = ["Rigid", "fit_rigid", "mutual_nearest"]

Complex = NDArray[np.complex128]
Indices = NDArray[np.intp]

# Uncertainty (rad) of the roll that the search started from; a pair of stars close together
# would turn the field by any angle.
_ROLL_PRIOR = np.deg2rad(0.5)
# The error shrinks at most by this factor in one iteration, lest it settle on a few pairs.
_ANNEALING = 0.6
_MAX_ITERATIONS = 30
# Pairs within this many sigma take part.
_REACH = 4.0
_MAX_ROUNDS = 10


@dataclass(frozen=True)
class Rigid:
    """A turn by `roll` (rad) about `centre` followed by `shift` (complex, arcsec).

    `sigma` is the one-axis scatter in arcsec, `fraction` the fraction of true stars.
    """

    centre: complex
    shift: complex
    roll: float
    sigma: float
    fraction: float = 0.5

    def apply(self, z: Complex) -> Complex:
        """Return the moved positions."""
        return np.asarray(np.exp(1j * self.roll) * (z - self.centre) + self.centre + self.shift)


def mutual_nearest(
    moved: Complex, reference: Complex, tree: KDTree, reach: float
) -> tuple[Indices, Indices]:
    """Pairs of stars that are each other's nearest, within `reach`; `tree` holds `reference`."""
    distance, j = tree.query(np.stack([moved.real, moved.imag], axis=1), distance_upper_bound=reach)
    i = np.flatnonzero(np.isfinite(distance))
    # the nearest first: it is the one that stays of those with the same partner
    i = i[np.argsort(distance[i], kind="stable")]
    _, best = np.unique(j[i], return_index=True)
    i = np.sort(i[best])
    return i, np.asarray(j[i], np.intp)


def fit_rigid(
    image: Complex,
    reference: Complex,
    tree: KDTree,
    start: Rigid,
    *,
    pairs: tuple[Indices, Indices],
    density: float,
    floor: float,
    limit: float,
) -> Rigid:
    """Fit shift and roll.

    Parameters
    ----------
    image, reference : ndarray (n,), (m,) of complex
        Positions.
    tree : KDTree
        Of `reference`.
    start : Rigid
        Approximate transformation; its sigma is that of the approximation.
    pairs : tuple of ndarray
        Pairs that are within reach of the start.
    density : float
        False pairs per square arcsec.
    floor : float
        Smallest scatter (arcsec, one axis).
    limit : float
        Largest distance of a pair in arcsec.
    """
    lever = float(np.abs(image - start.centre).max(initial=0.0))
    fit = _maximise(image, reference, pairs, start, density, floor)
    for _ in range(_MAX_ROUNDS):
        # a roll leaves only the middle of the field within reach of the first approximation
        moved = fit.apply(image)
        reach = min(_REACH * fit.sigma, limit)
        distance, j = tree.query(
            np.stack([moved.real, moved.imag], axis=1), k=2, distance_upper_bound=reach
        )
        i, column = np.nonzero(np.isfinite(distance))
        found = (i, np.asarray(j[i, column], np.intp))
        before = fit
        fit = _maximise(image, reference, found, before, density, floor)
        if fit.sigma > 0.9 * before.sigma and abs(fit.roll - before.roll) * lever < 0.1 * fit.sigma:
            break
    return fit


def _maximise(
    image: Complex,
    reference: Complex,
    pairs: tuple[Indices, Indices],
    start: Rigid,
    density: float,
    floor: float,
) -> Rigid:
    """Iterate expectation and maximisation on a fixed list of pairs."""
    i, j = pairs
    if not len(i):
        return start
    stars, star = np.unique(i, return_inverse=True)
    target = reference[j]
    z, shift, roll = image[i] - start.centre, start.shift + start.centre, start.roll
    sigma, fraction = max(start.sigma, floor), start.fraction
    # a star meets this many false partners per square arcsec
    false = density / len(image)
    for _ in range(_MAX_ITERATIONS):
        moved = np.exp(1j * roll) * z + shift
        residual = target - moved
        square = residual.real**2 + residual.imag**2
        near = np.exp(-0.5 * square / sigma**2)
        outlier = 2 * np.pi * sigma**2 * false * (1 - fraction) / fraction
        weight = near / (np.bincount(star, near) + outlier)[star]
        total = weight.sum()
        if total < 1e-6:
            break
        fraction = float(np.clip(total / len(stars), 0.02, 0.98))
        middle, step = (weight @ moved) / total, (weight @ residual) / total
        arm = moved - middle
        lever = weight @ (np.conj(arm) * (arm + residual - step))
        prior = (sigma / _ROLL_PRIOR) ** 2 * np.exp(1j * (start.roll - roll))
        turn = float(np.angle(lever + prior))
        new = max(float(np.sqrt(weight @ square / (2 * total))), _ANNEALING * sigma, floor)
        shift = np.exp(1j * turn) * (shift - middle) + middle + step
        roll += turn
        moving = abs(step) + abs(turn) * float(np.abs(arm).max())
        settled = abs(new - sigma) < 0.01 * sigma and moving < 0.02 * sigma
        sigma = new
        if settled:
            break
    return Rigid(start.centre, complex(shift - start.centre), roll, sigma, fraction)
