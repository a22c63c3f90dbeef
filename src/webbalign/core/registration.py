"""Shift and flux ratio between a science image and a PSF image, under a weight.

The fit minimises sum((w (T - b S_d))^2) over the shift d = (dx, dy) and the flux ratio b, where T is the
PSF image, S_d the science image moved by d (periodic Fourier shift) and w the weight. Positive dx
and dy mean that the PSF lies at larger x and y than the science image. With b eliminated the minimum
is the maximum of N(d)^2 / D(d), two functions that are known exactly at every shift
(:mod:`webbalign.core._shift_objective`), so that Newton's method needs neither differences nor transforms.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from webbalign.core._shift_noise import (
    DERIVATIVE_NOISE,
    Moments,
    gradients,
    moments,
    sandwich,
    weighted_fit,
)
from webbalign.core._shift_objective import CellInterpolant, SquaredImage, TrigPolynomial, cross_sum
from webbalign.core.cubes import fill_bad_pixels
from webbalign.core.errors import InputError
from webbalign.core.fourier import DEFAULT_PADDING, Shifter
from webbalign.core.options import Options, opt

__all__ = ["AlignRefs", "FitStatus", "PsfFrame", "Registrar", "ShiftFit"]

Array = NDArray[np.float64]

# Largest shift (px, each axis) that is searched.
MAX_SHIFT = 10
# Newton's method: iterations, the step (px) below which it has converged (it doubles its digits each
# time), and the longest step (px) it may take.
_MAX_ITERATIONS = 50
_TOLERANCE = 1e-7
_LONGEST_STEP = 0.5
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
        "DQ bits that mark a bad pixel: names or numbers joined by + or a comma; empty or None: only "
        "pixels that are not finite are bad.",
    )
    psfmask_convention: str = opt(
        "weight",
        "What the PSFMASK holds. weight: 1 means full use and 0 ignored, as in all real files; masked: "
        "the opposite, as their documentation has it.",
        choices=("weight", "masked"),
    )
    align_to: str = opt(
        "each",
        "Science image that the PSF images are aligned to: each integration, the first one, or their "
        "mean.",
        choices=("each", "first", "mean"),
    )
    fit_weighting: str = opt(
        "mask",
        "Weights of the fit. mask: the PSFMASK alone; mask_and_errors: also the errors of both images.",
        choices=("mask", "mask_and_errors"),
    )
    repair: str = opt(
        "grow",
        "Bad pixels without a good one in their box. grow: the box grows until it has one; box: they "
        "become 0, as do bad pixels of the first row and column, as jwst has it.",
        choices=("grow", "box"),
    )
    shift_padding: int = opt(
        DEFAULT_PADDING,
        "Pixels by which an image is continued beyond its edges before it is shifted; 0: it is taken as "
        "periodic and wraps around, as jwst has it.",
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
        False, "Whether klip gets the repaired science images, as in jwst, or those with bad pixels."
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
        Shift in px: the PSF is the science image moved by (+dx, +dy). NaN if there was nothing to fit.
    flux_ratio : float
        PSF flux over science flux.
    covariance : numpy.ndarray
        Shape (3, 3), order (dx, dy, flux_ratio): of this estimator, both images being noisy.
    bias : numpy.ndarray
        Shape (3,): the systematic error of (dx, dy, flux_ratio) that the noise of the science image is
        expected to bring (errors in variables); not subtracted. Zero with ``mask_and_errors``.
    chi2_reduced : float
        Weighted sum of squared residuals over its expectation for the given variances, corrected for
        the three parameters; NaN without variances.
    n_pixels : int
        Pixels with weight.
    n_iter : int
        Iterations.
    status : FitStatus
        How the fit ended.
    """

    dx: float
    dy: float
    flux_ratio: float
    covariance: Array = field(repr=False)
    bias: Array = field(repr=False)
    chi2_reduced: float
    n_pixels: int
    n_iter: int
    status: FitStatus

    @property
    def errors(self) -> Array:
        """One-sigma errors of (dx, dy, flux_ratio)."""
        return np.sqrt(np.diag(self.covariance))


