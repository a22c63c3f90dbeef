"""Position and flux of a companion in an i2d, as a careful observer measures them.

A forward model of the companion (its image through the coronagraph, less what the projection on
the modes took of it, drizzled like the data) is fitted together with a level, with noise that is
correlated as speckles are: Wang et al. 2016, AJ 152, 97 (doi:10.3847/0004-6256/152/4/97), on the
forward model of Pueyo 2016, ApJ 824, 117 (doi:10.3847/0004-637X/824/2/117).
"""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import least_squares, minimize

from benchmarks import truth
from benchmarks.shift_theory import shifted

RADIUS = 6.0  # px about the peak within which is fitted
HALF = 24  # px, half the side of the cut-out that is shifted
DO_NOT_USE, NON_SCIENCE = 1, 512
LENGTHS = (0.3, 12.0)  # px, limits of the speckles' length
NODES = (-1.0, 0.0, 1.0)  # px from the start, where the model is made, in x and in y


class ForwardModel:
    """The image in the i2d of a companion anywhere on the sky, by the known optics.

    The static wavefront is the telescope's, as if from a star measured beside the mask; its drift
    and the jitter of the observation are unknown. The modes are those of the first integration.
    """

    def __init__(self, made: common.Sequence_, output: Path, truncate: int) -> None:
        from webbalign.products import models
        from webbalign.simulate.instruments import instrument_for
        from webbalign.simulate.optics import optics_for
        from webbalign.simulate.propagation import Propagator

        options = made.truth["options"]
        self._made, self._output = made, output
        instrument = instrument_for(options["instrument"], None)
        optics = optics_for(instrument, options["wavelengths"])
        self._no_drift = np.zeros(len(optics.modes))
        self._propagator = Propagator(instrument, optics)
        # Jy in a pixel -> MJy/sr
        brightness = 1e-6 / (instrument.pixel_area * np.deg2rad(1 / 3600) ** 2)
        self._flux = made.truth["companion"]["flux_jy"] * brightness
        self._wcs = [
            models.open_cube(truth.subtracted(output, exposure)).meta.wcs
            for exposure in made.science
        ]
        self._modes = [self._modes_of(exposure, truncate) for exposure in made.science]

    def _modes_of(self, exposure: dict, truncate: int):
        """Return the KLIP basis of an exposure and the good pixels of its target."""
        from webbalign.core.klip import Klip, fit_basis
        from webbalign.products.streams import open_aligned

        root = exposure["file"].removesuffix("_calints.fits")
        aligned = open_aligned(str(common.product(self._output, "psfalign", root)))
        part = aligned.part(0) if len(aligned.shape) == 4 else aligned
        with fits.open(common.product(self._output, "crfints", root)) as hdus:
            good = hdus["DQ"].data & (DO_NOT_USE | NON_SCIENCE) == 0
        with fits.open(truth.subtracted(self._output, exposure)) as hdus:
            good &= np.isfinite(hdus["SCI"].data)
        bad = part.dq & np.uint32(DO_NOT_USE) != 0
        klip = Klip(truncate=truncate)
        return fit_basis(part.data, klip=klip, good=good.any(axis=0), bad=bad), good[0]

    def on_sky(self, ra: float, dec: float) -> np.ndarray:
        """Return the companion drizzled as it is, MJy/sr."""
        return self._drizzle(self._images(ra, dec))

    def subtracted(self, images: list[np.ndarray]) -> np.ndarray:
        """Return images of the exposures less what KLIP takes of them, drizzled."""
        from webbalign.core.klip import subtract

        left = [
            subtract(basis, image, good=good).residual[0]
            for image, (basis, good) in zip(images, self._modes, strict=True)
        ]
        return self._drizzle([np.nan_to_num(image) for image in left])

    def less_klip(self, ra: float, dec: float) -> np.ndarray:
        """Return the companion less what KLIP takes of it, drizzled, MJy/sr."""
        return self.subtracted(self._images(ra, dec))

    def _images(self, ra: float, dec: float) -> list[np.ndarray]:
        images = []
        for wcs in self._wcs:
            x, y = wcs.invert(ra, dec, with_bounding_box=False)
            image = self._propagator.image(float(x), float(y), self._no_drift)
            images.append(self._flux * (image - image.mean()))
        return images

    def _drizzle(self, images: list[np.ndarray]) -> np.ndarray:
        return truth.drizzled_images(self._made, self._output, images)


@dataclass(frozen=True)
class Found:
    """A companion found in an i2d.

    Attributes
    ----------
    xy, errors : ndarray (2,)
        0-based px of the i2d.
    ratio, ratio_error : float
        Flux over that of the model.
    length : float
        Of the speckles, px.
    start : tuple of int
        The peak (x, y) from which it was found.
    """

    xy: np.ndarray
    errors: np.ndarray
    ratio: float
    ratio_error: float
    length: float
    start: tuple[int, int]


def measure(image, error, model: ForwardModel, start, wcs) -> Found:
    """Find the companion: model it around the peak, and fit; once more about what was found."""
    place = np.array(start, float)
    for _ in range(2):
        fit = CorrelatedFit(image, error, Shapes(model, place, start, wcs), start)
        if np.abs(fit.move).max() <= NODES[-1]:
            break
        place = place + fit.move
    return Found(
        place + fit.move, fit.errors[:2], fit.ratio, fit.errors[2], fit.length, tuple(start)
    )


