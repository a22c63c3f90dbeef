"""The fit of shift and flux ratio: agreement, laws, recovery, errors."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import fourier_shift
from scipy.optimize import leastsq

from webbalign.core.cubes import fill_bad_pixels
from webbalign.core.errors import InputError, OptionError
from webbalign.core.fourier import Shifter, shift_image
from webbalign.core.options import spec
from webbalign.core.registration import AlignRefs, FitStatus, PsfFrame, Registrar

AUMIC = Path(__file__).parents[3] / "shared" / "data" / "winnie_aumic_f356w"
N = 64
Y, X = np.mgrid[:N, :N].astype(float) - N // 2
HOLE = (np.hypot(X, Y) >= 4).astype(float)
SOFT = 1 - np.exp(-(X**2 + Y**2) / 50)


def star(peak: float, width: float = 1.5) -> np.ndarray:
    """Return a star with a halo and speckles, and next to no power at the Nyquist frequency."""
    r2 = X**2 + (Y - 0.4) ** 2
    halo = 0.1 * np.exp(-r2 / (2 * (4 * width) ** 2)) * (1 + 0.5 * np.cos(0.9 * X + 0.7 * Y))
    return peak * (np.exp(-r2 / (2 * width**2)) + halo)


def pair(dx, dy, ratio, peak=1e5, read_noise=10.0, seed=0):
    """Return science, PSF and their variances as a detector would give them."""
    rng = np.random.default_rng(seed)
    science = star(peak)
    psf = ratio * Shifter(science, padding=0).shifted(dx, dy)
    out = []
    for image in (science, psf):
        sigma = np.sqrt(np.maximum(image, 0) + read_noise**2)
        noisy = image + sigma * rng.normal(size=image.shape)
        out.append((noisy, np.maximum(noisy, 0) + read_noise**2))
    (science, science_variance), (psf, psf_variance) = out
    return science, psf, science_variance, psf_variance


def reference_fit(science, psf, weight, start=(0.0, 0.0, 1.0)):
    """Minimise the documented sum of squares with differences, as slowly as can be."""
    spectrum = np.fft.fft2(science)

    def residual(parameters):
        dx, dy, ratio = parameters
        moved = np.fft.ifft2(fourier_shift(spectrum, (dy, dx))).real
        return ((psf - ratio * moved) * weight).ravel()

    return leastsq(residual, start, xtol=1e-14, ftol=1e-14)[0]


@pytest.mark.parametrize("weight", [np.ones_like(X), HOLE, SOFT], ids=["all", "hole", "soft"])
@pytest.mark.parametrize("truth", [(0.31, -0.22, 3.0), (1.7, -1.1, 0.2), (0.0, 0.0, 1.0)])
def test_fit_is_that_of_least_squares(weight, truth):
    science, psf, _, _ = pair(*truth)
    fit = Registrar(science, weight).fit(psf)
    expected = reference_fit(science, psf, weight)
    assert fit.status is FitStatus.OK
    np.testing.assert_allclose([fit.dx, fit.dy], expected[:2], atol=1e-6)
    assert fit.flux_ratio == pytest.approx(expected[2], rel=1e-6)


@pytest.mark.oracle
def test_fit_is_that_of_jwst():
    registration = pytest.importorskip("jwst.coron.imageregistration", exc_type=ImportError)
    for truth in [(0.31, -0.22, 3.0), (1.7, -1.1, 0.2)]:
        science, psf, _, _ = pair(*truth)
        expected = registration.align_fourier_lsq(science, psf, SOFT)
        fit = Registrar(science, SOFT).fit(psf)
        np.testing.assert_allclose([fit.dx, fit.dy], expected[:2], atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (63, 64), (64, 63), (61, 63)])
def test_fit_of_noise_is_stationary(shape):
    """Images with power at all frequencies: the sum of squares is least where the fit says."""
    rng = np.random.default_rng(1)
    science, weight = rng.normal(size=shape), rng.random(shape)
    psf = 2 * shift_image(science, 0.4, -0.3, padding=0) + 0.5 * rng.normal(size=shape)
    fit = Registrar(science, weight).fit(psf)

    def squares(dx, dy, ratio):
        return np.sum((weight * (psf - ratio * shift_image(science, dx, dy, padding=0))) ** 2)

    best = squares(fit.dx, fit.dy, fit.flux_ratio)
    for step in np.vstack([np.eye(3), -np.eye(3)]) * 1e-4:
        assert squares(*np.add([fit.dx, fit.dy, fit.flux_ratio], step)) > best


@pytest.mark.parametrize("weighting", ["mask", "mask_and_errors"])
@pytest.mark.parametrize("truth", [(8.3, -9.4), (-5.5, 0.5), (9.9, 9.9)])
def test_large_shifts_are_found(weighting, truth):
    science, psf, science_variance, psf_variance = pair(*truth, 2.0)
    registrar = Registrar(science, SOFT, science_variance, fit_weighting=weighting)
    fit = registrar.fit(psf, psf_variance)
    assert fit.status is FitStatus.OK
    assert abs(fit.dx - truth[0]) < 5 * fit.errors[0]
    assert abs(fit.dy - truth[1]) < 5 * fit.errors[1]
    assert fit.errors[0] < 0.02


def test_a_shift_beyond_the_search_is_reported():
    science, psf, _, _ = pair(13.0, 0.0, 1.0)
    assert Registrar(science, np.ones_like(X)).fit(psf).status is not FitStatus.OK


@settings(deadline=None, max_examples=15)
@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(0.01, 100), st.floats(1e-3, 1e3))
def test_flux_scales_the_flux_ratio_only(dx, dy, ratio, factor):
    science, psf, science_variance, psf_variance = pair(dx, dy, ratio)
    registrar = Registrar(science, SOFT, science_variance)
    fit = registrar.fit(psf, psf_variance)
    scaled = registrar.fit(factor * psf, factor**2 * psf_variance)
    np.testing.assert_allclose([scaled.dx, scaled.dy], [fit.dx, fit.dy], atol=1e-7)
    assert scaled.flux_ratio == pytest.approx(factor * fit.flux_ratio, rel=1e-8)
    scale = np.array([1, 1, factor])
    expected = fit.covariance * np.outer(scale, scale)
    # measured by the errors: a covariance that happens to be nearly zero has no scale of its own
    errors = np.sqrt(np.diag(expected))
    unit = np.outer(errors, errors)
    np.testing.assert_allclose(scaled.covariance / unit, expected / unit, rtol=0, atol=1e-4)
    assert scaled.chi2_reduced == pytest.approx(fit.chi2_reduced, rel=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.floats(-2, 2), st.floats(-2, 2))
def test_exchanged_images_give_the_opposite_shift(dx, dy):
    science, psf, _, _ = pair(dx, dy, 1.0)
    # odd sizes: the Nyquist frequency of an even one does not survive a shift
    science, psf, weight = science[1:, 1:], psf[1:, 1:], np.ones((N - 1, N - 1))
    there = Registrar(science, weight).fit(psf)
    back = Registrar(psf, weight).fit(science)
    np.testing.assert_allclose([back.dx, back.dy], [-there.dx, -there.dy], atol=1e-7)


@settings(deadline=None, max_examples=15)
@given(st.floats(-2, 2), st.floats(-2, 2))
def test_a_further_shift_adds(dx, dy):
    science, psf, _, _ = pair(0.2, 0.1, 1.0)
    science, psf, weight = science[1:, 1:], psf[1:, 1:], np.ones((N - 1, N - 1))
    registrar = Registrar(science, weight)
    near = registrar.fit(psf)
    far = registrar.fit(shift_image(psf, dx, dy, padding=0))
    np.testing.assert_allclose([far.dx - near.dx, far.dy - near.dy], [dx, dy], atol=1e-7)


@pytest.mark.parametrize("weighting", ["mask", "mask_and_errors"])
def test_missing_psf_pixels_have_no_weight(weighting):
    science, psf, science_variance, psf_variance = pair(0.4, -0.6, 2.0)
    bad = np.random.default_rng(3).random(psf.shape) < 0.02
    registrar = Registrar(science, HOLE, science_variance, fit_weighting=weighting)
    fit = registrar.fit(np.where(bad, np.nan, psf), psf_variance)
    without = Registrar(science, HOLE * ~bad, science_variance, fit_weighting=weighting)
    filled = fill_bad_pixels(psf, bad, box=3)
    expected = without.fit(filled, psf_variance)
    assert fit.n_pixels == expected.n_pixels == np.count_nonzero(HOLE * ~bad)
    assert fit.dx == pytest.approx(expected.dx, abs=1e-7)
    assert fit.flux_ratio == pytest.approx(expected.flux_ratio, rel=1e-7)
    assert abs(fit.dx - 0.4) < 5 * fit.errors[0]


def test_pixels_of_unknown_variance_do_not_count_with_errors():
    science, psf, science_variance, psf_variance = pair(0.4, -0.6, 2.0)
    psf[20, 30], psf_variance[20, 30] = 1e7, np.inf
    science[40, 28], science_variance[40, 28] = 1e4, np.nan
    registrar = Registrar(science, HOLE, science_variance, fit_weighting="mask_and_errors")
    fit = registrar.fit(psf, psf_variance)
    assert fit.status is FitStatus.OK
    # the pixel of the PSF and the four around the place of that of the science image
    assert fit.n_pixels == np.count_nonzero(HOLE) - 5
    assert abs(fit.dy + 0.6) < 0.05


def test_prepared_frames_give_the_same():
    science, psf, science_variance, psf_variance = pair(0.4, -0.6, 2.0)
    registrar = Registrar(science, SOFT, science_variance)
    expected = registrar.fit(psf, psf_variance)
    for weight in (SOFT, SOFT.copy()):
        fit = registrar.fit(PsfFrame(psf, weight, psf_variance))
        assert (fit.dx, fit.dy, fit.flux_ratio) == (expected.dx, expected.dy, expected.flux_ratio)
        np.testing.assert_array_equal(fit.covariance, expected.covariance)
    with pytest.raises(ValueError, match="another weight"):
        registrar.fit(PsfFrame(psf, HOLE, psf_variance))


def trials(weighting, weight, count, peak, ratio):
    """Return errors over theory, errors over quoted sigma, and reduced chi-squares."""
    rng = np.random.default_rng(42)
    shifter = Shifter(ratio * star(peak), padding=0)
    over_theory, over_quoted, chi2 = [], [], []
    for seed in range(count):
        dx, dy = rng.uniform(-2, 2, 2)
        science, psf, science_variance, psf_variance = pair(dx, dy, ratio, peak, seed=seed)
        registrar = Registrar(science, weight, science_variance, fit_weighting=weighting)
        fit = registrar.fit(psf, psf_variance)
        assert fit.status is FitStatus.OK
        model, by_dx, by_dy = shifter.gradient(dx, dy)
        rows = np.stack([by_dx, by_dy, model / ratio]).reshape(3, -1)
        counts = np.maximum(model, 0)
        variance = (counts + 100 + ratio**2 * (counts / ratio + 100)).ravel()
        w2 = weight.ravel() ** 2
        if weighting == "mask":
            inverse = np.linalg.inv((rows * w2) @ rows.T)
            theory = inverse @ ((rows * w2**2 * variance) @ rows.T) @ inverse
        else:
            theory = np.linalg.inv((rows * (w2 > 0) / variance) @ rows.T)
        error = np.array([fit.dx - dx, fit.dy - dy, fit.flux_ratio - ratio])
        over_theory.append(error / np.sqrt(np.diag(theory)))
        over_quoted.append((error - fit.bias) / np.sqrt(np.diag(fit.covariance)))
        chi2.append(fit.chi2_reduced)
    return np.array(over_theory), np.array(over_quoted), np.array(chi2)


@pytest.mark.parametrize("ratio", [0.3, 3.0])
@pytest.mark.parametrize(("weighting", "weight"), [("mask", SOFT), ("mask_and_errors", HOLE)])
def test_errors_are_those_of_theory(weighting, weight, ratio):
    """`mask` against its own theory, `mask_and_errors` against the Cramer-Rao bound."""
    over_theory, over_quoted, chi2 = trials(weighting, weight, 200, peak=1e5, ratio=ratio)
    # the rms of 400 numbers scatters by 3.5 per cent
    assert np.sqrt(np.mean(over_theory[:, :2] ** 2)) < 1.1
    assert abs(over_theory[:, :2].mean(axis=0)).max() < 4 / np.sqrt(200)
    assert ((over_quoted.std(axis=0) > 0.85) & (over_quoted.std(axis=0) < 1.15)).all()
    assert chi2.mean() == pytest.approx(1, abs=0.06)
    if weighting == "mask_and_errors":
        assert abs(over_theory[:, 2].mean()) < 4 / np.sqrt(200)
        assert np.sqrt(np.mean(over_theory[:, 2] ** 2)) < 1.1


def test_bias_of_a_faint_fit_is_foreseen():
    """Errors in variables make the flux ratio too small; the fit says by how much."""
    _, over_quoted, _ = trials("mask", HOLE, 100, peak=3e3, ratio=1.0)
    science, psf, science_variance, psf_variance = pair(0.3, 0.2, 1.0, 3e3)
    fit = Registrar(science, HOLE, science_variance).fit(psf, psf_variance)
    assert fit.bias[2] < -5 * np.sqrt(fit.covariance[2, 2])
    assert fit.errors[2] > -fit.bias[2]
    assert abs(over_quoted.mean(axis=0)).max() < 4 / np.sqrt(100)


def test_without_variances_the_residuals_tell():
    rng = np.random.default_rng(8)
    clean, noise = star(1e4), 30.0
    pulls = []
    for _ in range(150):
        science = clean + noise * rng.normal(size=clean.shape)
        psf = shift_image(clean, 0.3, -0.4, padding=0) + noise * rng.normal(size=clean.shape)
        fit = Registrar(science, np.ones_like(X)).fit(psf)
        pulls.append(np.array([fit.dx - 0.3, fit.dy + 0.4]) / fit.errors[:2])
    assert np.isnan(fit.chi2_reduced)
    assert 0.85 < np.std(pulls) < 1.15


def test_nothing_to_fit_is_said():
    science, psf, science_variance, psf_variance = pair(0, 0, 1.0)
    rng = np.random.default_rng(5)
    registrar = Registrar(science, SOFT, science_variance)
    assert registrar.fit(0 * psf, psf_variance).status is FitStatus.NO_SIGNAL
    empty = Registrar(0 * science, SOFT, science_variance).fit(psf, psf_variance)
    assert empty.status is FitStatus.NO_SIGNAL
    assert np.isnan(empty.dx)
    noise = rng.normal(size=(2, N, N))
    for weighting in ("mask", "mask_and_errors"):
        registrar = Registrar(noise[0], SOFT, np.ones((N, N)), fit_weighting=weighting)
        assert registrar.fit(noise[1], np.ones((N, N))).status is FitStatus.NO_SIGNAL


def test_input_that_cannot_be_used_is_refused():
    science, psf, science_variance, _ = pair(0, 0, 1.0)
    with pytest.raises(InputError, match=r"the weight is zero everywhere - a\.fits - "):
        Registrar(science, np.zeros_like(science), name="a.fits")
    with pytest.raises(InputError, match="shape"):
        Registrar(science, SOFT[1:])
    with pytest.raises(InputError, match="no finite pixel"):
        Registrar(science, SOFT).fit(np.full_like(psf, np.nan))
    with pytest.raises(ValueError, match="both images or of neither"):
        Registrar(science, SOFT, science_variance).fit(psf)
    with pytest.raises(ValueError, match="needs the variances"):
        Registrar(science, SOFT, fit_weighting="mask_and_errors")
    science[3, 3] = np.nan
    with pytest.raises(InputError, match="1 pixels of the science image are not finite"):
        Registrar(science, SOFT)


def test_options():
    options = AlignRefs()
    assert (options.median_box_length, options.bad_bits) == (3, "DO_NOT_USE")
    assert AlignRefs(bad_bits=None).bad_bits is None
    with pytest.raises(OptionError, match="align_to"):
        AlignRefs(align_to="last")
    with pytest.raises(OptionError, match="median_box_length"):
        AlignRefs(median_box_length=-1)
    assert "fit_weighting = option('mask', 'mask_and_errors', default='mask')" in spec(AlignRefs)


def aumic(name: str) -> np.ndarray:
    from astropy.io import fits

    if not AUMIC.is_dir():
        pytest.skip(f"no real data: {AUMIC} does not exist")
    with gzip.open(AUMIC / f"{name}.fits.gz") as file:
        return np.squeeze(fits.getdata(file, "SCI")).astype(np.float64)


@pytest.mark.parametrize("injected", [(0.37, -0.21), (-1.3, 0.8), (4.6, -3.2)])
def test_shifts_injected_into_real_frames_are_recovered(injected):
    science = aumic("jw01184001001_03107_00001_nrcalong_calints")
    psf = aumic("jw01184003001_03107_00001_nrcalong_calints")
    weight = aumic("jw01184001001_03107_00001_nrcalong_calints_psfmask")
    science, psf = fill_bad_pixels(np.array([science, psf]), None, box=3)
    registrar = Registrar(science, weight)
    still = registrar.fit(psf)
    moved = registrar.fit(shift_image(psf, *injected))
    assert still.status is moved.status is FitStatus.OK
    assert max(abs(still.dx), abs(still.dy)) < 0.01
    assert moved.dx - still.dx == pytest.approx(injected[0], abs=0.01)
    assert moved.dy - still.dy == pytest.approx(injected[1], abs=0.01)