class PsfFrame:
    """One PSF image, prepared to be fitted to many science images.

    Parameters
    ----------
    psf : array_like
        Image (ny, nx). Pixels that are not finite get no weight.
    weight : array_like
        Weight (ny, nx), 1 = full use, 0 = ignored.
    variance : array_like, optional
        Variance of the image (ny, nx). Where it is not finite and positive it is unknown: with the mask
        alone as weight the median of the others is used for the covariance, otherwise the pixel gets
        no weight.
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
        image, weight2 = _checked(psf, weight, name)
        finite = np.isfinite(image)
        #: whether every pixel has the common weight
        self.whole = bool(finite.all())
        if not self.whole:
            weight2 = np.where(finite, weight2, 0.0)
            if not weight2.any():
                raise InputError(name, "no finite pixel of the PSF has weight")
            image = fill_bad_pixels(image, None, box=3, name=name)
        self.image, self.weight2 = image, weight2
        self.variance, self.known = _checked_variance(variance, image, name)
        self.has_variance = variance is not None
        weighted = weight2 * image
        self.spectrum = scipy.fft.rfft2(weighted, workers=1).conj()
        self.energy = float(np.vdot(weighted, image))
        self.weight_sum = float(weight2.sum())
        self.n_pixels = int(np.count_nonzero(weight2))

    @cached_property
    def moments(self) -> Moments:
        """Sums for the covariance."""
        return moments(gradients(self.image), self.variance, self.weight2)

    @cached_property
    def kernel(self) -> Array:
        """w^4 times the variance, (ny, nx)."""
        return self.weight2**2 * self.variance


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
        ``w / sqrt(v_T + b^2 v_S,d)``, which reaches the Cramer-Rao bound.
    name : str, optional
        The file, for errors.

    Raises
    ------
    InputError
        If the shapes differ, a science pixel is not finite, or the weight is zero everywhere.

    Notes
    -----
    With the mask as weight the estimator is that of the calwebb_coron3 documents. Its flux ratio is low
    by the factor 1 + sum(w^2 v_S) / sum(w^2 S^2), since S is noisy too (errors in variables); the
    shift is not affected. The covariance is H^-1 B H^-1: H is half the second derivative of the
    sum of squares at the solution; B, the variance of its first derivative, is made of

    - sum(w^4 v_T J J^T), with J from the PSF image;
    - b^2 sum(w^4 v_S J J^T), with J from the science image and w moved to it (bilinear between whole
      pixels), in place of the exact adjoint, from which it differs only where w is sharper than a px;
    - the product of both noises, sum(w^4 v_T v_S,d) times (b^2 pi^2/3, b^2 pi^2/3, 1).

    The noise of J itself is subtracted from the first two. Without variances both images are
    taken to have white noise, equal after scaling, as strong as the residuals say.
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
            raise ValueError(f"fit_weighting is 'mask' or 'mask_and_errors'; found {fit_weighting!r}")
        if fit_weighting == "mask_and_errors" and variance is None:
            raise ValueError("fit_weighting 'mask_and_errors' needs the variances of both images")
        self._weight = np.asarray(weight)
        self._image, self._weight2 = _checked(science, weight, name)
        bad = self._image.size - np.count_nonzero(np.isfinite(self._image))
        if bad:
            raise InputError(name, f"{bad} pixels of the science image are not finite", "filled pixels")
        self._variance, self._known = _checked_variance(variance, self._image, name)
        self._has_variance = variance is not None
        self._fit_weighting = fit_weighting
        self._shape = self._image.shape
        self._limit = min(MAX_SHIFT, (min(self._shape) - 1) // 2)
        self._spectrum = scipy.fft.rfft2(self._image, workers=1)
        self._squared = SquaredImage(self._spectrum, self._shape)
        self._energy = CellInterpolant(self._squared.summed(self._weight2))
        self._whole_energy = self._energy.on_whole_pixels(self._limit)
        self._nodes: dict[tuple[int, int], Moments] = {}
        self._moved: dict[tuple[int, int], Array] = {}

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
            If only one of the two images has a variance, or a frame was prepared under another weight.
        """
        frame = psf if isinstance(psf, PsfFrame) else PsfFrame(psf, self._weight, psf_variance)
        if frame.weight is not self._weight and not np.array_equal(frame.weight, self._weight):
            raise ValueError("the PSF frame was prepared under another weight")
        if frame.has_variance != self._has_variance:
            raise ValueError("give the variance of both images or of neither")
        return self._fit(frame)

    def _fit(self, psf: PsfFrame) -> ShiftFit:
        cross = cross_sum(psf.spectrum, self._spectrum, self._shape)
        if psf.whole:
            energy, whole = self._energy, self._whole_energy
        else:
            energy = CellInterpolant(self._squared.summed(psf.weight2))
            whole = energy.on_whole_pixels(self._limit)
        start = _best_whole_shift(cross.on_whole_pixels(self._limit), whole)
        if start is None:
            return _nothing(psf.n_pixels)
        peak = _climb(cross, energy, start)
        status = FitStatus.OK if peak.converged else FitStatus.NOT_CONVERGED
        if max(abs(peak.dx), abs(peak.dy)) >= self._limit:
            status = FitStatus.AT_LIMIT
        if self._fit_weighting == "mask_and_errors":
            return self._refine(psf, peak, status)
        noise = self._mask_noise(psf, peak)
        return _result(
            peak.parameters,
            noise.covariance,
            noise.bias,
            noise.chi2_reduced,
            psf.n_pixels,
            peak.n_iter,
            status,
        )

    def _refine(self, psf: PsfFrame, peak: _Peak, status: FitStatus) -> ShiftFit:
        """Go on from the fit under the mask to that under the errors of both images."""
        start = peak.parameters - self._mask_noise(psf, peak).bias
        fit = weighted_fit(
            psf.image,
            psf.variance,
            np.where(psf.known, psf.weight2, 0.0),
            self._shifter,
            np.where(self._known, self._variance, np.inf),
            start if np.isfinite(start).all() else peak.parameters,
        )
        if status is FitStatus.OK and not fit.converged:
            status = FitStatus.NOT_CONVERGED
        chi2 = _reduced(fit.chi2, fit.expected, fit.n_pixels)
        return _result(
            fit.parameters,
            fit.covariance,
            np.zeros(3),
            chi2,
            fit.n_pixels,
            peak.n_iter + fit.n_iter,
            status,
        )

    def _mask_noise(self, psf: PsfFrame, peak: _Peak) -> _MaskNoise:
        """Return covariance, bias and reduced chi-square of the fit under the mask alone."""
        n, e, ratio = peak.cross, peak.energy, peak.ratio
        chi2 = max(psf.energy - 2 * ratio * n[0, 0] + ratio**2 * e[0, 0], 0.0)
        of_psf, common = psf.moments, self._common_noise(psf, peak)
        of_science, change = self._moments(peak.dx, peak.dy)
        reduced = np.nan
        if self._has_variance:
            expected = of_psf.variance + ratio**2 * of_science.variance
            reduced = _reduced(chi2, expected, psf.n_pixels)
        else:
            noise = _reduced(chi2, psf.weight_sum, psf.n_pixels) / 2
            of_psf, of_science = of_psf.scaled(noise), of_science.scaled(noise / ratio**2)
            common, change = common * (noise / ratio) ** 2, change * (noise / ratio**2)
        # the flux ratio without its bias: that between the images without their noise
        true = ratio / max(1 - of_science.variance / e[0, 0], 0.5)
        psf_scale = np.array([-ratio / true, -ratio / true, 1 / true])
        science_scale = -ratio * np.array([true, true, 2 * ratio - true])
        science_scale[2] /= ratio
        score = of_psf.without_noise() * np.outer(psf_scale, psf_scale)
        score += of_science.without_noise() * np.outer(science_scale, science_scale)
        score += common * np.diag([ratio**2 * DERIVATIVE_NOISE, ratio**2 * DERIVATIVE_NOISE, 1])
        # S is noisy in both factors of the derivative with respect to the flux ratio
        score[2, 2] += 2 * ratio**2 * of_science.squares
        hessian = _half_hessian(n, e, ratio)
        tilt = np.array([ratio**2 / 2, ratio**2 / 2, ratio]) * [*change, of_science.variance]
        return _MaskNoise(sandwich(hessian, score), _minus_solved(hessian, tilt), reduced)

    @cached_property
    def _shifter(self) -> Shifter:
        return Shifter(self._image, padding=0)

    @cached_property
    def _gradients(self) -> Array:
        return gradients(self._image)

    def _common_noise(self, psf: PsfFrame, peak: _Peak) -> float:
        """Return sum(w^4 v_T v_S,d), the shift rounded to whole pixels."""
        whole = (round(peak.dx), round(peak.dy))
        if whole not in self._moved:
            self._moved[whole] = np.roll(self._variance, whole[::-1], axis=(0, 1))
        return float(np.vdot(psf.kernel, self._moved[whole]))

    def _moments(self, dx: float, dy: float) -> tuple[Moments, Array]:
        """Return sums over the science image under the weight moved to it, bilinear in the shift.

        The second item is the derivative of the sum(w^2 v) with respect to (dx, dy).
        """
        x, y = int(np.floor(dx)), int(np.floor(dy))
        fx, fy = dx - x, dy - y
        corners = ((0, 0), (1, 0), (0, 1), (1, 1))
        nodes = [self._node(x + i, y + j) for i, j in corners]
        along_x, along_y = np.array([1 - fx, fx]), np.array([1 - fy, fy])
        shares = [along_x[i] * along_y[j] for i, j in corners]
        pairs = list(zip(shares, nodes, strict=True))
        variances = np.array([node.variance for node in nodes]).reshape(2, 2)
        blend = Moments(
            matrix=sum((share * node.matrix for share, node in pairs), np.zeros((3, 3))),
            squares=sum(share * node.squares for share, node in pairs),
            variance=float(along_y @ variances @ along_x),
        )
        change = np.array([along_y @ variances @ [-1, 1], np.array([-1, 1]) @ variances @ along_x])
        return blend, change

    def _node(self, dx: int, dy: int) -> Moments:
        if (dx, dy) not in self._nodes:
            weight2 = np.roll(self._weight2, (-dy, -dx), axis=(0, 1))
            self._nodes[dx, dy] = moments(self._gradients, self._variance, weight2)
        return self._nodes[dx, dy]


