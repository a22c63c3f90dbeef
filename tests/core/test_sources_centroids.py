"""Positions of undersampled stars against their truth: bias with the pixel phase, noise, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import fourier_shift, gaussian_filter, map_coordinates, spline_filter
from scipy.spatial import cKDTree

from tests.core.starfield import OVERSAMPLING, StarField, diffraction, star_field
from webbalign.core.sources import SourceFinding, Sources, find_sources

LOOSE = {"sharplo": 0.2, "sharphi": 4.0, "roundhi": 1.0}


def seen(fwhm: float) -> float:
    """FWHM of an image in pixels of a star that the optics make `fwhm` px wide."""
    return float(np.hypot(fwhm, 0.5))


def errors(sources: Sources, field: StarField) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deviations (n, 2) about their median, their quoted sigmas, and which star each is.

    The median is what the aberrations move all stars by: it is part of what "position" means.
    """
    truth = np.stack([field.x, field.y], axis=1)
    found = np.stack([sources.xcentroid, sources.ycentroid], axis=1)
    distance, index = cKDTree(truth).query(found)
    half = 6
    inside = ((truth[index] > half) & (truth[index] < len(field.data) - 1 - half)).all(axis=1)
    keep = (distance < 0.5) & inside & (sources.flags == 0)
    deviation = found[keep] - truth[index[keep]]
    sigma = np.stack([sources.x_err, sources.y_err], axis=1)[keep]
    return deviation - np.median(deviation, axis=0), sigma, index[keep]


def limits(psf: np.ndarray, field: StarField, gain: float) -> np.ndarray:
    """Cramer-Rao limit (n, 2) of x and y, px, of stars whose flux is fitted too; the noise is 1."""
    middle, side = psf.shape[0] // 2, np.arange(-8, 9)
    spline = spline_filter(psf, order=3, mode="constant")

    def image(dx: float, dy: float) -> np.ndarray:
        where = [(side - d) * OVERSAMPLING + middle for d in (dy, dx)]
        grid = np.meshgrid(*where, indexing="ij")
        return map_coordinates(spline, grid, order=3, prefilter=False).ravel()

    best = []
    step = 0.01
    for x, y, flux in zip(field.x, field.y, field.flux, strict=True):
        dx, dy = x - round(x), y - round(y)
        shape = image(dx, dy)
        along_x = (image(dx + step, dy) - image(dx - step, dy)) / (2 * step)
        along_y = (image(dx, dy + step) - image(dx, dy - step)) / (2 * step)
        design = np.stack([shape, flux * along_x, flux * along_y], axis=1)
        weight = 1 / (1 + flux * np.maximum(shape, 0) / gain)
        covariance = np.linalg.inv(design.T @ (design * weight[:, None]))
        best.append(np.sqrt(np.diag(covariance))[1:])
    return np.array(best)


@pytest.mark.parametrize("fwhm", [1.0, 1.6, 2.2, 3.5])
@pytest.mark.parametrize("aberration", [0.0, 0.06])
def test_positions_do_not_move_with_the_pixel_phase(fwhm, aberration):
    psf = diffraction(fwhm, error=aberration)
    field = star_field(150, (400, 400), fwhm, flux=(5e4, 1e5), separation=22, psf=psf, noise=0.1,
                       gain=1e6)  # fmt: skip
    sources = find_sources(field.data, field.err, fwhm=seen(fwhm), options=SourceFinding(**LOOSE))
    deviation, _, _ = errors(sources, field)
    assert len(deviation) > 70
    assert np.sqrt(np.mean(deviation**2)) < 0.005
    assert np.quantile(np.abs(deviation), 0.98) < 0.01


