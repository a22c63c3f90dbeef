"""The parts of the search: the sky, and detection against photutils run on the whole frame."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.starfield import StarField, star_field
from webbalign.core._background import measure_sky
from webbalign.core._detection import make_frame
from webbalign.core._finders import find_stars, kernel_radius
from webbalign.core._segmentation import find_segments
from webbalign.core.sources import SourceFinding

FWHM = 1.6


@pytest.fixture(scope="module")
def field() -> StarField:
    return star_field(120, (300, 280), FWHM, flux=(100, 3e4), seed=4)


def searched(field: StarField, options: SourceFinding):
    good = np.isfinite(field.data)
    sky = measure_sky(field.data, good, options.bkg_boxsize)
    frame = make_frame(field.data, good, sky, 2 * kernel_radius(FWHM, options.sigma_radius) + 8)
    found = find_stars(frame, FWHM, options)
    return frame, found[found.allowed]


def photutils_on_everything(frame, options: SourceFinding, threshold: float):
    from photutils.detection import DAOStarFinder, IRAFStarFinder

    finder = {"iraf": IRAFStarFinder, "dao": DAOStarFinder}[options.starfinder]
    inside = frame.image[frame.margin : -frame.margin, frame.margin : -frame.margin]
    return finder(
        threshold,
        FWHM,
        sigma_radius=options.sigma_radius,
        min_separation=max(2, int(options.minsep_fwhm * FWHM + 0.5)),
        sharpness_range=(options.sharplo, options.sharphi),
        roundness_range=(options.roundlo, options.roundhi),
    )(inside.astype(np.float64))


@pytest.mark.parametrize("starfinder, roundlo", [("iraf", 0.0), ("dao", -0.5)])
@pytest.mark.parametrize("minsep", [0.0, 4.0])
@pytest.mark.parametrize("snr", [5.0, 30.0])
@pytest.mark.parametrize("sigma_radius", [1.5, 4.0])
def test_finders_see_what_photutils_sees(field, starfinder, roundlo, minsep, snr, sigma_radius):
    # one box, so that the threshold is one number in both
    options = SourceFinding(
        starfinder=starfinder, roundlo=roundlo, roundhi=0.5, minsep_fwhm=minsep, snr_threshold=snr,
        bkg_boxsize=1000, sigma_radius=sigma_radius,
    )  # fmt: skip
    frame, found = searched(field, options)
    table = photutils_on_everything(frame, options, snr * frame.sky.noise)
    assert len(found.x) == len(table) > 20
    mine, theirs = (
        np.lexsort((found.x, found.y)),
        np.lexsort((table["x_centroid"], table["y_centroid"])),
    )
    for name, column in (
        ("x", "x_centroid"), ("y", "y_centroid"), ("flux", "flux"), ("peak", "peak"),
        ("sharpness", "sharpness"),
    ):  # fmt: skip
        assert np.allclose(getattr(found, name)[mine], table[column][theirs], rtol=1e-4, atol=1e-4)


def test_dao_keeps_round_stars_of_either_sign(field):
    """The documented limits 0 and 0.2 are IRAF's; DAO's roundness has a sign."""
    _, found = searched(field, SourceFinding(starfinder="dao"))
    assert (found.roundness < 0).any()
    assert (found.roundness > 0).any()
    assert (np.abs(found.roundness) <= 0.2).all()
    _, signed = searched(field, SourceFinding(starfinder="dao", roundlo=-1, roundhi=0))
    assert len(signed.x)
    assert (signed.roundness <= 0).all()


def test_nebulosity_is_searched_as_well_as_an_empty_frame(field):
    """There the filter works on the whole frame, elsewhere only on what is bright."""
    y, x = np.mgrid[:300, :280]
    hill = 400 * np.exp(-((x - 140) ** 2 + (y - 150) ** 2) / (2 * 60**2))
    options = SourceFinding(bkg_boxsize=1000)
    bright = StarField(**{**vars(field), "data": (field.data + hill).astype(np.float32)})
    frame, found = searched(bright, options)
    table = photutils_on_everything(frame, options, 10 * frame.sky.noise)
    assert len(found.x) == len(table) > 20


def test_sky_and_its_noise_are_measured():
    random = np.random.default_rng(0)
    y, x = np.mgrid[:600, :500]
    data = 5 + 0.01 * x + 0.004 * y + random.normal(scale=2.0, size=x.shape)
    stars = random.uniform(size=data.shape) < 0.003
    data[stars] += 500
    good = random.uniform(size=data.shape) > 0.1
    data[~good] = np.nan
    sky = measure_sky(data, good, 100)
    assert sky.noise == pytest.approx(2.0, rel=0.03)
    level = sky.rows(sky.level, 0, 600, 500)
    truth = 5 + 0.01 * x + 0.004 * y
    assert np.abs(level - truth)[50:-50, 50:-50].max() < 0.5
    assert np.abs(level - truth).max() < 1.2


def test_the_clipped_sky_is_that_of_astropy():
    from astropy.stats import sigma_clipped_stats

    random = np.random.default_rng(1)
    data = random.normal(3.0, 1.5, (120, 130))
    data[random.uniform(size=data.shape) < 0.05] += 20
    sky = measure_sky(data, np.ones(data.shape, bool), 200)
    _, median, scatter = sigma_clipped_stats(data, sigma=3.0, maxiters=10)
    assert sky.level[0, 0] == pytest.approx(median, abs=1e-9)
    assert sky.scatter[0, 0] == pytest.approx(scatter, rel=1e-9)


def test_boxes_without_pixels_take_their_neighbours():
    data = np.random.default_rng(2).normal(7.0, 1.0, (300, 300))
    good = np.ones(data.shape, bool)
    good[:100, :100] = False
    sky = measure_sky(data, good, 100)
    assert np.isfinite(sky.level).all()
    assert sky.level[0, 0] == pytest.approx(7.0, abs=0.1)
    assert measure_sky(data, np.zeros(data.shape, bool), 100) is None


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("contrast", [0.0, 0.01])
def test_segments_are_those_of_photutils(connectivity, contrast):
    from photutils.segmentation import SourceCatalog, SourceFinder
    from scipy.ndimage import gaussian_filter

    crowded = star_field(250, (200, 200), FWHM, flux=(100, 1e4), seed=5)
    options = SourceFinding(
        starfinder="segmentation", npixels=4, connectivity=connectivity, contrast=contrast,
        bkg_boxsize=1000,
    )  # fmt: skip
    good = np.isfinite(crowded.data)
    frame = make_frame(crowded.data, good, measure_sky(crowded.data, good, 1000), 10)
    found = find_segments(frame, FWHM, options)
    smooth = gaussian_filter(frame.image[10:-10, 10:-10], FWHM / 2.3548, mode="constant")
    finder = SourceFinder(4, connectivity=connectivity, contrast=contrast, progress_bar=False)
    catalog = SourceCatalog(
        frame.image[10:-10, 10:-10],
        finder(smooth, 10 * frame.sky.noise * np.ones(smooth.shape, np.float32)),
        convolved_data=smooth,
    )
    assert len(found.x) == catalog.n_labels > 100
    assert np.allclose(np.sort(found.x), np.sort(catalog.x_centroid), atol=1e-3)
    assert np.allclose(np.sort(found.flux), np.sort(catalog.segment_flux), rtol=1e-3)
