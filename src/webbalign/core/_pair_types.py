"""What the comparison of images on a common grid is made of: images, pairs, solutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from webbalign.core._image_fits import ImageStatus
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.network import PlaneCorrection

__all__ = ["GridImage", "GroupFit", "ImagePair", "OnGrid", "PairSolution"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridImage:
    """An image on a common grid that has no end.

    Attributes
    ----------
    name : str
        Of the group (visit) that it shows.
    data, weight : ndarray (ny, nx)
        NaN, or weight 0, where there is nothing.
    origin : tuple of int
        Row and column of the first pixel on the grid.
    n_images : int
        Images in it.
    place_cov : ndarray (3, 3)
        Error of its place as a whole, which its own pixels do not show: covariance of dx, dy (px)
        and rotation (radians from x to y).
    place_point : ndarray (2,)
        x, y of the grid, px, to which dx, dy belong.
    """

    name: str
    data: NDArray[np.float32] = field(repr=False)
    weight: NDArray[np.float32] = field(repr=False)
    origin: tuple[int, int]
    n_images: int = 1
    place_cov: Array = field(default_factory=lambda: np.zeros((3, 3)), repr=False)
    place_point: Array = field(default_factory=lambda: np.zeros(2), repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ny, nx = self.data.shape
        return ny, nx


class OnGrid(Protocol):
    """Where an image lies on a common grid, be its pixels in memory or not."""

    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> tuple[int, int]: ...

    @property
    def shape(self) -> tuple[int, int]: ...


@dataclass(frozen=True, eq=False)
class ImagePair:
    """The displacement between two groups on the common plane.

    What the first group shows at p, the second shows at ``point + R(rotation) (p - point) +
    shift``.

    Attributes
    ----------
    first, second : str
        Names of the groups.
    status : CorrelationStatus
        Only OK takes part in a solution.
    point : ndarray (2,)
        In the field's plane, arcsec: where shift and rotation are independent of each other.
    shift : ndarray (2,)
        Arcsec.
    rotation : float
        Radians from the plane's x to y; 0 if not measured.
    shift_cov : ndarray (2, 2)
        Arcsec squared.
    rotation_error : float
        Radians; infinite if not measured.
    n_pixels : int
    significance : float
        Of the correlation's peak.
    band : str
        In which it was measured.
    place_covs : ndarray (2, 3, 3)
        Covariances of the places of the first and the second image as a whole, shift where each
        shows the point (arcsec) and rotation (radians): what all pairs of an image have in common,
        so that it is not in `shift_cov`.
    image_part : float
        Part of `shift_cov` that is noise of the two images, which displaces each of them against
        all others alike: 1 for what was measured in images, 0 for independent measurements.
    """

    first: str
    second: str
    status: CorrelationStatus
    point: Array
    shift: Array
    rotation: float
    shift_cov: Array
    rotation_error: float
    n_pixels: int
    significance: float
    band: str = ""
    place_covs: Array = field(default_factory=lambda: np.zeros((2, 3, 3)), repr=False)
    image_part: float = 0.0


@dataclass(frozen=True, eq=False)
class GroupFit:
    """What became of one group.

    Attributes
    ----------
    name : str
    status : ImageStatus
        ALIGNED, REFERENCE, or UNCHANGED for one that is not connected with the reference.
    reason : str
    n_pairs : int
        Pairs used.
    correction : PlaneCorrection
        In the group's own plane.
    """

    name: str
    status: ImageStatus
    reason: str
    n_pairs: int
    correction: PlaneCorrection


@dataclass(frozen=True, eq=False)
class PairSolution:
    """All groups solved for.

    Attributes
    ----------
    groups : tuple of GroupFit
        In the order of the frames given.
    pairs : tuple of ImagePair
        Sorted by their names.
    used : ndarray of bool (pairs,)
    closure : ndarray (pairs, 2)
        Arcsec in the field's plane: what is left of each pair's shift; NaN for pairs not in the
        solution.
    floor : float
        One-axis error that was added to every pair's, arcsec.
    chi2_reduced : float
        Of the pairs used, with the errors as stated; NaN without freedom.
    independent : float
        Variance that the closures show, 0 to 1, in units of the stated one.
    own : mapping
        By name, what all pairs of a group have in common beyond that: covariance (3, 3) of shift
        (arcsec) at the middle of the group, and rotation.
    """

    groups: tuple[GroupFit, ...]
    pairs: tuple[ImagePair, ...]
    used: NDArray[np.bool_]
    closure: Array
    floor: float
    chi2_reduced: float
    independent: float = 1.0
    own: Mapping[str, Array] = field(default_factory=dict, repr=False)