def test_positions_hold_for_a_psf_of_another_simulator(data_folder):
    """WebbPSF's F410M is sampled well enough to be moved by a Fourier transform."""
    path = data_folder / "webbpsf_ext" / "NRCB5_SUB160_F410M_G2V_2022-07-29.fits"
    if not path.exists():
        pytest.skip(f"no real PSF: {path} does not exist")
    psf = fits.getdata(path).astype(float)
    psf /= psf.sum()
    middle = np.unravel_index(psf.argmax(), psf.shape)
    random = np.random.default_rng(0)
    at = np.stack(np.meshgrid(np.arange(7), np.arange(7)), axis=-1).reshape(-1, 2) * 40 + 60
    at = at + random.uniform(-5, 5, at.shape)
    image = np.zeros((360, 360))
    for x, y in at:
        whole = np.array([round(y), round(x)])
        moved = fourier_shift(np.fft.fft2(psf), np.array([y, x]) - whole)
        size = np.array(psf.shape)
        start = whole - middle
        low, high = np.maximum(start, 0), np.minimum(start + size, image.shape)
        part = np.fft.ifft2(moved).real[
            low[0] - start[0] : high[0] - start[0], low[1] - start[1] : high[1] - start[1]
        ]
        image[low[0] : high[0], low[1] : high[1]] += 1e5 * part
    err = np.full(image.shape, 0.1)
    data = image + err * random.normal(size=image.shape)
    field = StarField(data, err, at[:, 0], at[:, 1], np.full(len(at), 1e5), None, None)
    deviation, _, _ = errors(find_sources(data, err, fwhm=seen(2.1)), field)
    assert len(deviation) > 40
    assert np.abs(deviation).max() < 0.01
    finder = SourceFinding(centroid="finder", starfinder="dao", roundhi=1.0)
    moved = errors(find_sources(data, err, fwhm=seen(2.1), options=finder), field)[0]
    assert np.abs(moved).max() > 0.03


def test_the_finders_move_with_the_pixel_phase():
    """Otherwise the test above would show nothing."""
    field = star_field(150, (400, 400), 1.6, flux=(5e4, 1e5), separation=22, noise=0.1, gain=1e6)
    options = SourceFinding(centroid="finder", **LOOSE)
    sources = find_sources(field.data, field.err, fwhm=seen(1.6), options=options)
    deviation, sigma, _ = errors(sources, field)
    assert np.sqrt(np.mean(deviation**2)) > 0.01
    # which their errors know of
    assert 0.3 < np.sqrt(np.mean((deviation / sigma) ** 2)) < 1.25


@pytest.mark.parametrize("fwhm", [1.3, 1.6, 2.5])
def test_noise_is_near_the_limit_and_quoted_honestly(fwhm):
    psf = diffraction(fwhm)
    ratio, pull = [], []
    for seed in range(2):
        field = star_field(150, (400, 400), fwhm, seed, (500, 3e4), separation=20, psf=psf)
        sources = find_sources(
            field.data, field.err, fwhm=seen(fwhm), options=SourceFinding(**LOOSE)
        )
        deviation, sigma, index = errors(sources, field)
        ratio.append(deviation / limits(psf, field, gain=4.0)[index])
        pull.append(deviation / sigma)
    assert np.sqrt(np.mean(np.concatenate(ratio) ** 2)) < 1.2
    assert 0.8 < np.sqrt(np.mean(np.concatenate(pull) ** 2)) < 1.25


@pytest.mark.parametrize("n", [3, 8])
def test_few_stars_have_honest_errors_too(n):
    pulls = []
    for seed in range(10):
        field = star_field(n, (128, 128), 1.6, seed, (500, 5e3), separation=25)
        options = SourceFinding(**LOOSE)
        sources = find_sources(field.data, field.err, fwhm=seen(1.6), options=options)
        deviation, sigma, _ = errors(sources, field)
        if len(deviation) >= 3:
            pulls.append((deviation / sigma).ravel())
    assert 0.6 < np.sqrt(np.mean(np.concatenate(pulls) ** 2)) < 1.5


@pytest.mark.parametrize("given", [2.5, 1.6, 1.1])
def test_a_kernel_that_is_no_star_does_no_harm(given):
    """The filter's FWHM is not known here, only what the user wrote for the kernel."""
    field = star_field(150, (400, 400), 1.6, flux=(2e3, 3e4), separation=20)
    options = SourceFinding(kernel_fwhm=given, **LOOSE)
    sources = find_sources(field.data, field.err, options=options)
    deviation, sigma, _ = errors(sources, field)
    assert len(deviation) > 70
    assert np.sqrt(np.mean(deviation**2)) < 0.02
    assert sources.fwhm == pytest.approx(seen(1.6), rel=0.12)


def test_without_errors_the_sky_stands_for_them():
    field = star_field(100, (300, 300), 1.6, flux=(500, 5e3), gain=1e6, separation=20)
    sources = find_sources(field.data, fwhm=seen(1.6), options=SourceFinding(**LOOSE))
    deviation, sigma, _ = errors(sources, field)
    assert 0.8 < np.sqrt(np.mean((deviation / sigma) ** 2)) < 1.25


