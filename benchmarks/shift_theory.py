"""Errors that theory expects of the fit of a shift, made without the package's own formulae."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import fourier_shift
from scipy.sparse.linalg import LinearOperator, cg

HOLE = 8.0  # px
RATIO = 1.3  # of the fluxes


@dataclass(frozen=True)
class Scene:
    """A noiseless star behind its coronagraph in electrons, its position, and its noise."""

    star: np.ndarray
    centre: tuple[float, float]
    sky: float
    read_noise: float

    def fainter(self, factor):
        """Return the same with less light from the star."""
        return dataclasses.replace(self, star=self.star / factor)

    def variance(self, image):
        """Photon and read noise, squared."""
        return np.maximum(image, 0.0) + self.sky + self.read_noise**2


def shifted(image, dx, dy):
    """Move an image by the plain periodic Fourier shift, by a library that is not ours."""
    return np.fft.ifft2(fourier_shift(np.fft.fft2(image), (dy, dx))).real


def star_scene(instrument: str) -> Scene:
    """Return the star of a simulated exposure, with the noise of its detector."""
    from webbalign.simulate.instruments import instrument_for
    from webbalign.simulate.truth import read_truth_images

    made = common.simulated(
        instrument=instrument, nints=1, nsci=1, ref_nints=1, ref_dithers=1, companion_contrast=0.0,
        noise=False, wavefront_drift=0.0, jitter=0.0,
    )  # fmt: skip
    exposure = made.science[0]
    star = read_truth_images(made.folder / exposure["images"]).star
    facts = instrument_for(instrument, None)
    per_electron = facts.photmjsr / (facts.gain * facts.integration_time)
    star, sky = star / per_electron, facts.sky / per_electron
    return Scene(star, tuple(exposure["star_xy"][0]), sky, facts.read_noise)


class Theory:
    """Errors of (dx, dy) for one shift, from the noiseless image.

    ``mask``: H^-1 B H^-1 of the estimator. B, the variance of the first derivatives of the sum of
    squares, has the noise of the PSF image, that of the science image carried through the adjoint
    of the shift F, and the product of both: sum(w^4 v_T (F'^2 v_S)), F' being the derivative of F
    and its square taken element by element.

    ``mask_and_errors``: the Cramer-Rao bound with the noiseless image itself unknown,
    J^T C^-1 J with C = v_T + ratio^2 F v_S F^T, solved exactly.
    """

    def __init__(self, scene, weight, dx, dy):
        step = 1e-3
        self.psf = RATIO * shifted(scene.star, dx, dy)
        along = [
            RATIO * (shifted(scene.star, dx + a, dy + b) - shifted(scene.star, dx - a, dy - b))
            for a, b in ((step, 0.0), (0.0, step))
        ]
        self.jacobian = np.stack([along[0] / (2 * step), along[1] / (2 * step), self.psf / RATIO])
        self.weight, self.scene, self.shift = weight, scene, np.array([dx, dy])
        self.v_star, self.v_psf = scene.variance(scene.star), scene.variance(self.psf)
        self.forth, self.back = partial(shifted, dx=dx, dy=dy), partial(shifted, dx=-dx, dy=-dy)
        self.point = np.zeros(weight.shape)
        self.point[0, 0] = 1.0
        turns = [2j * np.pi * np.fft.fftfreq(n) for n in weight.shape]
        # the frequency at Nyquist has no derivative
        turns = [np.where(np.abs(turn) > 3.1415, 0.0, turn) for turn in turns]
        spectrum = np.fft.fft2(shifted(self.point, dx, dy))
        moves = spectrum * turns[1], spectrum * turns[0][:, None]
        self.kernels = [np.fft.ifft2(move).real ** 2 for move in moves]

    def mask(self):
        """Return the standard errors of the fit under the mask."""
        w2 = self.weight**2
        slopes = w2 * self.jacobian
        hessian = np.einsum("iyx,jyx->ij", slopes, self.jacobian)
        score = np.einsum("iyx,jyx->ij", slopes * self.v_psf, slopes)
        moved = np.stack([self.back(slope) for slope in slopes])
        score += RATIO**2 * np.einsum("iyx,jyx->ij", moved * self.v_star, moved)
        of_star = np.fft.fft2(self.v_star)
        for axis, kernel in enumerate(self.kernels):
            spread = np.fft.ifft2(np.fft.fft2(kernel) * of_star).real
            score[axis, axis] += RATIO**2 * np.sum(w2**2 * self.v_psf * spread)
        inverse = np.linalg.inv(hessian)
        return np.sqrt(np.diag(inverse @ score @ inverse))[:2]

    def bias(self):
        """Return the expected bias (dx, dy) of the fit under the mask.

        The squared noise of the science image adds G = sum(w^2 (F^2 v_S)) to the denominator of
        N^2 / D, whose maximum is the fit. Under a mask D depends on the shift, so that even a
        constant G moves the maximum; Newton's step from the true shift tells by how much.
        """
        step = 0.02
        w2, spectrum = self.weight**2, np.fft.fft2(self.v_star)

        def gain(x, y):
            at = self.shift + step * np.array([x, y])
            star, kernel = shifted(self.scene.star, *at), shifted(self.point, *at) ** 2
            noise = np.fft.ifft2(np.fft.fft2(kernel) * spectrum).real
            return np.sum(w2 * self.psf * star) ** 2 / np.sum(w2 * (star**2 + noise))

        f = {(x, y): gain(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)}
        slope = np.array([f[1, 0] - f[-1, 0], f[0, 1] - f[0, -1]]) / 2
        mixed = (f[1, 1] - f[1, -1] - f[-1, 1] + f[-1, -1]) / 4
        curve = [f[1, 0] + f[-1, 0] - 2 * f[0, 0], f[0, 1] + f[0, -1] - 2 * f[0, 0]]
        return -step * np.linalg.solve([[curve[0], mixed], [mixed, curve[1]]], slope)

    def mask_and_errors(self):
        """Return the Cramer-Rao bound for the pixels that have weight."""
        used = self.weight > 0
        rows = self.jacobian[:, used]
        diagonal = (self.v_psf + RATIO**2 * np.maximum(self.forth(self.v_star), 1e-9))[used]

        def covariance(x):
            full = np.zeros(used.shape)
            full[used] = np.ravel(x)
            moved = self.forth(self.v_star * self.back(full))[used]
            return self.v_psf[used] * np.ravel(x) + RATIO**2 * moved

        size = (diagonal.size, diagonal.size)
        operator = LinearOperator(size, matvec=covariance)
        inverse = LinearOperator(size, matvec=lambda x: np.ravel(x) / diagonal)
        solved = [cg(operator, row, rtol=1e-6, M=inverse)[0] for row in rows]
        return np.sqrt(np.diag(np.linalg.inv(rows @ np.array(solved).T)))[:2]