@dataclass(frozen=True)
class _Peak:
    """A maximum of N^2/D, with N and D and their derivatives there."""

    dx: float
    dy: float
    cross: Array
    energy: Array
    n_iter: int
    converged: bool

    @property
    def ratio(self) -> float:
        return float(self.cross[0, 0] / self.energy[0, 0])

    @property
    def parameters(self) -> Array:
        return np.array([self.dx, self.dy, self.ratio])


@dataclass(frozen=True)
class _MaskNoise:
    """Covariance (3, 3), bias (3,) and reduced chi-square of a fit under the mask alone."""

    covariance: Array
    bias: Array
    chi2_reduced: float


def _half_hessian(n: Array, e: Array, ratio: float) -> Array:
    """Return half the second derivatives of the sum of squares, order (dx, dy, flux_ratio)."""
    slope = -ratio * n + ratio**2 * e / 2
    mixed_x, mixed_y = ratio * e[0, 1] - n[0, 1], ratio * e[1, 0] - n[1, 0]
    return np.array(
        [
            [slope[0, 2], slope[1, 1], mixed_x],
            [slope[1, 1], slope[2, 0], mixed_y],
            [mixed_x, mixed_y, e[0, 0]],
        ]
    )


def _minus_solved(matrix: Array, vector: Array) -> Array:
    try:
        return -np.linalg.solve(matrix, vector)
    except np.linalg.LinAlgError:
        return np.full_like(vector, np.nan)


