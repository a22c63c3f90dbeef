"""Criterion 1: shifts are right, and so are their errors."""

from __future__ import annotations

from benchmarks import common  # isort: skip  (sets the number of threads)

from dataclasses import dataclass

import numpy as np

from benchmarks.report import Report
from benchmarks.shift_theory import HOLE, Theory, shifted, star_scene
from webbalign.core.cubes import fill_bad_pixels
from webbalign.core.registration import FitStatus, Registrar

FAINTER = {"as simulated by default": 1.0, "star 10 times fainter": 10.0}
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
        noise = "known" if known else "estimated from the noisy images"
        name = f"{where}, `{how}`, noise {noise}"
        bounds = {"Cramer-Rao bound": sigma}
        if how == "mask":
            # the estimator's own bias is no noise: with it and without it
            bounds = {
                "theory, scatter alone": sigma,
                "theory, scatter and bias": np.hypot(sigma, bias),
            }
        for bound, expected in bounds.items():
            ratio = np.sqrt(np.mean(np.square(errors / expected), axis=0))
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
    heads = [
        "instrument",
        "light",
        "scatter of `mask` by theory (x, y), px",
        "bias of `mask` by theory, rms over the shifts, px",
        "Cramer-Rao bound, px",
    ]
    report.table(heads, rows)
    report.note(
        f"Per row {n_shifts} shifts, uniform within 2 px in x and y, with {n_noise} noises each: "
        f"an rms is uncertain by {100 / np.sqrt(2 * n_shifts * n_noise):.0f} %; the larger of the "
        "two axes is given. The fit under the mask alone is biased where the noise of the science "
        "image is no small part of its squares (errors in variables: the flux ratio comes out "
        "low, and next to a hole the shift makes up for it); its quoted error is that of the "
        "scatter, so that the pull fails there."
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


def real_frames(report: Report) -> None:
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
    stars = [fits.getheader(name)["TARGNAME"] for name in files]
    steps = steps_within(2.0, 12, np.random.default_rng(7))
    moved = {(j, step): shifted(psf, *step) for j, psf in enumerate(frames) for step in steps}
    rows = []  # science frame, PSF frame, length of the shift, error, shift of the pair as it is
    for i, science in enumerate(frames):
        registrar = Registrar(science, weight)
        for j, psf in enumerate(frames):
            still = registrar.fit(psf)
            for step in steps:
                fit = registrar.fit(moved[j, step])
                off = np.hypot(fit.dx - still.dx - step[0], fit.dy - still.dy - step[1])
                rows.append((i, j, np.hypot(*step), off, np.hypot(still.dx, still.dy)))
    i, j, length, errors, before = np.array(rows).T
    same = np.array([stars[int(a)] == stars[int(b)] for a, b in zip(i, j, strict=True)])
    kinds = {
        "each frame against itself": i == j,
        "two rolls of a star": same & (i != j),
        "two different stars": ~same,
    }
    for name, chosen in kinds.items():
        report.below(f"{what}: {name}", errors[chosen].max(), 0.01, ".1e", " px")
        if name != "each frame against itself":
            rms = np.sqrt(np.mean(errors[chosen] ** 2))
            report.number_only(f"the same, rms error: {name}", f"{rms:.4f} px")
    short = ~same & (length < 1.5)
    report.note(
        f"AU Mic: {len(frames)} frames of {len(set(stars))} stars, {len(steps)} shifts up to 2 px "
        "in length, in random directions, four of them of 2 px, injected into each by scipy's "
        f"Fourier shift; {(i != j).sum()} fits to other frames. Of different stars the largest "
        f"error below 1.5 px is {errors[short].max():.4f} px: with the shift the differences "
        "between the stars move under the weight, which stays with the mask. Shifts are counted "
        "from the fit of the same pair as it is (the frames come registered: median "
        f"{np.median(before[i != j]):.3f}, largest {before.max():.3f} px). Derived weight, `mask`."
    )


def steps_within(largest: float, count: int, rng) -> list[tuple[float, float]]:
    """Return shifts uniform in a disk, the last third of them at its edge."""
    length = largest * np.sqrt(rng.uniform(0, 1, count))
    length[-(count // 3) :] = largest
    angle = rng.uniform(0, 2 * np.pi, count)
    return list(zip(length * np.cos(angle), length * np.sin(angle), strict=True))


def main() -> bool:
    """Measure and report."""
    chosen = common.arguments(__doc__)
    report = Report(1, "alignment", "Right alignment")
    pairs = simulated_shifts(report, chosen.quick)
    against_jwst(report, pairs)
    real_frames(report)
    return report.write(common.jwst_version())


if __name__ == "__main__":
    raise SystemExit(0 if main() else 3)
