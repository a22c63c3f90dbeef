"""What the solution says of each image: status, reason in words, numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from webbalign.core._network_maps import PlaneCorrection

__all__ = [
    "AbsoluteFit",
    "AstrometricSolution",
    "CatalogResiduals",
    "ClosureOfGroups",
    "ImageFit",
    "ImageStatus",
    "Residuals",
]


class ImageStatus(StrEnum):
    """How it went for an image; ALIGNED and REFERENCE share one frame."""

    ALIGNED = "ALIGNED"
    REFERENCE = "REFERENCE"
    RELATIVE_ONLY = "RELATIVE_ONLY"
    UNCHANGED = "UNCHANGED"
    FAILED = "FAILED"


@dataclass(frozen=True, eq=False)
class ImageFit:
    """The correction of one image, in its own plane: ``xy' = matrix @ xy + shift``.

    Attributes
    ----------
    name, group : str
    status : ImageStatus
    reason : str
        In words; empty where there is nothing to say.
    n_found : int
        Stars in its list.
    n_matched : int
        Of these, stars that were found in other groups or in the reference catalog.
    n_used : int
        Of these, stars that were not clipped.
    n_reference : int
        Of these, stars of the reference catalog.
    rms : float
        Root mean square distance of the stars used from their mean positions, arcsec; NaN without.
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)
        Arcsec.
    cov : ndarray, shape (6, 6)
        Covariance of m11, m12, m21, m22, xshift, yshift relative to the reference (group or
        catalog); NaN if nothing was fitted.
    chi2_reduced : float
        Of the stars of its group with the errors as stated; NaN if unknown.
    chi2_with_floor : float
        The same with what the solution has added to the errors of all stars.
    """

    name: str
    group: str
    status: ImageStatus
    reason: str
    n_found: int
    n_matched: int
    n_used: int
    n_reference: int
    rms: float
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    cov: NDArray[np.float64]
    chi2_reduced: float
    chi2_with_floor: float = np.nan

    @property
    def correction(self) -> PlaneCorrection:
        """The correction with its covariance."""
        return PlaneCorrection(self.matrix, self.shift, self.cov)

    @property
    def roll(self) -> float:
        """Rotation in degrees, positive from x to y."""
        return self.correction.roll

    @property
    def aligned(self) -> bool:
        """Whether the image is in the common frame."""
        return self.status in (ImageStatus.ALIGNED, ImageStatus.REFERENCE)


@dataclass(frozen=True, eq=False)
class Residuals:
    """What is left of each matched measurement; all arrays have one item for each.

    Attributes
    ----------
    image : ndarray of int
        Index of the image in the caller's order.
    star : ndarray of int
        Index of the star in the image's list.
    track : ndarray of int
        Number of the star; the same in all images.
    reference : ndarray of int
        Index of the star in the reference catalog; -1 if it is not there.
    dx, dy : ndarray
        Position less mean position, arcsec, to the east and north; NaN without a mean.
    used : ndarray of bool
    """

    image: NDArray[np.intp]
    star: NDArray[np.intp]
    track: NDArray[np.intp]
    reference: NDArray[np.intp]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    used: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CatalogResiduals:
    """What is left of each matched star of the reference catalog; one item for each.

    Attributes
    ----------
    track : ndarray of int
        Number of the star, as in :class:`Residuals`.
    reference : ndarray of int
        Index of the star in the reference catalog.
    dx, dy : ndarray
        Catalog position less the mean of the star in the images alone, arcsec, to the east and
        north.
    used : ndarray of bool
    """

    track: NDArray[np.intp]
    reference: NDArray[np.intp]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]
    used: NDArray[np.bool_]

    @classmethod
    def none(cls) -> CatalogResiduals:
        """Return those of no star."""
        index, left = np.empty(0, np.intp), np.empty(0)
        return cls(index, index, left, left, np.empty(0, bool))


@dataclass(frozen=True)
class ClosureOfGroups:
    """What is left between two groups: mean of first less second position, arcsec.

    `dx` is to the east, `dy` to the north; `error` is that of each, from the errors of the stars.
    """

    first: str
    second: str
    n: int
    dx: float
    dy: float
    error: float


@dataclass(frozen=True)
class AbsoluteFit:
    """How a component was tied to the reference catalog.

    Attributes
    ----------
    groups : tuple of str
        Of the component.
    tied : bool
    reason : str
        Why it was not, or what is to be known.
    n_matched, n_used : int
        Catalog stars.
    rms : float
        Of their distances from the stars in the images, arcsec.
    floor : float
        Error of one axis that had to be added to that of the catalog, arcsec.
    """

    groups: tuple[str, ...]
    tied: bool
    reason: str
    n_matched: int = 0
    n_used: int = 0
    rms: float = float("nan")
    floor: float = 0.0


@dataclass(frozen=True, eq=False)
class AstrometricSolution:
    """Corrections of all images, in the caller's order, and what they rest on.

    Attributes
    ----------
    images : tuple of ImageFit
    components : tuple of tuple of str
        Names of the groups that are tied together, the largest part first.
    reference_group : str or None
        The group that holds the others; None if nothing was aligned.
    absolute : tuple of AbsoluteFit
        One for each component that was compared with the catalog.
    residuals : Residuals
    closures : tuple of ClosureOfGroups
    floor : float
        Error of one axis that had to be added to those of the stars in images, arcsec.
    catalog : CatalogResiduals
    pair_used : ndarray of bool, shape (pairs,)
        Which pairs of images took part in corrections that are applied.
    pair_closure : ndarray, shape (pairs, 2)
        What is left of the shift of each, arcsec, to the east and north; NaN between groups that
        are not connected.
    """

    images: tuple[ImageFit, ...]
    components: tuple[tuple[str, ...], ...]
    reference_group: str | None
    absolute: tuple[AbsoluteFit, ...]
    residuals: Residuals
    closures: tuple[ClosureOfGroups, ...]
    floor: float
    catalog: CatalogResiduals = field(default_factory=CatalogResiduals.none)
    pair_used: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    pair_closure: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def all_aligned(self) -> bool:
        """Whether every image is in the common frame."""
        return all(image.aligned for image in self.images)