def _best_whole_shift(cross: Array, energy: Array) -> tuple[float, float] | None:
    """Return the best shift on the grid of whole pixels, refined by a parabola (or None)."""
    limit = cross.shape[0] // 2
    floor = np.finfo(float).eps * energy.max()
    gain = np.where(energy > floor, cross * abs(cross) / np.maximum(energy, floor or 1.0), 0.0)
    j, i = np.unravel_index(np.argmax(gain), gain.shape)
    if not gain[j, i] > 0:
        return None
    dx, dy = float(i - limit), float(j - limit)
    if 0 < i < 2 * limit:
        dx += _vertex(*gain[j, i - 1 : i + 2])
    if 0 < j < 2 * limit:
        dy += _vertex(*gain[j - 1 : j + 2, i])
    return dx, dy


def _vertex(left: float, middle: float, right: float) -> float:
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0


def _climb(
    cross: TrigPolynomial, energy: CellInterpolant, start: tuple[float, float]
) -> _Peak:
    """Climb to the maximum of N^2/D by Newton's method, halving steps that lead down."""
    here = np.array(start)
    n, e = cross.at(*here), energy.at(*here)
    for n_iter in range(1, _MAX_ITERATIONS + 1):
        value, gradient, hessian = _gain(n, e)
        step = _newton_step(gradient, hessian)
        if np.abs(step).max() < _TOLERANCE:
            here = here + step
            return _Peak(float(here[0]), float(here[1]), n, e, n_iter, True)
        for _ in range(30):
            n, e = cross.at(*(here + step)), energy.at(*(here + step))
            # rounding of the sums must not hold up the last digits
            if e[0, 0] > 0 and n[0, 0] ** 2 / e[0, 0] >= value * (1 - 1e-12):
                break
            step = step / 2
        here = here + step
    return _Peak(float(here[0]), float(here[1]), n, e, _MAX_ITERATIONS, False)