def test_neighbours_are_taken_into_account():
    psf = diffraction(1.6)
    alone = star_field(120, (300, 300), 1.6, flux=(3e3, 2e4), separation=14, psf=psf)
    crowded = star_field(600, (300, 300), 1.6, flux=(3e3, 2e4), separation=4.5, psf=psf)
    rms = [
        np.median(np.abs(errors(find_sources(f.data, f.err, fwhm=seen(1.6),
                         options=SourceFinding(brightest=None, **LOOSE)), f)[0]))
        for f in (alone, crowded)
    ]  # fmt: skip
    assert rms[1] < 3 * rms[0]


def test_nebulosity_moves_stars_little_and_is_known_of():
    """Smooth structure ten times as strong as the noise, on scales of ten times the FWHM."""
    random = np.random.default_rng(8)
    field = star_field(80, (360, 360), 2.2, flux=(1e3, 2e4), separation=22)
    nebula = gaussian_filter(random.normal(size=field.data.shape), 15)
    nebula *= 10 / nebula.std()
    cloudy = replace(field, data=(field.data + nebula).astype(np.float32))
    options = SourceFinding(bkg_boxsize=60, **LOOSE)
    sources = find_sources(cloudy.data, cloudy.err, fwhm=seen(2.2), options=options)
    deviation, sigma, _ = errors(sources, cloudy)
    assert len(deviation) > 30
    assert np.sqrt(np.mean(deviation**2)) < 0.05
    assert 0.6 < np.sqrt(np.mean((deviation / sigma) ** 2)) < 1.5


def knotted(seed: int) -> np.ndarray:
    """Clouds (300, 300) with four hundred knots."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:300, :300]
    clouds = gaussian_filter(random.normal(size=x.shape), 15) * 600
    for at_x, at_y in random.uniform(5, 295, (400, 2)):
        width = np.hypot(x - at_x, y - at_y) / 1.8
        clouds += random.uniform(15, 40) * np.exp(-0.5 * width**2)
    return clouds


@pytest.mark.parametrize("seed", [1, 2])
def test_knots_of_a_nebula_make_no_psf(seed):
    """Hundreds of knots, wider than the stars and fainter, leave a dozen stars what they are."""
    field = star_field(12, (300, 300), 2.8, flux=(5e3, 2e4), separation=40)
    cloudy = replace(field, data=(field.data + knotted(seed)).astype(np.float32))
    found = []
    for threshold in (100.0, 5.0):
        options = SourceFinding(snr_threshold=threshold, brightest=None, bkg_boxsize=60, **LOOSE)
        sources = find_sources(cloudy.data, cloudy.err, fwhm=seen(2.8), options=options)
        found.append(errors(sources, cloudy)[0])
    assert len(found[0]) == len(found[1]) == 10
    few, many = (np.sqrt(np.mean(deviation**2)) for deviation in found)
    assert many < 1.2 * few


@pytest.mark.parametrize(("seed", "beside"), [(1, (1, 0)), (2, (-1, 1)), (3, (0, -2))])
def test_bad_pixels_in_the_few_stars_of_a_nebula_cost_pixels(seed, beside):
    """They still make the PSF: of knots alone, which are wider, it was that of no star."""
    field = star_field(4, (300, 300), 2.8, flux=(2e4, 3e4), seed=seed, separation=30)
    data = (field.data + knotted(seed)).astype(np.float32)
    bad = np.zeros(data.shape, bool)
    rows, columns = np.rint(field.y).astype(int), np.rint(field.x).astype(int)
    bad[rows + beside[1], columns + beside[0]] = True
    options = SourceFinding(snr_threshold=5.0, brightest=None, bkg_boxsize=60, **LOOSE)
    stated, places = [], []
    for flagged in (None, bad):
        sources = find_sources(data, field.err, flagged, fwhm=seen(2.8), options=options)
        found = np.stack([sources.xcentroid, sources.ycentroid], axis=1)
        away, star = cKDTree(found).query(np.stack([field.x, field.y], axis=1))
        assert away.max() < 0.5
        stated.append(np.hypot(sources.x_err[star], sources.y_err[star]))
        places.append(found[star])
    assert (stated[1] < 1.5 * stated[0]).all()
    assert (np.hypot(*(places[0] - places[1]).T) < 3 * stated[0]).all()
