"""What a network is made of: groups, measurements, catalog stars, links."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from webbalign.core.planes import TangentPlane

__all__ = ["FixedStars", "GroupFrame", "Link", "Observations", "State"]


@dataclass(frozen=True, eq=False)
class GroupFrame:
    """What is corrected as one: the images of a group.

    Attributes
    ----------
    name : str
    plane : TangentPlane
        In which the correction acts.
    geometry : str or None
        ``shift``, ``rshift``, ``rscale``, ``general``; None: is not corrected (it holds the
        others in place).
    centre : ndarray, shape (2,)
        Middle of the field, arcsec in the plane.
    radius : float
        Of the field about it, arcsec.
    start : ndarray, shape (3, 3)
        First guess of the correction, on (x, y, 1) in radians.
    family : str
        Groups of one family should have the same roll (and scale), shifts apart; empty: of none.
    """

    name: str
    plane: TangentPlane
    geometry: str | None
    centre: NDArray[np.float64]
    radius: float
    start: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    family: str = ""


@dataclass(frozen=True, eq=False)
class Observations:
    """Stars measured in images; all arrays have one item (or row) for each measurement.

    Attributes
    ----------
    group : ndarray of int, shape (n,)
        Index of the group.
    track : ndarray of int, shape (n,)
        Number of the star.
    xy : ndarray, shape (n, 2)
        In the plane of the group, uncorrected, arcsec.
    sigma : ndarray, shape (n,)
        Error of one axis, arcsec; NaN: unknown.
    weight : ndarray, shape (n,)
        Divides the variance.
    motion : ndarray, shape (n, 2)
        Where the star was in that image less where it is at the common epoch, arcsec, in the
        field's plane.
    """

    group: NDArray[np.intp]
    track: NDArray[np.intp]
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]
    motion: NDArray[np.float64]

    def take(self, rows: NDArray[np.intp]) -> Observations:
        """Return the measurements with these indices."""
        group, track = self.group[rows], self.track[rows]
        sigma, weight = self.sigma[rows], self.weight[rows]
        return Observations(group, track, self.xy[rows], sigma, weight, self.motion[rows])


@dataclass(frozen=True, eq=False)
class FixedStars:
    """Stars of the reference catalog, at the common epoch.

    Attributes
    ----------
    track : ndarray of int, shape (m,)
    xy : ndarray, shape (m, 2)
        In the field's plane, arcsec.
    sigma, weight : ndarray, shape (m,)
        As in `Observations`.
    """

    track: NDArray[np.intp]
    xy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Link:
    """One point of the sky found in two groups, for instance by correlation of their images.

    Attributes
    ----------
    first, second : int
        Indices of the groups.
    xy_first, xy_second : ndarray, shape (2,)
        Where the point lies in the planes of the two, uncorrected, arcsec.
    cov : ndarray, shape (2, 2)
        Covariance of the difference, arcsec squared, in the field's plane.
    bundle : int
        Links of one number (0 or more) are one measurement: used or rejected together.
    firm : bool
        Whether the link is never rejected.
    """

    first: int
    second: int
    xy_first: NDArray[np.float64]
    xy_second: NDArray[np.float64]
    cov: NDArray[np.float64]
    bundle: int = -1
    firm: bool = False


@dataclass
class State:
    """The corrections as they stand: (3, 3) for each group, and the move of the whole sky."""

    groups: NDArray[np.float64]
    sky: NDArray[np.float64]
