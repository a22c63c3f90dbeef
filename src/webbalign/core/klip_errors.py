"""Errors of images whose starlight was subtracted by :mod:`webbalign.core.klip`.

Of the squared error of a pixel j in integration i one part is independent between
integrations, the other is the same in all integrations of an exposure and does not average
down::

    ERR_ij^2 = independent_ij + common_j
    variance of the mean over n integrations = mean_i(independent_ij) / n + common_j

With P the projection on the constant and the modes (rows D of length npix, K + 1 of
them, orthonormal), an image of independent pixel variances v becomes one of variances ::

    F(v)_j = diag((1 - P) diag(v) (1 - P)^T)_j = v_j (1 - 2 h_j) + q_j(v),
    h_j = d_j^T d_j,    q_j(v) = d_j^T M d_j,    M = D diag(v) D^T

independent_ij = F(v_i)_j + changing_j
    v_i is the variance of integration i. q is computed for the mean v of the exposure and
    scaled by ``sum_j v_ij h_j / sum_j mean_j h_j``: exact when the variances of the integrations
    are proportional to each other.
common_j = F(sum_k a_k^2 w_k)_j + standing_j
    w_k is the variance of reference k and a_k the coefficient with which it enters the model
    (mean over integrations): to first order in the noise e_k of the references the residual
    changes by -(1 - P) sum_k a_k e_k.

``standing`` and ``changing`` are starlight that the modes do not reproduce. Two maps say where:

left out, L_j
    Each group of references (those of one exposure or dither position, which are nearly
    copies) is projected on the modes of all other groups, at the same `truncate`, so that
    nothing collapses when all modes are kept. The residuals of the references, scaled to
    the flux of the target, are squared and averaged; their noise is subtracted.
pinned, I_j
    The intensity of the starlight itself. A drift of the wavefront that no reference has seen
    changes the intensity by 2 Re(E* dE), a variance proportional to the intensity of the same
    pixel (Aime & Soummer 2004, ApJ 612, L85, doi:10.1086/424381).

How much, the target itself says. In rings about the star, x and y >= 0 are found such that
n_j + x L_j + y I_j is the variance of the residuals, n_j being what noise explains: for `standing`
from the mean over the integrations, for `changing` from their scatter about it (with one
integration all is in `standing`). The fit is one of maximum likelihood, made robust against
companions and discs, which are positive and local (:mod:`webbalign.core.rings`). x and y are
interpolated in radius. They describe the scatter about the level of a ring: what fills a ring
evenly, be it sky or starlight taken away twice, is no part of the errors. A source whose halo
outshines the residual starlight all around raises the errors.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from webbalign.core._kl_basis import KlBasis, check_shape, chunks, combined, leave_out_matrix
from webbalign.core._klip_noise import Images, TargetNoise
from webbalign.core._klip_sums import Sweep, sweep
from webbalign.core.errors import InputError
from webbalign.core.klip import Klip, Subtraction
from webbalign.core.mapped import columns_in
from webbalign.core.rings import Rings, fit_components, make_rings

__all__ = ["ErrorStatus", "SubtractionErrors", "subtraction_errors"]

Floats = NDArray[np.float64]

FAINTEST = 0.0
"""Percentile of the smoothed model that is taken for no starlight."""
SMOOTHING = 2.5
"""Sigma of the Gaussian, px, that steadies the two maps where they are noisy."""
MAP_FLOOR = 0.05
"""Least value of a map in units of the smoothed one: the nulls of speckles move."""


class ErrorStatus(enum.Enum):
    """How the errors were found."""

    OK = "ok"
    NOT_LEFT_OUT = "not_left_out"
    """All references are one group: only the pinned map was available."""
    STD_OF_REFERENCES = "std_of_references"
    """As asked for by ``err_method="std_of_refs"``."""


@dataclass(frozen=True)
class SubtractionErrors:
    """Variances of the residuals of one exposure, in the squared unit of the images.

    Attributes
    ----------
    common : ndarray, shape (ny, nx)
        The part common to all integrations of the exposure. ERR^2 = independent + common.
    references : ndarray, shape (ny, nx)
        Of `common`, the noise of the references.
    standing, changing : ndarray, shape (ny, nx)
        Starlight that the modes do not reproduce: the same in all integrations (part of
        `common`), different in each (part of `independent`).
    radii : ndarray, shape (nrings,)
        Mean radius of the rings, px.
    standing_scales, changing_scales : ndarray, shape (2, nrings)
        Factors of the left-out map and of the pinned map in each ring.
    status : ErrorStatus
    nints : int
    noise : TargetNoise or None
        What :meth:`independent_of` is computed from.
    """

    common: Floats
    references: Floats
    standing: Floats
    changing: Floats
    radii: Floats
    standing_scales: Floats
    changing_scales: Floats
    status: ErrorStatus
    nints: int
    noise: TargetNoise | None = field(default=None, repr=False)

    def independent_of(self, index: int) -> Floats:
        """Return the part (ny, nx) of integration `index` that is independent of the others.

        NaN where the residual or the variance of the target is. It is computed from both: they must
        be what they were.
        """
        if self.noise is None:
            return np.zeros(self.common.shape)
        return self.noise.filtered(index).reshape(self.common.shape) + self.changing

    @cached_property
    def independent(self) -> Floats:
        """The independent parts of all integrations, shape (nints, ny, nx)."""
        return np.stack([self.independent_of(index) for index in range(self.nints)])


def subtraction_errors(
    basis: KlBasis,
    subtraction: Subtraction,
    variances: Images,
    reference_variances: NDArray[Any] | None = None,
    *,
    klip: Klip | None = None,
    groups: NDArray[Any] | None = None,
    centre: tuple[float, float] | None = None,
) -> SubtractionErrors:
    """Find the variances of the residuals of one exposure.

    When every integration has its own references, give the basis of the first: references that
    differ by a fraction of a pixel have nearly the same leverage and left-out residuals.

    Parameters
    ----------
    basis : KlBasis
        From :func:`webbalign.core.klip.fit_basis`.
    subtraction : Subtraction
        All integrations of the exposure (:func:`webbalign.core.klip.stack_subtractions`). Of the
        model only the mean over the first axis is used, so that (1, ny, nx) is enough.
    variances : ndarray, shape (nints, ny, nx)
        Variances of the targets, before subtraction; or what makes one image of them after the
        other. Each is asked for three times.
    reference_variances : ndarray, shape (nrefs, ny, nx), optional
        Variances of the references as aligned; without them their noise counts as 0.
        Values that are not finite are replaced by the mean of the other references.
    klip : Klip, optional
        The options with which the basis was made.
    groups : ndarray of int, shape (nrefs,), optional
        References of one exposure or dither position have the same number. Default: each is
        a group of its own, which is right only if no two are near copies.
    centre : (float, float), optional
        Position (x, y) of the star, 0-based px. Default: the middle of the image.

    Returns
    -------
    SubtractionErrors

    Raises
    ------
    InputError
        If the shapes do not agree, or if no residual has a variance.
    """
    klip = Klip() if klip is None else klip
    nrefs, shape = len(basis.references), basis.shape
    if tuple(variances.shape) != subtraction.residual.shape:
        found, expected = tuple(variances.shape), subtraction.residual.shape
        raise InputError(None, f"variances of shape {found}", f"shape {expected}")
    if klip.err_method == "std_of_refs":
        return _std_of_references(basis, subtraction)
    if reference_variances is not None:
        check_shape("variances of the references", reference_variances, (nrefs, *shape))
        reference_variances = np.asarray(reference_variances).reshape(nrefs, -1)
    groups = np.arange(nrefs) if groups is None else np.asarray(groups)
    check_shape("groups of references", groups, (nrefs,))
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2) if centre is None else centre

    noise = TargetNoise(subtraction.residual, variances)
    # an integration without data has no coefficients; there is one with data, as `used` tells
    seen = subtraction.n_used > 0
    coefficients = subtraction.coefficients[seen].mean(axis=0)
    ratios = subtraction.flux_ratios[seen].mean(axis=0)
    left_out = leave_out_matrix(basis.gram, groups, klip.truncate) * ratios[:, None]
    swept = sweep(basis, noise.mean_variance, reference_variances, coefficients, left_out)
    noise.filter(swept)

    n_groups = len(np.unique(groups))
    starlight = subtraction.model.mean(axis=0)
    if not basis.n_modes:
        starlight = combined((ratios / nrefs)[None], basis.references).reshape(shape)
    maps = np.stack(
        [
            _left_out_map(swept, shape, n_groups),
            _pinned_map(
                # with references of their own, integrations may lack different pixels
                np.where(basis.good & np.isfinite(starlight), starlight, 0.0),
                swept.reference_noise.reshape(shape),
                basis.good,
            ),
        ]
    ).reshape(2, -1)
    status = ErrorStatus.OK if n_groups > 1 else ErrorStatus.NOT_LEFT_OUT
    return _with_starlight(basis, len(subtraction.residual), noise, maps, swept, centre, status)


def _with_starlight(
    basis: KlBasis,
    nints: int,
    targets: TargetNoise,
    maps: Floats,
    swept: Sweep,
    centre: tuple[float, float],
    status: ErrorStatus,
) -> SubtractionErrors:
    """Add the unmodelled starlight to the propagated noise."""
    shape = basis.shape
    total, mean, noise = targets.total, targets.mean_residual, targets.mean_filtered
    rings = make_rings(shape, centre, targets.count > 0)

    changing_scales = np.zeros((len(maps), len(rings.radii)))
    if nints > 1:
        # a pixel with one good integration says nothing: it enters as what noise predicts
        freedom = np.maximum(total - 1, 1)
        squares = np.where(total > 1, targets.squares / freedom, noise)
        changing_scales = fit_components(squares, noise, maps, rings, freedom)
    changing = _combine(maps, changing_scales, rings)

    explained = (noise + changing) / total + swept.references
    standing_scales = fit_components(mean, explained, maps, rings)
    standing = _combine(maps, standing_scales, rings)

    outside = ~basis.good.ravel()
    common = swept.references + standing
    common[outside] = np.nan
    return SubtractionErrors(
        common.reshape(shape),
        swept.references.reshape(shape),
        standing.reshape(shape),
        changing.reshape(shape),
        rings.radii,
        standing_scales,
        changing_scales,
        status,
        nints,
        targets,
    )


def _combine(maps: Floats, scales: Floats, rings: Rings) -> Floats:
    return sum(rings.interpolate(scale) * part for scale, part in zip(scales, maps, strict=True))


def _left_out_map(swept: Sweep, shape: tuple[int, int], n_groups: int) -> Floats:
    """Mean square of left-out residuals without noise, smoothed where it is uncertain.

    A mean square over n groups is known to a variance of 2 / n of its square.
    """
    if n_groups < 2:
        return np.zeros(shape)
    square = swept.left_out.reshape(shape)
    signal = square - swept.left_out_noise.reshape(shape)
    return _steady(signal, 2.0 / n_groups * gaussian_filter(square, SMOOTHING) ** 2)


def _pinned_map(model: Floats, noise: Floats, good: NDArray[np.bool_]) -> Floats:
    """Intensity of the starlight above its faintest parts, smoothed where noise governs it."""
    floor = np.percentile(gaussian_filter(model, SMOOTHING)[good], FAINTEST)
    return _steady(np.where(good, model - floor, 0.0), noise)


def _steady(values: Floats, variance: Floats) -> Floats:
    """Blend an image with its smoothed self according to signal and noise; not negative."""
    smooth = np.maximum(gaussian_filter(values, SMOOTHING), 0.0)
    square = smooth**2
    total = square + variance
    weight = np.divide(square, total, out=np.zeros_like(square), where=total > 0)
    return np.maximum(weight * values + (1.0 - weight) * smooth, MAP_FLOOR * smooth)


def _std_of_references(basis: KlBasis, subtraction: Subtraction) -> SubtractionErrors:
    """Scatter of the references' own residuals, the same for all integrations."""
    n, npix = basis.references.shape
    residual_of = np.eye(n) - basis.gram @ basis.weights.T @ basis.weights
    variance = np.empty(npix)
    for part in chunks(npix):
        variance[part] = np.var(residual_of @ columns_in(basis.references, part), axis=0)
    common = variance.reshape(basis.shape)
    none = np.zeros_like(common)
    nothing = np.zeros((2, 0))
    return SubtractionErrors(
        common,
        none,
        none,
        none,
        np.zeros(0),
        nothing,
        nothing,
        ErrorStatus.STD_OF_REFERENCES,
        len(subtraction.residual),
    )
