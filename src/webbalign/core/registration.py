"""Shift and flux ratio between a science image and a PSF image, under a weight.

The fit minimises sum((w (T - b S_d))^2) over the shift d = (dx, dy) and the flux ratio b, where T
is the PSF image, S_d the science image moved by d (periodic Fourier shift) and w the weight.
Positive dx and dy mean that the PSF lies at larger x and y than the science image. With b
eliminated the minimum is the maximum of N(d)^2 / D(d), two functions that are known exactly at
every shift (:mod:`webbalign.core._shift_objective`), so that Newton's method needs neither
differences nor transforms.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from webbalign.core._psf_frame import PsfFrame, checked, checked_variance
from webbalign.core._shift_noise import ScienceNoise, sandwich, score_of_mask
from webbalign.core._shift_objective import CellInterpolant, SquaredImage, cross_sum
from webbalign.core._shift_peak import Peak, best_whole_shift, climb
from webbalign.core._weighted_fit import weighted_fit
from webbalign.core.cubes import fill_bad_pixels
from webbalign.core.errors import InputError
from webbalign.core.fourier import DEFAULT_PADDING, Shifter
from webbalign.core.options import Options, opt

__all__ = ["AlignRefs", "FitStatus", "PsfFrame", "Registrar", "ShiftFit"]

Array = NDArray[np.float64]

# Largest shift (px, each axis) that is searched.
MAX_SHIFT = 10
# A flux ratio below this many standard errors is no signal: the search over many shifts finds
# peaks of 3 to 4 sigma in pure noise.
_SIGNIFICANCE = 5.0


@dataclass(frozen=True)
class AlignRefs(Options):
    """Options of the alignment of PSF images to science images."""

    median_box_length: int = opt(
        3, "Width in px of the box whose median replaces a bad pixel.", min=0
    )
    bad_bits: str | None = opt(
        "DO_NOT_USE",
        "DQ bits that mark a bad pixel: names or numbers joined by + or a comma; empty or None: "
        "only pixels that are not finite are bad.",
    )
    psfmask_convention: str = opt(
        "weight",
        "What the PSFMASK holds. weight: 1 means full use and 0 ignored, as in all real files; "
        "masked: the opposite, as their documentation has it.",
        choices=("weight", "masked"),
    )
    align_to: str = opt(
        "each",
        "Science image that the PSF images are aligned to: each integration, the first one, or "
        "their mean.",
        choices=("each", "first", "mean"),
    )
    fit_weighting: str = opt(
        "mask",
        "Weights of the fit. mask: the PSFMASK alone; mask_and_errors: also the errors of both "
        "images.",
        choices=("mask", "mask_and_errors"),
    )
    repair: str = opt(
        "grow",
        "Bad pixels without a good one in their box. grow: the box grows until it has one; box: "
        "they become 0, as do bad pixels of the first row and column, as jwst has it.",
        choices=("grow", "box"),
    )
    shift_padding: int = opt(
        DEFAULT_PADDING,
        "Pixels by which an image is continued beyond its edges before it is shifted; 0: it is "
        "taken as periodic and wraps around, as jwst has it.",
        min=0,
    )
    err_shift: str = opt(
        "variance",
        "How the errors of a shifted image are made. variance: propagated, never negative; flux: "
        "shifted like the image, as jwst has it.",
        choices=("variance", "flux"),
    )
    save_psfalign: bool = opt(True, "Whether to save the aligned PSF images.")
    hand_on_repaired: bool = opt(
        False,
        "Whether klip gets the repaired science images, as in jwst, or those with bad pixels.",
    )


class FitStatus(enum.Enum):
    """How a fit ended."""

    OK = "OK"
    #: the iteration did not settle; the numbers are those of its last step
    NOT_CONVERGED = "NOT_CONVERGED"
    #: nothing in common: an empty image, or a flux ratio below 5 sigma
    NO_SIGNAL = "NO_SIGNAL"
    #: the best match lies at the largest shift that is searched, 10 px, or beyond
    AT_LIMIT = "AT_LIMIT"


@dataclass(frozen=True)
class ShiftFit:
    """Shift and flux ratio of a PSF image relative to a science image.

    Attributes
    ----------
    dx, dy : float
        Shift in px: the PSF is the science image moved by (+dx, +dy). NaN if there was nothing to
        fit.
    flux_ratio : float
        PSF flux over science flux.
    covariance : numpy.ndarray
        Shape (3, 3), order (dx, dy, flux_ratio): of this estimator, both images being noisy.
    chi2_reduced : float
        Weighted sum of squared residuals over its expectation for the given variances, corrected
        for the three parameters; NaN without variances.
    n_pixels : int
        Pixels with weight.
    n_iter : int
        Iterations.
    status : FitStatus
        How the fit ended.
    bias : numpy.ndarray
        Shape (3,): the systematic error of (dx, dy, flux_ratio) that the noise of the science image
        is expected to bring (errors in variables); not subtracted. Zero with ``mask_and_errors``.
    """

    dx: float
    dy: float
    flux_ratio: float
    covariance: Array = field(repr=False)
    chi2_reduced: float
    n_pixels: int
    n_iter: int
    status: FitStatus
    bias: Array = field(default_factory=lambda: np.zeros(3), repr=False)

    @property
    def errors(self) -> Array:
        """One-sigma errors of (dx, dy, flux_ratio): the scatter and the expected bias together."""
        return np.sqrt(np.diag(self.error_matrix))

    @property
    def error_matrix(self) -> Array:
        """Expected mean square of the errors, shape (3, 3): covariance plus bias squared."""
        return self.covariance + np.outer(self.bias, self.bias)


class Registrar:
    """One science image, prepared for fits of many PSF images.

    Parameters
    ----------
    science : array_like
        Image (ny, nx), all pixels finite.
    weight : array_like
        Weight (ny, nx) in the frame of the PSF images, 1 = full use, 0 = ignored.
    variance : array_like, optional
        Variance of the image (ny, nx); unknown where it is not finite and positive, see
        :class:`PsfFrame`.
    fit_weighting : {'mask', 'mask_and_errors'}, optional
        Weights of the fit: `weight` alone, or also the errors of both images,
        ``w / sqrt(v_T + b^2 v_S,d)``, which reaches the Cramer-Rao bound if w is 0 or 1 (a
        weight that falls off smoothly throws information away).
    name : str, optional
        The file, for errors.

    Raises
    ------
    InputError
        If the shapes differ, a science pixel is not finite, or the weight is zero everywhere.

    Notes
    -----
    With the mask as weight the estimator is that of the calwebb_coron3 documents. S being noisy
    too, its flux ratio is low by a factor of about 1 + sum(w^2 v_S) / sum(w^2 S^2) (errors in
    variables), and where v_S varies under a weight that does so too, the shift is off as well; both
    vanish as the square of the noise. :attr:`ShiftFit.bias` is what is to be expected; it and the
    covariance hold while that factor is below about 1.1.

    The covariance is H^-1 B H^-1: H is half the second derivative of the sum of squares at the
    solution, B the variance of half its first derivative. With mu the common image without its
    noise (J its derivatives, from the PSF image, whose own noise is subtracted) B is made of

    - sum(w^4 v_T J J^T), by the noise of the PSF image;
    - b^2 sum(w^4 v_S,d J J^T), by that of the science image, v_S,d being its variance moved to the
      PSF frame (:func:`~webbalign.core.fourier.shift_variance`) in place of the exact adjoint, from
      which it differs where w or v_S change within a pixel;
    - sum(w^4 v_T v_S,d) times (b^2 pi^2/3, b^2 pi^2/3, 1), by their product.

    Without variances both images are taken to have white noise, equal after scaling, as strong as
    the residuals say.
    """

    def __init__(
        self,
        science: ArrayLike,
        weight: ArrayLike,
        variance: ArrayLike | None = None,
        *,
        fit_weighting: str = "mask",
        name: str | None = None,
    ) -> None:
        if fit_weighting not in ("mask", "mask_and_errors"):
            raise ValueError(
                f"fit_weighting is 'mask' or 'mask_and_errors'; found {fit_weighting!r}"
            )
        if fit_weighting == "mask_and_errors" and variance is None:
            raise ValueError("fit_weighting 'mask_and_errors' needs the variances of both images")
        self._weight = np.asarray(weight)
        self._image, self._weight2 = checked(science, weight, name)
        bad = self._image.size - np.count_nonzero(np.isfinite(self._image))
        if bad:
            found = f"{bad} pixels of the science image are not finite"
            raise InputError(name, found, "an image without such pixels")
        self._variance, self._known = checked_variance(variance, self._image, name)
        self._has_variance = variance is not None
        if fit_weighting == "mask_and_errors" and self._known is not None:
            self._image = fill_bad_pixels(self._image, ~self._known, box=3, name=name)
        self._fit_weighting = fit_weighting
        self._shape = (self._image.shape[0], self._image.shape[1])
        self._limit = min(MAX_SHIFT, (min(self._shape) - 1) // 2)
        self._spectrum = scipy.fft.rfft2(self._image, workers=1)
        self._squared = SquaredImage(self._spectrum, self._shape)
        self._energy = CellInterpolant(self._squared.summed(self._weight2))
        self._whole_energy = self._energy.on_whole_pixels(self._limit)
        self._noise = ScienceNoise(self._variance, self._weight2, self._limit)

    def fit(self, psf: ArrayLike | PsfFrame, psf_variance: ArrayLike | None = None) -> ShiftFit:
        """Fit one PSF image.

        Parameters
        ----------
        psf : array_like or PsfFrame
            PSF image (ny, nx), or one prepared under the same weight.
        psf_variance : array_like, optional
            Its variance (ny, nx); not with a :class:`PsfFrame`.

        Returns
        -------
        ShiftFit

        Raises
        ------
        InputError
            If the shape of the PSF is another one, or no finite pixel of it has weight.
        ValueError
            If only one of the two images has a variance, or a frame was prepared under another
            weight.
        """
        frame = psf if isinstance(psf, PsfFrame) else PsfFrame(psf, self._weight, psf_variance)
        if frame.weight is not self._weight and not np.array_equal(frame.weight, self._weight):
            raise ValueError("the PSF frame was prepared under another weight")
        if frame.has_variance != self._has_variance:
            raise ValueError("give the variance of both images or of neither")
        return self._fit(frame if self._fit_weighting == "mask" else frame.repaired)

    def _fit(self, psf: PsfFrame) -> ShiftFit:
        cross = cross_sum(psf.spectrum, self._spectrum, self._shape)
        energy, whole = self._energy, self._whole_energy
        if not psf.whole:
            energy = CellInterpolant(self._squared.summed(psf.weight2(self._weight2)))
            whole = energy.on_whole_pixels(self._limit)
        start = best_whole_shift(cross.on_whole_pixels(self._limit), whole)
        if start is None:
            return _no_signal(psf.n_pixels)
        peak = climb(cross, energy, start)
        if self._fit_weighting == "mask_and_errors":
            return self._refined(psf, peak)
        covariance, bias, chi2 = self._noise_under_mask(psf, peak)
        return ShiftFit(
            dx=peak.dx,
            dy=peak.dy,
            flux_ratio=peak.ratio,
            covariance=covariance,
            chi2_reduced=chi2,
            n_pixels=psf.n_pixels,
            n_iter=peak.n_iter,
            status=self._status(peak.parameters, covariance, peak.converged),
            bias=bias,
        )

    def _refined(self, psf: PsfFrame, peak: Peak) -> ShiftFit:
        """Go on from the fit under the mask to that under the errors of both images."""
        weight2, variance = psf.weight2(self._weight2), self._variance
        if psf.known is not None:
            weight2 = np.where(psf.known, weight2, 0.0)
        if self._known is not None:
            variance = np.where(self._known, variance, np.inf)
        start = peak.parameters - self._noise_under_mask(psf, peak)[1]
        if not (np.isfinite(start).all() and start[2] > 0):
            start = peak.parameters
        fit = weighted_fit(psf.image, psf.variance, weight2, self._shifter, variance, start)
        dx, dy, ratio = map(float, fit.parameters)
        return ShiftFit(
            dx=dx,
            dy=dy,
            flux_ratio=ratio,
            covariance=fit.covariance,
            chi2_reduced=_reduced(fit.chi2, fit.expected, fit.n_pixels),
            n_pixels=fit.n_pixels,
            n_iter=peak.n_iter + fit.n_iter,
            status=self._status(fit.parameters, fit.covariance, peak.converged and fit.converged),
        )

    def _status(self, parameters: Array, covariance: Array, converged: bool) -> FitStatus:
        # "not >" so that a covariance of NaN is no signal either
        if not parameters[2] > _SIGNIFICANCE * np.sqrt(max(covariance[2, 2], 0.0)):
            return FitStatus.NO_SIGNAL
        if np.abs(parameters[:2]).max() >= self._limit:
            return FitStatus.AT_LIMIT
        return FitStatus.OK if converged else FitStatus.NOT_CONVERGED

    def _noise_under_mask(self, psf: PsfFrame, peak: Peak) -> tuple[Array, Array, float]:
        """Return covariance, bias and reduced chi-square of the fit under the mask alone."""
        ratio, energy = peak.ratio, peak.energy[0, 0]
        # the minimum of the sum of squares; rounding may take it below zero
        chi2 = max(psf.energy - ratio * peak.cross[0, 0], 0.0)
        excess, tilt = self._noise.summed(peak.dx, peak.dy)
        own = other = 1.0
        reduced = float("nan")
        if self._has_variance:
            expected = psf.variance_sum + ratio**2 * excess
            reduced = _reduced(chi2, expected, psf.n_pixels)
        else:
            own = _reduced(chi2, psf.weight_sum, psf.n_pixels) / 2
            other = own / ratio**2
        moved = self._noise.at(psf.moments.pixels, peak.dx, peak.dy)
        score = score_of_mask(
            ratio,
            max(1 - other * excess / energy, 0.5),
            psf.moments.own,
            psf.moments.sums(moved),
            self._noise.products(psf.variance, peak.dx, peak.dy),
            (own, other),
        )
        hessian = peak.half_hessian()
        mean = other * np.array([*(ratio**2 / 2 * tilt), ratio * excess])
        return sandwich(hessian, score), _bias(hessian, mean), reduced

    @cached_property
    def _shifter(self) -> Shifter:
        return Shifter(self._image, padding=0)


def _bias(hessian: Array, mean_score: Array) -> Array:
    try:
        return -np.linalg.solve(hessian, mean_score).astype(np.float64)
    except np.linalg.LinAlgError:
        return np.full_like(mean_score, np.nan)


def _reduced(chi2: float, expected: float, n_pixels: int) -> float:
    """Chi-square over its expectation, corrected for the three parameters."""
    if n_pixels <= 3 or not expected > 0:
        return float("nan")
    return float(chi2 / expected * n_pixels / (n_pixels - 3))


def _no_signal(n_pixels: int) -> ShiftFit:
    nan = float("nan")
    covariance, bias = np.full((3, 3), nan), np.full(3, nan)
    return ShiftFit(nan, nan, nan, covariance, nan, n_pixels, 0, FitStatus.NO_SIGNAL, bias)
