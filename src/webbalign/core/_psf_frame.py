"""One PSF image, prepared to be fitted to many science images; and the checks of the inputs."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from webbalign.core._shift_noise import ScoreMoments, score_moments
from webbalign.core._shift_objective import conjugate_spectrum
from webbalign.core.cubes import fill_bad_pixels
from webbalign.core.errors import InputError

__all__ = ["PsfFrame", "checked", "checked_variance"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class PsfFrame:
    """One PSF image, prepared to be fitted to many science images.

    Parameters
    ----------
    psf : array_like
        Image (ny, nx). Pixels that are not finite get no weight.
    weight : array_like
        Weight (ny, nx), 1 = full use, 0 = ignored.
    variance : array_like, optional
        Variance of the image (ny, nx). Where it is not finite and positive it is unknown: with the
        mask alone as weight the median of the others is used for the covariance; with
        ``mask_and_errors`` the pixel gets no weight.
    name : str, optional
        The file, for errors.

    Raises
    ------
    InputError
        If the shapes differ, or no pixel has weight.
    """

    def __init__(
        self,
        psf: ArrayLike,
        weight: ArrayLike,
        variance: ArrayLike | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.weight = np.asarray(weight)
        image, weight2 = checked(psf, weight, name)
        finite = np.isfinite(image)
        #: whether every pixel has the common weight
        self.whole = bool(finite.all())
        if not self.whole:
            weight2 = np.where(finite, weight2, 0.0)
            if not weight2.any():
                raise InputError(
                    name, "no finite pixel of the PSF has weight", "another PSF or mask"
                )
            image = fill_bad_pixels(image, None, box=3, name=name)
        self.variance, self.known = checked_variance(variance, image, name)
        self.has_variance = variance is not None
        # frames of one stack share their weight: it is kept here only where it is another one
        self._weight2 = None if self.whole else weight2
        self._set_image(image, weight2)
        self.weight_sum = float(weight2.sum())
        self.n_pixels = int(np.count_nonzero(weight2))
        self.variance_sum = float(np.vdot(weight2, self.variance))

    def _set_image(self, image: Array, weight2: Array) -> None:
        self.image = image
        weighted = weight2 * image
        #: of w^2 T
        self.spectrum = conjugate_spectrum(weighted)
        self.energy = float(np.vdot(weighted, image))

    @cached_property
    def repaired(self) -> PsfFrame:
        """The frame with pixels of unknown variance filled, so that they lead no fit astray."""
        if self.known is None:
            return self
        frame = copy.copy(self)
        frame.__dict__.pop("moments", None)
        image = fill_bad_pixels(self.image, ~self.known, box=3)
        frame._set_image(image, self.weight2(np.asarray(self.weight, dtype=np.float64) ** 2))
        return frame

    def weight2(self, common: Array) -> Array:
        """Return w^2 (ny, nx), `common` unless pixels of this image are left out."""
        return common if self._weight2 is None else self._weight2

    @cached_property
    def moments(self) -> ScoreMoments:
        """Sums for the covariance."""
        weight2 = self.weight2(np.asarray(self.weight, dtype=np.float64) ** 2)
        return score_moments(self.image, self.variance, weight2, known=self.has_variance)


def checked(image: ArrayLike, weight: ArrayLike, name: str | None) -> tuple[Array, Array]:
    """Return image and squared weight in float64 after checking both."""
    image = np.asarray(image, dtype=np.float64)
    weight = np.asarray(weight, dtype=np.float64)
    if image.ndim != 2 or image.shape != weight.shape:
        found = f"an image of shape {image.shape} with a weight of shape {weight.shape}"
        raise InputError(name, found, "two dimensions, and equal shapes")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise InputError(name, "a weight that is negative or not finite", "weights from 0 to 1")
    if not weight.any():
        raise InputError(name, "the weight is zero everywhere", "some pixels with weight")
    return image, weight**2


def checked_variance(
    variance: ArrayLike | None, image: Array, name: str | None
) -> tuple[Array, Mask | None]:
    """Return the variance (ny, nx) and where it is known.

    Without one it is 1; unknown values are replaced by the median of the others. The second item is
    None where all are known.
    """
    if variance is None:
        return np.ones_like(image), None
    variance = np.asarray(variance, dtype=np.float64)
    if variance.shape != image.shape:
        raise InputError(name, f"a variance of shape {variance.shape}", f"shape {image.shape}")
    known = np.isfinite(variance) & (variance > 0)
    if known.all():
        return variance, None
    if not known.any():
        raise InputError(name, "no variance is finite and positive", "some that are")
    return np.where(known, variance, np.median(variance[known])), known
