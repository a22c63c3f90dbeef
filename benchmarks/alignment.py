"""Criterion 1: shifts are right, and so are their errors."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.ndimage import fourier_shift
from scipy.sparse.linalg import LinearOperator, cg

from benchmarks.report import Report
from webbalign.core.cubes import fill_bad_pixels
from webbalign.core.registration import FitStatus, Registrar

HOLE = 8.0  # px
RATIO = 1.3  # of the fluxes
FAINTER = {"as simulated by default": 1.0, "star 10 times fainter": 10.0}


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
    of the shift F, and the product of both: sum(w^4 v_T (F'^2 v_S)), F' being the derivative of F and
    its square taken element by element.

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
            at = self.shift + (x * step, y * step)
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


WEIGHTINGS = ("mask", "mask_and_errors")


@dataclass
class Trials:
    """Fits of one scene; errors and sigmas are (fits, 2), keyed by (weighting, noise known)."""

    errors: dict
    quoted: dict
    theory: dict  # by weighting
    bias: list  # of mask
    pairs: list


def monte_carlo(scene, weight, n_shifts, n_noise, rng) -> Trials:
    """Fit noisy pairs of images that differ by known shifts."""
    cases = [(how, known) for how in WEIGHTINGS for known in (True, False)]
    trials = Trials(
        {case: [] for case in cases}, {case: [] for case in cases},
        {how: [] for how in WEIGHTINGS}, [], [],
    )  # fmt: skip
    for _ in range(n_shifts):
        d = rng.uniform(-2, 2, 2)
        theory = Theory(scene, weight, *d)
        trials.bias += [theory.bias()] * n_noise
        for how in WEIGHTINGS:
            trials.theory[how] += [getattr(theory, how)()] * n_noise
        for k in range(n_noise):
            science = scene.star + rng.normal(size=weight.shape) * np.sqrt(theory.v_star)
            psf = theory.psf + rng.normal(size=weight.shape) * np.sqrt(theory.v_psf)
            for how, known in cases:
                v_s = theory.v_star if known else scene.variance(science)
                v_p = theory.v_psf if known else scene.variance(psf)
                fit = Registrar(science, weight, v_s, fit_weighting=how).fit(psf, v_p)
                # a fit that does not call itself good counts as a failure
                good = 1.0 if fit.status is FitStatus.OK else np.nan
                trials.errors[how, known].append(good * (np.array([fit.dx, fit.dy]) - d))
                trials.quoted[how, known].append(fit.errors[:2])
                if k == 0 and known and how == "mask":
                    trials.pairs.append((science, psf, weight, fit.dx, fit.dy))
    return trials


def judge(report: Report, trials: Trials, where: str) -> None:
    """Compare the errors with theory and with what the fits say of themselves."""
    bias = np.array(trials.bias)
    for (how, known), errors in trials.errors.items():
        sigma = np.array(trials.theory[how])
        bound = "Cramer-Rao bound"
        if how == "mask":
            sigma, bound = np.hypot(sigma, bias), "theory (scatter and bias)"
        noise = "known" if known else "estimated from the noisy images"
        name = f"{where}, `{how}`, noise {noise}"
        ratio = np.sqrt(np.mean(np.square(errors / sigma), axis=0))
        report.below(f"rms error / {bound}: {name}", ratio.max(), 1.1, ".3f")
        pulls = np.array(errors) / trials.quoted[how, known]
        report.within(f"pull: {name}", pulls.std(axis=0), 0.8, 1.25)


def simulated_shifts(report: Report, quick: bool) -> list:
    """Run the Monte Carlo for both instruments and both noises."""
    rng = np.random.default_rng(20)
    pairs, rows = [], []
    n_shifts, n_noise = (4, 6) if quick else (20, 20)
    for instrument in ("nircam", "miri"):
        scene = star_scene(instrument)
        iy, ix = np.indices(scene.star.shape)
        weight = (np.hypot(ix - scene.centre[0], iy - scene.centre[1]) > HOLE).astype(float)
        for name, factor in FAINTER.items():
            trials = monte_carlo(scene.fainter(factor), weight, n_shifts, n_noise, rng)
            pairs += trials.pairs
            judge(report, trials, f"{instrument}, {name}")
            sigmas = [np.median(trials.theory[how], axis=0) for how in WEIGHTINGS]
            sigmas.insert(1, np.sqrt(np.mean(np.square(trials.bias), axis=0)))
            rows.append([instrument, name, *(f"{x:.5f}, {y:.5f}" for x, y in sigmas)])
    heads = ["instrument", "light", "scatter of `mask` by theory (x, y), px",
             "bias of `mask` by theory, rms over the shifts, px", "Cramer-Rao bound, px"]  # fmt: skip
    report.table(heads, rows)
    report.note(
        f"Per row {n_shifts} shifts, uniform within 2 px in x and y, with {n_noise} noises each: an "
        f"rms is uncertain by {100 / np.sqrt(2 * n_shifts * n_noise):.0f} %; the larger of the two axes "
        "is given. The fit under the mask alone is biased where the noise of the science image is "
        "no small part of its squares (errors in variables: the flux ratio comes out low, and next to "
        "a hole the shift makes up for it); its quoted error is that of the scatter."
    )
    return pairs


def against_jwst(report: Report, pairs: list) -> None:
    """Compare with align_fourier_lsq fed the same images in float64."""
    what = "`mask` against align_fourier_lsq in float64, largest difference"
    if not common.have_jwst():
        report.skip(what, common.NO_JWST)
        return
    folder = common.fresh("alignment")
    largest = 0.0
    shapes = sorted({pair[0].shape for pair in pairs})
    for shape in shapes:
        chosen = [pair for pair in pairs if pair[0].shape == shape][:24]
        science, psf, weight = (np.array([pair[i] for pair in chosen]) for i in range(3))
        np.savez(folder / "pairs.npz", science=science, psf=psf, weight=weight)
        common.jwst("fits", folder / "pairs.npz", folder / "fits.npz")
        theirs = np.load(folder / "fits.npz")["fits"][:, :2]
        ours = np.array([pair[3:5] for pair in chosen])
        largest = max(largest, np.abs(ours - theirs).max())
    report.below(what, largest, 1e-4, ".2g", " px")


def real_frames(report: Report, quick: bool) -> None:
    """Inject shifts into the real AU Mic frames."""
    from astropy.io import fits

    from webbalign.products import models
    from webbalign.products.references import find_psfmask

    what = "AU Mic F356W, injected shifts recovered, largest error"
    association = common.au_mic()
    if association is None:
        report.skip(what, common.NO_DATA)
        return
    files = sorted(association.parent.glob("*_calints.fits"))
    with models.open_cube(files[0]) as first:
        weight = find_psfmask(first, "derived").weight
    cubes = [fits.getdata(name, "SCI").astype(float) for name in files]
    frames = [fill_bad_pixels(cube, None, box=3)[0] for cube in cubes]
    rng = np.random.default_rng(7)
    steps = [(0.3, -0.2), (-1.37, 0.81), *rng.uniform(-2, 2, (1 if quick else 4, 2))]
    errors, before = [], []
    for i, science in enumerate(frames):
        registrar = Registrar(science, weight)
        for j, psf in enumerate(frames):
            if i == j:
                continue
            still = registrar.fit(psf)
            before.append(np.hypot(still.dx, still.dy))
            for dx, dy in steps:
                fit = registrar.fit(shifted(psf, dx, dy))
                errors.append([fit.dx - still.dx - dx, fit.dy - still.dy - dy])
    errors = np.abs(errors)
    report.below(what, errors.max(), 0.01, ".2g", " px")
    report.note(
        f"AU Mic: every one of the {len(frames)} frames fitted to every other, {len(steps)} shifts "
        f"up to 2 px each injected by scipy's Fourier shift: {len(errors)} fits, median error "
        f"{np.median(errors):.1g} px. Shifts are counted from the fit of the same pair as it is "
        f"(the frames come registered: median {np.median(before):.3f}, largest "
        f"{np.max(before):.3f} px)."
    )


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report(1, "alignment", "Right alignment")
    pairs = simulated_shifts(report, chosen.quick)
    against_jwst(report, pairs)
    real_frames(report, chosen.quick)
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
