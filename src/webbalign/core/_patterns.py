"""Patterns in time that the pixels of a stack share, found and removed against cosmic rays.

Each pixel's values are a constant plus a combination of a few patterns (n,), the same for all
pixels; the coefficients are free. A hit must pull neither: patterns are found with hits limited in
size, and a pixel with a hit is fitted again without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from webbalign.core._place import Place
from webbalign.core.stack_median import robust_variance

__all__ = ["CLIP", "EXCESS", "clip", "remove_patterns"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# residuals beyond this many sigma count as this many
CLIP = 3.0
# scatter in time, relative to the variance of the noise, from which on something is going on
EXCESS = 1.25
# patterns sought in each round, the share of the degrees of freedom that they may take, and the
# variance of a pattern relative to that of the noise
_PATTERNS = (2, 3, 3)
_SHARE = 0.25
_SIGNIFICANT = 1.3
# residuals beyond this many sigma are left out of the final fit, one a round and this many at most
_REJECT = 4.0
_MOST_REJECTED = 3


def remove_patterns(values: Floats, noise: Floats, place: Place) -> tuple[Floats, Floats]:
    """Find the patterns and remove them.

    Parameters
    ----------
    values : ndarray, shape (n, npix)
        Deviations from the median; NaN where there is no value.
    noise : ndarray, shape (npix,)
        Variance of the noise.
    place : Place
        Where the pixels are.

    Returns
    -------
    residuals : ndarray, shape (n, npix)
        Scaled to the variance of the noise.
    basis : ndarray, shape (n, 1 + number of patterns)
        The constant and the patterns, orthonormal.
    """
    n = len(values)
    room = int((n - 1) * _SHARE)
    basis = np.full((n, 1), n**-0.5)
    residuals = values
    scatter = robust_variance(values)
    disturbed = np.ones(values.shape[1], dtype=bool)
    for wanted in _PATTERNS:
        total = np.maximum(place.mean(scatter, 5), noise)
        # the last rounds look only where the first ones have left something
        disturbed &= total > EXCESS * noise if basis.shape[1] > 1 else True
        if room <= basis.shape[1] - 1 or np.count_nonzero(disturbed) < n:
            break
        sigma = np.sqrt(total[disturbed])
        level = float(np.mean(noise[disturbed] / total[disturbed]))
        scaled = clip(residuals[:, disturbed] / sigma, CLIP)
        most = min(wanted, room + 1 - basis.shape[1])
        found = _principal(scaled, _SIGNIFICANT * level)[:, :most]
        if not found.shape[1]:
            break
        basis = np.linalg.qr(np.hstack([basis, found]))[0]
        residuals, scatter = _fit(values, basis, noise, place)
    sigma = np.sqrt(np.maximum(place.mean(scatter, 3), noise))
    return _without_hits(values, residuals, basis, sigma), basis


def clip(values: Floats, limit: Floats | float) -> Floats:
    """Limit the size of values; what is not finite becomes 0, which is to say: as predicted."""
    return np.nan_to_num(np.clip(values, -limit, limit), copy=False, posinf=0.0, neginf=0.0)


def _principal(scaled: Floats, limit: float) -> Floats:
    """Return the principal components in time (n, k) whose variance exceeds `limit`."""
    centred = scaled - scaled.mean(axis=0)
    variances, vectors = np.linalg.eigh(centred @ centred.T / scaled.shape[1])
    return vectors[:, ::-1][:, variances[::-1] > limit]


def _fit(values: Floats, basis: Floats, noise: Floats, place: Place) -> tuple[Floats, Floats]:
    """Fit all pixels at once, large residuals limited; return residuals and their variance."""
    project = basis @ basis.T
    left = 1.0 - basis.shape[1] / len(values)
    sigma = np.sqrt(np.maximum(place.mean(robust_variance(values), 3), noise))
    fitted = project @ clip(values, CLIP * sigma)
    for _ in range(3):
        fitted = project @ (fitted + clip(values - fitted, CLIP * sigma))
        sigma = np.sqrt(np.maximum(robust_variance(values - fitted) / left, noise))
    return values - fitted, sigma**2


def _without_hits(values: Floats, residuals: Floats, basis: Floats, sigma: Floats) -> Floats:
    """Fit again, without them, the pixels with large residuals; return all scaled residuals.

    One value a round is left out, the one that is largest relative to the error with which the
    others predict it: so a hit in an integration that moved far is told from its effect on others.
    """
    leverage = np.sum(basis**2, axis=1)[:, None]
    scaled = residuals / np.sqrt(1.0 - leverage)
    large = ~(np.abs(scaled) <= _REJECT * sigma).all(axis=0)
    values, limit = values[:, large], _REJECT * sigma[large]
    kept = np.isfinite(values)
    again = _fit_kept(values, kept, basis)
    for _ in range(_MOST_REJECTED):
        size = np.where(kept, np.abs(again), 0.0)
        worst = size.argmax(axis=0)
        column = np.flatnonzero(size.max(axis=0) > limit)
        if not column.size:
            break
        kept[worst[column], column] = False
        again[:, column] = _fit_kept(values[:, column], kept[:, column], basis)
    scaled[:, large] = again
    return scaled


def _fit_kept(values: Floats, kept: Mask, basis: Floats) -> Floats:
    """Fit the kept values of each pixel; return all residuals, scaled to the noise's variance."""
    n, k = basis.shape
    products = (basis[:, :, None] * basis[:, None, :]).reshape(n, k * k)
    normal = (kept.T.astype(np.float64) @ products).reshape(-1, k, k)
    # a pattern that lives in a value left out cannot be told: its error becomes large, not infinite
    inverse = np.linalg.inv(normal + 1e-6 * np.eye(k))
    coefficients = inverse @ (np.where(kept, values, 0.0).T @ basis)[:, :, None]
    leverage = np.einsum("mi,ni->nm", inverse.reshape(-1, k * k), products)
    variance = np.where(kept, np.maximum(1.0 - leverage, 1e-3), 1.0 + leverage)
    return (values - basis @ coefficients[:, :, 0].T) / np.sqrt(variance)