class Shapes:
    """The companion as a function of its place.

    Its shape changes slowly with the place (by a boundary of a phase mask not so slowly): it is
    made at 3 x 3 places and interpolated between them by parabolas, and then moved.
    """

    def __init__(self, model: ForwardModel, place, start, wcs) -> None:
        self._images = []
        for y in NODES:
            for x in NODES:
                ra, dec = map(float, wcs.all_pix2world(place[0] + x, place[1] + y, 0))
                image = np.nan_to_num(model.less_klip(ra, dec)[cutout(start)])
                self._images.append(shifted(image, -x, -y))

    def at(self, move):
        """Return the cut-out with the companion moved by (dx, dy) px from the middle place."""
        along = [(d * (d - 1) / 2, 1 - d**2, d * (d + 1) / 2) for d in move]
        image = np.tensordot(np.outer(along[1], along[0]).ravel(), self._images, 1)
        return shifted(image, *move)


class CorrelatedFit:
    """A fit with noise of ERR's shape, partly white, partly correlated (Matern 3/2).

    How much of each, and over what length, is found with the position by maximum likelihood; flux
    and level are eliminated.

    Parameters
    ----------
    image, error : ndarray (ny, nx)
        The i2d.
    shapes : Shapes
    start : (int, int)
        Centre (x, y) of the pixels that count.
    """

    def __init__(self, image, error, shapes: Shapes, start) -> None:
        box, used = around(image, error, start, RADIUS)
        self._shapes, self._used = shapes, used
        self._sigma = error[box][used]
        self._values = image[box][used] / self._sigma
        y, x = np.nonzero(used)
        self._distance = np.hypot(x[:, None] - x, y[:, None] - y)
        best = np.array([0.0, 0.0, np.log(2.0), 0.0, np.log(0.5)])
        for _ in range(2):
            simplex = np.vstack([best, best + 0.3 * np.eye(5)])
            how = {"xatol": 1e-3, "fatol": 1e-4, "maxiter": 2000, "initial_simplex": simplex}
            best = minimize(self._cost, best, method="Nelder-Mead", options=how).x
        _, (ratio, level), rows, factor = self._solve(best)
        step = 1e-3
        slopes = [
            ratio * (self._template(best[:2] + move) - self._template(best[:2] - move)) / (2 * step)
            for move in step * np.eye(2)
        ]
        jacobian = np.stack([*slopes, *rows.T], axis=1)
        covariance = np.linalg.inv(jacobian.T @ cho_solve(factor, jacobian))
        self.move = best[:2]
        self.ratio, self.level, self.length = float(ratio), float(level), float(np.exp(best[2]))
        self.errors = np.sqrt(np.diag(covariance))[:3]

    def _template(self, move) -> np.ndarray:
        return self._shapes.at(move)[self._used] / self._sigma

    def _solve(self, p):
        """Return -log likelihood, (flux, level), their columns, the factored covariance."""
        rows = np.stack([self._template(p[:2]), 1.0 / self._sigma], axis=1)
        scaled = np.sqrt(3) * self._distance / np.exp(p[2])
        covariance = np.exp(2 * p[3]) * (1 + scaled) * np.exp(-scaled)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * p[4])
        factor = cho_factor(covariance, lower=True)
        solved = cho_solve(factor, rows)
        flux_level = np.linalg.solve(rows.T @ solved, solved.T @ self._values)
        left = self._values - rows @ flux_level
        cost = 0.5 * left @ cho_solve(factor, left) + np.log(np.diag(factor[0])).sum()
        return cost, flux_level, rows, factor

    def _cost(self, p) -> float:
        inside = LENGTHS[0] < np.exp(p[2]) < LENGTHS[1] and abs(p[3]) < 4 and -5 < p[4] < 2
        # beyond the places where it was made the model is a guess
        inside = inside and np.abs(p[:2]).max() < 2 * NODES[-1]
        return self._solve(p)[0] if inside else 1e9


def around(image, error, start, radius):
    """Return the cut-out about a pixel (two slices), and which of its pixels are used."""
    iy, ix = np.indices(image.shape)
    near = np.hypot(ix - start[0], iy - start[1]) <= radius
    near &= np.isfinite(image) & np.isfinite(error)
    box = cutout(start)
    return box, near[box]


def cutout(start):
    """Return the slices of the cut-out about a pixel (x, y)."""
    return tuple(slice(at - HALF, at + HALF + 1) for at in (start[1], start[0]))


def fit_plain(image, error, template, start, radius=RADIUS):
    """Fit a template with a free position, flux and level by least squares weighted with ERR.

    Returns
    -------
    Offset (dx, dy) from the template's place in px and flux over the template's; standard errors.
    """
    box, used = around(image, error, start, radius)
    psf, values, sigma = np.nan_to_num(template)[box], image[box], error[box]

    def residual(p):
        model = p[2] * shifted(psf, p[0], p[1]) + p[3]
        return ((model - values) / sigma)[used]

    fit = least_squares(residual, [0.0, 0.0, 1.0, 0.0], x_scale=[0.1, 0.1, 1, 1])
    covariance = np.linalg.inv(fit.jac.T @ fit.jac) * max(1.0, 2 * fit.cost / (used.sum() - 4))
    return fit.x[:3], np.sqrt(np.diag(covariance))[:3]
