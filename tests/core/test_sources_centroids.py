"""Positions of undersampled stars against their truth: bias with the pixel phase, noise, errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, spline_filter
from scipy.spatial import cKDTree

from tests.core.starfield import OVERSAMPLING, StarField, diffraction, star_field
from webbalign.core.sources import SourceFinding, Sources, find_sources

LOOSE = {"sharplo": 0.2, "sharphi": 4.0, "roundhi": 1.0}


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


def limit(psf: np.ndarray, dx: float, dy: float, flux: float, gain: float) -> np.ndarray:
    """Cramer-Rao limit of (x, y), px, of a star whose flux is fitted too, for a noise of 1."""
    middle, side = psf.shape[0] // 2, np.arange(-8, 9)
    spline = spline_filter(psf, order=5, mode="constant")

    def image(dx: float, dy: float) -> np.ndarray:
        where = [(side - d) * OVERSAMPLING + middle for d in (dy, dx)]
        grid = np.meshgrid(*where, indexing="ij")
        return map_coordinates(spline, grid, order=5, prefilter=False).ravel()

    step = 0.01
    shape = image(dx, dy)
    along_x = (image(dx + step, dy) - image(dx - step, dy)) / (2 * step)
    along_y = (image(dx, dy + step) - image(dx, dy - step)) / (2 * step)
    design = np.stack([shape, flux * along_x, flux * along_y], axis=1)
    weight = 1 / (1 + flux * np.maximum(shape, 0) / gain)
    return np.sqrt(np.diag(np.linalg.inv(design.T @ (design * weight[:, None])))[1:])


@pytest.mark.parametrize("fwhm", [1.0, 1.6, 2.2, 3.5])
@pytest.mark.parametrize("aberration", [0.0, 0.06])
def test_positions_do_not_move_with_the_pixel_phase(fwhm, aberration):
    psf = diffraction(fwhm, error=aberration)
    field = star_field(150, (400, 400), fwhm, flux=(5e4, 1e5), separation=22, psf=psf, noise=0.1,
                       gain=1e6)  # fmt: skip
    sources = find_sources(field.data, field.err, fwhm=fwhm, options=SourceFinding(**LOOSE))
    deviation, _, _ = errors(sources, field)
    assert len(deviation) > 70
    assert np.sqrt(np.mean(deviation**2)) < 0.005
    assert np.quantile(np.abs(deviation), 0.98) < 0.01


def test_the_finders_move_with_the_pixel_phase():
    """Otherwise the test above would show nothing."""
    field = star_field(150, (400, 400), 1.6, flux=(5e4, 1e5), separation=22, noise=0.1, gain=1e6)
    options = SourceFinding(centroid="finder", **LOOSE)
    deviation, _, _ = errors(find_sources(field.data, field.err, fwhm=1.6, options=options), field)
    assert np.sqrt(np.mean(deviation**2)) > 0.01


@pytest.mark.parametrize("fwhm", [1.3, 1.6, 2.5])
def test_noise_is_near_the_limit_and_quoted_honestly(fwhm):
    psf = diffraction(fwhm)
    ratio, pull = [], []
    for seed in range(2):
        field = star_field(150, (400, 400), fwhm, seed, (500, 3e4), separation=20, psf=psf)
        sources = find_sources(field.data, field.err, fwhm=fwhm, options=SourceFinding(**LOOSE))
        deviation, sigma, index = errors(sources, field)
        phase = np.stack([field.x, field.y], axis=1)[index]
        phase = phase - np.rint(phase)
        best = [limit(psf, *p, f, 4.0) for p, f in zip(phase, field.flux[index], strict=True)]
        ratio.append(deviation / best)
        pull.append(deviation / sigma)
    assert np.sqrt(np.mean(np.concatenate(ratio) ** 2)) < 1.2
    assert 0.8 < np.sqrt(np.mean(np.concatenate(pull) ** 2)) < 1.25


@pytest.mark.parametrize("centroid", ["window", "finder"])
@pytest.mark.parametrize("n", [3, 8])
def test_few_stars_have_honest_errors_too(centroid, n):
    pulls = []
    for seed in range(12):
        field = star_field(n, (128, 128), 1.6, seed, (500, 5e3), separation=25)
        options = SourceFinding(centroid=centroid, **LOOSE)
        sources = find_sources(field.data, field.err, fwhm=1.6, options=options)
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
    assert sources.fwhm == pytest.approx(1.6, rel=0.12)


def test_without_errors_the_sky_stands_for_them():
    field = star_field(100, (300, 300), 1.6, flux=(500, 5e3), gain=1e6, separation=20)
    sources = find_sources(field.data, fwhm=1.6, options=SourceFinding(**LOOSE))
    deviation, sigma, _ = errors(sources, field)
    assert 0.8 < np.sqrt(np.mean((deviation / sigma) ** 2)) < 1.25


def test_neighbours_are_taken_into_account():
    psf = diffraction(1.6)
    alone = star_field(120, (300, 300), 1.6, flux=(3e3, 2e4), separation=14, psf=psf)
    crowded = star_field(600, (300, 300), 1.6, flux=(3e3, 2e4), separation=4.5, psf=psf)
    rms = [
        np.median(np.abs(errors(find_sources(f.data, f.err, fwhm=1.6,
                         options=SourceFinding(brightest=None, **LOOSE)), f)[0]))
        for f in (alone, crowded)
    ]  # fmt: skip
    assert rms[1] < 3 * rms[0]
