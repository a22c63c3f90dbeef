"""Errors that all pairs of an image have in common: of its noise, and of its place as a whole.

The noise of an image displaces it against all others alike, and so does a misplaced dither. Neither
shows where pairs close, and neither averages down with the number of pairs. Of what a jackknife
over blocks of the images gives, the closures show the part that is of the pairs, each for itself;
the rest is the images' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from webbalign.core._pair_types import ImagePair
from webbalign.core.network import GroupFrame
from webbalign.core.planes import TangentPlane

__all__ = ["independent_part", "own_errors", "relative_errors"]

Array = NDArray[np.float64]


def independent_part(chi2: float, freedom: int) -> float:
    """Return the part (0 to 1) of the variance of pairs that their misclosures show.

    Parameters
    ----------
    chi2 : float
        Reduced chi-square of the pairs with their stated errors.
    freedom : int

    Notes
    -----
    As if one more misclosure had been seen that is what independent pairs have: few say little.
    """
    if freedom <= 0:
        return 1.0
    return min((chi2 * freedom + 1.0) / (freedom + 1.0), 1.0)


def own_errors(
    frames: Sequence[GroupFrame],
    pairs: Sequence[ImagePair],
    plane: TangentPlane,
    *,
    independent: float,
) -> dict[str, Array]:
    """Return what each group's error has beyond what the closures of its pairs show.

    Parameters
    ----------
    frames : sequence of GroupFrame
    pairs : sequence of ImagePair
        That are used.
    plane : TangentPlane
        Of the pairs.
    independent : float
        Part of the variance of the pairs that is not their images', from `independent_part`; 1
        without closures.

    Returns
    -------
    dict
        By name: covariance (3, 3) of shift (arcsec) at the middle of the group, and rotation.
    """
    shares = _shares([frame.name for frame in frames], pairs)
    found = {}
    for frame in frames:
        middle = _middle(frame, plane)
        total, own = np.zeros((3, 3)), 0
        for pair in pairs:
            if frame.name not in (pair.first, pair.second):
                continue
            cov = np.zeros((3, 3))
            cov[:2, :2] = pair.shift_cov
            cov[2, 2] = pair.rotation_error**2 if np.isfinite(pair.rotation_error) else 0.0
            whole = shares[pair.first] + shares[pair.second]
            part = shares[frame.name] / whole if whole > 0 else 0.5
            noise = pair.image_part * part * (1.0 - independent) * cov
            second = frame.name == pair.second
            point = pair.point + pair.shift if second else pair.point
            total += _moved(noise + pair.place_covs[int(second)], middle - point)
            own += 1
        found[frame.name] = total / max(own, 1)
    return found


def relative_errors(
    frame: GroupFrame,
    reference: GroupFrame,
    own: Mapping[str, Array],
    plane: TangentPlane,
    group_error: float,
) -> Array:
    """Return what is to be added to the covariance (6, 6) of a correction.

    Parameters
    ----------
    frame, reference : GroupFrame
    own : mapping
        From `own_errors`.
    plane : TangentPlane
    group_error : float
        One-axis error, arcsec, of the middle of each group and again of its edge about it.
    """
    step = _middle(frame, plane) - _middle(reference, plane)
    cov = own[frame.name] + _moved(own[reference.name], step)
    cov = cov + 2.0 * group_error**2 * np.diag([1.0, 1.0, frame.radius**-2])
    x, y = frame.centre
    slopes = np.zeros((6, 3))
    slopes[4, 0] = slopes[5, 1] = 1.0
    slopes[:, 2] = [0.0, -1.0, 1.0, 0.0, y, -x]
    if frame.geometry == "shift":
        slopes[:, 2] = 0.0
    return np.asarray(slopes @ cov @ slopes.T)


def _middle(frame: GroupFrame, plane: TangentPlane) -> Array:
    return np.asarray(frame.plane.map_to(plane, frame.centre)[0][0])


def _moved(cov: Array, step: Array) -> Array:
    """Covariance of shift and rotation at another point."""
    x, y = step
    there = np.array([[1.0, 0.0, -y], [0.0, 1.0, x], [0.0, 0.0, 1.0]])
    return np.asarray(there @ cov @ there.T)


def _shares(names: Sequence[str], pairs: Sequence[ImagePair]) -> dict[str, float]:
    """Variance of each image, so that the sums are those of the pairs."""
    if not pairs:
        return dict.fromkeys(names, 0.0)
    variance = np.array([np.trace(pair.shift_cov) / 2 for pair in pairs])
    index = {name: k for k, name in enumerate(names)}
    rows = np.zeros((len(pairs), len(names)))
    for k, pair in enumerate(pairs):
        rows[k, [index[pair.first], index[pair.second]]] = 1.0
    # relative errors of the variances count; two images alone have equal shares
    rows, typical = rows / variance[:, None], 1.0 / np.median(variance)
    little = 0.1 * typical * np.eye(len(names))
    left = np.concatenate([np.ones(len(pairs)), np.full(len(names), 0.05)])
    return dict(zip(names, nnls(np.concatenate([rows, little]), left)[0].tolist(), strict=True))
