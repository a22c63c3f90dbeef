"""What the noise of the pixels allows: the Cramer-Rao bound of corrections found from stars."""

from __future__ import annotations

from benchmarks import tweakreg_truth as truth  # isort: skip  (sets the number of threads)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

AB_ZERO = 3631e-6  # MJy
STAMP = 8  # px, half the side of the pixels that tell of a star
STEP = 0.02  # px, of the derivatives
DETECTED = 5.0  # signal to noise of stars that may be used
SHARED = 2  # exposures at least in which a star must be
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """The stars of one exposure: numbers, places (n, 2; arcsec), variance of one axis, arcsec^2."""

    star: NDArray[np.int64]
    at: Array
    variance: Array


def noise_limit(made: truth.MosaicSet, band: str) -> tuple[float, float]:
    """Return the least rms errors, mas, that one correction per exposure can have.

    Parameters
    ----------
    made : MosaicSet
    band : str

    Returns
    -------
    own_roll, common_roll : float
        Without and with the knowledge that the exposures of a visit have one roll; of the grid of
        pixels of all images, after one shift and one rotation of the whole field. The PSF is
        known, and nothing else: places of stars, their fluxes and the sky are fitted.
    """
    from webbalign.core.planes import TangentPlane, sky_to_vectors

    paths = made.files[band]
    shapes = [_errors(path).shape for path in paths]
    grids = [
        truth.true_sky(made.truth_of(path), shape)
        for path, shape in zip(paths, shapes, strict=True)
    ]
    plane = TangentPlane.around(sky_to_vectors(np.concatenate(grids)))
    seen = [_seen(made, path, band, plane) for path in paths]
    at = [plane.from_sky(grid) for grid in grids]
    visits = sorted({path.name.split("_")[0] for path in paths})
    roll = [visits.index(path.name.split("_")[0]) for path in paths]
    return _least(seen, at, list(range(len(paths)))), _least(seen, at, roll)


def _least(seen: Sequence[Seen], at: Sequence[Array], rolls: Sequence[int]) -> float:
    """Rms error, mas, over places of the exposures; `rolls` numbers the roll of each."""
    covariance = np.linalg.pinv(_normal(seen, rolls), rcond=1e-11, hermitian=True)
    rows = np.concatenate([_rows(xy, k, rolls) for k, xy in enumerate(at)])
    whole = np.concatenate([_rows(xy, 0, [0]) for xy in at])
    rows -= whole @ np.linalg.lstsq(whole, rows, rcond=None)[0]
    variance = np.einsum("ij,jk,ik->", rows, covariance, rows)
    return 1e3 * float(np.sqrt(2.0 * variance / len(rows)))


def _rows(xy: Array, k: int, rolls: Sequence[int]) -> Array:
    """Derivatives (2 n, unknowns) of places in exposure k by shifts and rolls (per 60 arcsec)."""
    count = len(rolls)
    rows = np.zeros((len(xy), 2, 2 * count + max(rolls) + 1))
    rows[:, 0, 2 * k] = rows[:, 1, 2 * k + 1] = 1.0
    around = np.stack([-xy[:, 1], xy[:, 0]], axis=-1) / 60.0
    rows[:, :, 2 * count + rolls[k]] = around
    return rows.reshape(2 * len(xy), -1)


def _normal(seen: Sequence[Seen], rolls: Sequence[int]) -> Array:
    """Normal matrix of shifts and rolls, the places of the stars eliminated."""
    size = 2 * len(rolls) + max(rolls) + 1
    normal = np.zeros((size, size))
    stars, counts = np.unique(np.concatenate([one.star for one in seen]), return_counts=True)
    for star in stars[counts >= SHARED]:
        parts, weights = [], []
        for k, one in enumerate(seen):
            for row in np.flatnonzero(one.star == star):
                parts.append(_rows(one.at[row : row + 1], k, rolls))
                weights.append(1.0 / one.variance[row])
        blocks, weight = np.array(parts), np.array(weights)
        mean = np.tensordot(weight, blocks, 1) / weight.sum()
        apart = blocks - mean
        normal += np.einsum("k,kai,kaj->ij", weight, apart, apart)
    return normal


def _errors(path: Path) -> Array:
    """Standard deviations (ny, nx) of the pixels; infinite where they are not to be used."""
    from astropy.io import fits

    with fits.open(path) as file:
        error = file["ERR"].data.astype(np.float64)
        bad = (file["DQ"].data & 1) > 0
    return np.where(bad | ~(error > 0), np.inf, error)


def _seen(made: truth.MosaicSet, path: Path, band: str, plane: Any) -> Seen:
    """Find the bounds of the places of all stars of an exposure that can be detected."""
    from astropy.io import fits

    from webbalign.simulate.cameras import BANDS
    from webbalign.simulate.mosaic_psfs import pixel_response
    from webbalign.simulate.mosaic_truth import read_frame_truth

    stars = read_frame_truth(made.truth_of(path))
    area = fits.getheader(path, "SCI")["PIXAR_SR"]
    error, response = _errors(path), pixel_response(BANDS[band])
    padded = np.pad(error, STAMP, constant_values=np.inf)
    found = []
    for x, y, magnitude in zip(stars.x, stars.y, stars.magnitude, strict=True):
        column, row = int(np.rint(x)), int(np.rint(y))
        weight = padded[row : row + 2 * STAMP + 1, column : column + 2 * STAMP + 1] ** -2.0
        flux = AB_ZERO / area * 10 ** (-0.4 * magnitude)
        found.append(_bound(response, x - column, y - row, flux, weight.ravel()))
    variance, snr = np.array(found).T
    keep = snr > DETECTED
    sky = np.stack(stars.wcs(stars.x, stars.y, with_bounding_box=False), axis=-1)[keep]
    scale = np.degrees(np.sqrt(area)) * 3600.0
    return Seen(stars.star[keep], plane.from_sky(sky), variance[keep] * scale**2)


def _bound(response: Any, dx: float, dy: float, flux: float, weight: Array) -> tuple[float, float]:
    """Variance of one axis (px^2), and signal to noise, of a star whose flux and sky are fitted."""

    def image(x: float, y: float) -> Array:
        stamp = response.stamp(x, y, STAMP).astype(np.float64)
        return np.asarray(stamp.ravel())

    # stamps reach to half a pixel from their middle
    dx, dy = np.clip([dx, dy], STEP - 0.5, 0.5 - STEP).tolist()
    along_x = (image(dx + STEP, dy) - image(dx - STEP, dy)) / (2 * STEP)
    along_y = (image(dx, dy + STEP) - image(dx, dy - STEP)) / (2 * STEP)
    shape = image(dx, dy)
    design = np.stack([along_x, along_y, shape, np.ones_like(shape)], axis=1)
    information = design.T @ (design * weight[:, None])
    if np.linalg.cond(information) > 1e12:  # too few good pixels
        return np.inf, 0.0
    covariance = np.linalg.inv(information)
    place = float(np.trace(covariance[:2, :2]) / 2) / flux**2
    return place, float(flux / np.sqrt(covariance[2, 2]))