def _gain(n: Array, e: Array) -> tuple[float, Array, Array]:
    """Return N^2/D with its gradient (2,) and second derivatives (2, 2), order (dx, dy)."""
    ratio = n[0, 0] / e[0, 0]
    dn, de = np.array([n[0, 1], n[1, 0]]), np.array([e[0, 1], e[1, 0]])
    ddn = np.array([[n[0, 2], n[1, 1]], [n[1, 1], n[2, 0]]])
    dde = np.array([[e[0, 2], e[1, 1]], [e[1, 1], e[2, 0]]])
    slope = dn - ratio * de
    gradient = 2 * ratio * dn - ratio**2 * de
    hessian = 2 * ratio * ddn - ratio**2 * dde + 2 * np.outer(slope, slope) / e[0, 0]
    return float(ratio * n[0, 0]), gradient, hessian


def _newton_step(gradient: Array, hessian: Array) -> Array:
    values, vectors = np.linalg.eigh(-hessian)
    # uphill also where the surface is not yet curved like a peak
    curvature = np.maximum(np.abs(values), 1e-12 * np.abs(values).max() + np.finfo(float).tiny)
    step: Array = vectors @ ((vectors.T @ gradient) / curvature)
    return step / max(1.0, np.abs(step).max() / _LONGEST_STEP)


def _reduced(chi2: float, expected: float, n_pixels: int) -> float:
    """Chi-square over its expectation, corrected for the three parameters."""
    if n_pixels <= 3 or not expected > 0:
        return float("nan")
    return chi2 / expected * n_pixels / (n_pixels - 3)


def _result(
    parameters: Array,
    covariance: Array,
    bias: Array,
    chi2: float,
    n_pixels: int,
    n_iter: int,
    status: FitStatus,
) -> ShiftFit:
    dx, dy, ratio = map(float, parameters)
    # "not >" so that a covariance of NaN is no signal either
    if not ratio > _SIGNIFICANCE * np.sqrt(max(covariance[2, 2], 0.0)):
        status = FitStatus.NO_SIGNAL
    return ShiftFit(dx, dy, ratio, covariance, bias, float(chi2), n_pixels, n_iter, status)


def _nothing(n_pixels: int) -> ShiftFit:
    nan = float("nan")
    covariance, bias = np.full((3, 3), nan), np.full(3, nan)
    return ShiftFit(nan, nan, nan, covariance, bias, nan, n_pixels, 0, FitStatus.NO_SIGNAL)


def _checked(image: ArrayLike, weight: ArrayLike, name: str | None) -> tuple[Array, Array]:
    """Return image and squared weight in float64 after checking both."""
    image = np.asarray(image, dtype=np.float64)
    weight = np.asarray(weight, dtype=np.float64)
    if image.ndim != 2 or image.shape != weight.shape:
        raise InputError(
            name, f"an image of shape {image.shape} with a weight of shape {weight.shape}", "equal 2-D"
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise InputError(name, "a weight that is negative or not finite", "weights from 0 to 1")
    if not weight.any():
        raise InputError(name, "the weight is zero everywhere", "some pixels with weight")
    return image, weight**2


def _checked_variance(
    variance: ArrayLike | None, image: Array, name: str | None
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the variance (1 if not given), unknown values replaced, and where it is known."""
    if variance is None:
        return np.ones_like(image), np.ones(image.shape, dtype=bool)
    variance = np.asarray(variance, dtype=np.float64)
    if variance.shape != image.shape:
        raise InputError(name, f"a variance of shape {variance.shape}", f"{image.shape}")
    known = np.isfinite(variance) & (variance > 0)
    if known.all():
        return variance, known
    if not known.any():
        raise InputError(name, "no variance is finite and positive", "some that are")
    return np.where(known, variance, np.median(variance[known])), known
