"""The search as a whole: what goes in, what comes out, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from tests.core.starfield import StarField, diffraction, render, star_field
from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import declared
from webbalign.core.sources import (
    SourceFinding,
    SourceFlag,
    Sources,
    SourceStatus,
    find_sources,
)

FWHM = 1.6  # of the optics, px
SEEN = 1.68  # in pixels


@pytest.fixture(scope="module")
def field() -> StarField:
    return star_field(60, (256, 256), FWHM, flux=(600, 3e4), separation=15)


def matched(sources: Sources, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each position the distance to the nearest source, px."""
    found = np.stack([sources.xcentroid, sources.ycentroid], axis=1)
    return cKDTree(found).query(np.stack([x, y], axis=1))[0]


def strangers(sources: Sources, x: np.ndarray, y: np.ndarray) -> int:
    """Number of sources farther than 1 px from any position."""
    found = np.stack([sources.xcentroid, sources.ycentroid], axis=1)
    return int((cKDTree(np.stack([x, y], axis=1)).query(found)[0] > 1).sum())


def inner(field: StarField, border: float = 4) -> np.ndarray:
    ny, nx = field.data.shape
    return (
        (field.x > border)
        & (field.y > border)
        & (field.x < nx - 1 - border)
        & (field.y < ny - 1 - border)
    )


def test_options_are_those_of_the_document():
    want = {
        "starfinder": "iraf", "snr_threshold": 10.0, "kernel_fwhm": None, "bkg_boxsize": 400,
        "minsep_fwhm": 0.0, "sigma_radius": 2.5, "sharplo": 0.5, "sharphi": 2.0, "roundlo": 0.0,
        "roundhi": 0.2, "brightest": 200, "peakmax": None, "npixels": 10, "connectivity": 8,
        "nlevels": 32, "contrast": 0.001, "multithresh_mode": "exponential", "localbkg_width": 0,
        "apermask_method": "correct", "kron_params": None, "deblend": True, "centroid": "window",
    }  # fmt: skip
    assert {option.name: option.default for option in declared(SourceFinding)} == want


@pytest.mark.parametrize(
    "name, value",
    [
        ("starfinder", "sextractor"), ("bkg_boxsize", 0), ("brightest", 0), ("npixels", -1),
        ("connectivity", 6), ("contrast", 2), ("kernel_fwhm", 0), ("kron_params", (2.5, 1.4)),
        ("localbkg_width", -1), ("apermask_method", "no"), ("nlevels", 0), ("brightest", 1.5),
        ("sharplo", 3.0), ("roundlo", 0.3), ("minsep_fwhm", -1), ("snr_threshold", "nan"),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused_by_name(name, value):
    with pytest.raises(OptionError, match=f"'{name}'"):
        SourceFinding(**{name: value})


@pytest.mark.parametrize("starfinder", ["iraf", "dao", "segmentation"])
@pytest.mark.parametrize("centroid", ["window", "finder"])
def test_stars_are_found_by_every_finder(field, starfinder, centroid):
    options = SourceFinding(starfinder=starfinder, centroid=centroid, roundhi=0.5, npixels=5)
    sources = find_sources(field.data, field.err, fwhm=SEEN, options=options)
    assert sources.status is SourceStatus.OK
    here = inner(field)
    assert (matched(sources, field.x[here], field.y[here]) < 0.5).mean() > 0.95
    if centroid == "window":
        assert strangers(sources, field.x, field.y) == 0
    assert (np.diff(sources.flux) <= 0).all()
    assert (sources.x_err > 0).all()
    assert (sources.peak > 0).all()


def test_flux_is_that_of_the_star(field):
    sources = find_sources(field.data, field.err, fwhm=SEEN)
    index = cKDTree(np.stack([field.x, field.y], 1)).query(
        np.stack([sources.xcentroid, sources.ycentroid], 1)
    )[1]
    ratio = sources.flux / field.flux[index]
    # the family's shapes end at 2.3 FWHM, a star's light does not: one factor for all
    assert np.std(ratio) / np.mean(ratio) < 0.05
    assert 0.7 < np.mean(ratio) < 1.1


def test_brightest_come_first_and_alone(field):
    every = find_sources(field.data, field.err, fwhm=SEEN, options=SourceFinding(brightest=None))
    few = find_sources(field.data, field.err, fwhm=SEEN, options=SourceFinding(brightest=10))
    assert len(few) == 10
    assert np.allclose(few.xcentroid, every.xcentroid[:10], atol=0.01)


def test_peakmax_leaves_out_the_bright(field):
    limit = 1000.0
    sources = find_sources(field.data, field.err, fwhm=SEEN, options=SourceFinding(peakmax=limit))
    assert len(sources) > 0
    assert (sources.peak < limit).all()
    assert len(sources) < len(find_sources(field.data, field.err, fwhm=SEEN))


def test_minsep_keeps_sources_apart():
    psf = diffraction(FWHM)
    x, y = np.array([60.0, 65.0, 100.0]), np.array([60.0, 60.0, 100.0])
    image = render((160, 160), x, y, [2e4, 1.9e4, 2e4], psf)
    image += np.random.default_rng(0).normal(size=image.shape)
    assert len(find_sources(image, fwhm=SEEN)) == 3
    assert len(find_sources(image, fwhm=SEEN, options=SourceFinding(minsep_fwhm=5))) == 2


@pytest.mark.parametrize("value", [np.nan, 0.0, 3.5])
def test_a_frame_without_content_has_no_sources(value):
    sources = find_sources(np.full((64, 80), value, np.float32))
    assert len(sources) == 0
    empty = SourceStatus.NO_VALID_PIXELS if np.isnan(value) else SourceStatus.NO_SOURCES
    assert sources.status is empty


@pytest.mark.parametrize("starfinder", ["iraf", "dao", "segmentation"])
def test_noise_alone_and_bad_pixels_alone_have_no_sources(starfinder):
    noise = np.random.default_rng(1).normal(size=(128, 128)).astype(np.float32)
    options = SourceFinding(starfinder=starfinder)
    assert find_sources(noise, options=options).status is SourceStatus.NO_SOURCES
    everything = np.ones(noise.shape, bool)
    sources = find_sources(noise, bad=everything, options=options)
    assert sources.status is SourceStatus.NO_VALID_PIXELS


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (12, 12), (40, 7)])
def test_frames_of_any_size_are_searched(shape):
    data = np.random.default_rng(2).normal(size=shape)
    assert len(find_sources(data, np.ones(shape))) == 0


def test_one_star_alone_is_found():
    image = render((64, 64), [30.3], [33.8], [5e3], diffraction(FWHM))
    image += np.random.default_rng(0).normal(size=image.shape)
    sources = find_sources(image, np.sqrt(1 + image.clip(0) / 4), fwhm=SEEN)
    assert len(sources) == 1
    assert sources.xcentroid[0] == pytest.approx(30.3, abs=0.06)
    assert sources.ycentroid[0] == pytest.approx(33.8, abs=0.06)


def test_shapes_that_differ_are_an_error(field):
    with pytest.raises(InputError, match=r"err of shape \(3, 3\)"):
        find_sources(field.data, np.ones((3, 3)))
    with pytest.raises(InputError, match="image"):
        find_sources(np.zeros((2, 3, 4)))


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(0.01, 1e4), offset=st.floats(-100, 100))
def test_unit_and_background_do_not_matter(scale, offset):
    field = star_field(20, (128, 128), FWHM, flux=(1000, 3e4), separation=15)
    one = find_sources(field.data, field.err, fwhm=SEEN)
    data = (field.data.astype(np.float64) + offset) * scale
    other = find_sources(data, field.err * scale, fwhm=SEEN)
    assert len(one) == len(other)
    assert np.allclose(one.xcentroid, other.xcentroid, atol=2e-3)
    assert np.allclose(one.flux * scale, other.flux, rtol=1e-3)


def test_a_mask_of_nothing_changes_nothing(field):
    nothing = np.zeros(field.data.shape, bool)
    one = find_sources(field.data, field.err, fwhm=SEEN)
    other = find_sources(field.data, field.err, nothing, nothing, fwhm=SEEN)
    assert np.array_equal(one.xcentroid, other.xcentroid)
    assert np.array_equal(one.flags, other.flags)


def test_bad_pixels_cost_few_stars_and_no_accuracy(field):
    random = np.random.default_rng(3)
    bad = random.uniform(size=field.data.shape) < 0.02
    data = np.where(bad, random.choice([np.nan, 1e5, -1e4], field.data.shape), field.data)
    sources = find_sources(data, field.err, bad, fwhm=SEEN)
    here = inner(field)
    distance = matched(sources, field.x[here], field.y[here])
    assert (distance < 0.5).mean() > 0.85
    # with what coma moves all stars by
    assert np.sqrt(np.mean(distance[distance < 0.5] ** 2)) < 0.06
    assert strangers(sources, field.x, field.y) == 0
    assert (sources.flags & SourceFlag.BAD_PIXELS).any()


def test_saturated_stars_are_refused_with_their_rims_and_spikes():
    psf = diffraction(FWHM, size=161, wavelengths=21)
    random = np.random.default_rng(5)
    x, y = random.uniform(8, 392, (2, 60))
    flux = np.exp(random.uniform(np.log(1e3), np.log(3e4), 60))
    burnt = np.array([[100.2, 120.7, 6e6], [300.4, 250.1, 1.5e6], [220.0, 60.5, 5e5]])
    image = render((400, 400), [*x, *burnt[:, 0]], [*y, *burnt[:, 1]], [*flux, *burnt[:, 2]], psf)
    saturated = image > 3e4
    err = np.sqrt(1 + image / 4)
    data = image + err * random.normal(size=image.shape)
    data[saturated] = np.nan
    for mask in (saturated, None):
        options = SourceFinding(brightest=None)
        sources = find_sources(data, err, saturated, mask, fwhm=SEEN, options=options)
        assert strangers(sources, x, y) == 0
        far = np.hypot(x[:, None] - burnt[:, 0], y[:, None] - burnt[:, 1]).min(axis=1) > 60
        assert (matched(sources, x[far], y[far]) < 0.5).mean() > 0.8


def test_saturated_pixels_that_hold_a_value_are_told(field):
    bright = int(np.argmax(np.where(inner(field), field.flux, 0)))
    saturated = np.zeros(field.data.shape, bool)
    saturated[round(field.y[bright]), round(field.x[bright])] = True
    sources = find_sources(field.data, field.err, None, saturated, fwhm=SEEN)
    flagged = (sources.flags & SourceFlag.SATURATED) > 0
    assert flagged.sum() == 1
    assert sources.x_err[flagged] >= 0.1
    assert abs(sources.xcentroid[flagged] - field.x[bright]) < 0.1


def test_cosmic_rays_and_hot_pixels_are_no_stars(field):
    random = np.random.default_rng(6)
    data = field.data.copy()
    rows, columns = random.integers(5, 250, (2, 150))
    for row, column, length in zip(rows, columns, random.integers(1, 4, 150), strict=True):
        for step in range(length):
            data[row, column + step] += random.uniform(30, 3000)
    sources = find_sources(data, field.err, fwhm=SEEN, options=SourceFinding(brightest=None))
    assert strangers(sources, field.x, field.y) <= 2
    here = inner(field)
    assert (matched(sources, field.x[here], field.y[here]) < 0.5).mean() > 0.85


def test_galaxies_give_way_to_stars(field):
    y, x = np.mgrid[:256, :256]
    data = field.data.copy()
    centres = np.random.default_rng(7).uniform(20, 236, (12, 2))
    for cx, cy in centres:
        data += 200 * np.exp(-np.hypot(x - cx, y - cy) / 2.5)
    sources = find_sources(data, field.err, fwhm=SEEN, options=SourceFinding(brightest=20))
    distance = cKDTree(np.stack([field.x, field.y], 1)).query(
        np.stack([sources.xcentroid, sources.ycentroid], 1)
    )[0]
    assert (distance < 1).mean() > 0.9
    every = find_sources(data, field.err, fwhm=SEEN)
    extended = (every.flags & SourceFlag.EXTENDED) > 0
    assert extended.any()
    assert np.median(every.x_err[extended]) > np.median(every.x_err[~extended])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    patch=st.sampled_from([np.nan, np.inf, 0.0, 1e8]),
    starfinder=st.sampled_from(["iraf", "dao", "segmentation"]),
    threshold=st.sampled_from([1.0, 3.0, 10.0]),
)
def test_whatever_the_frame_holds_the_sources_are_sound(seed, shape, patch, starfinder, threshold):
    random = np.random.default_rng(seed)
    data = random.normal(size=shape) * 10.0 ** random.integers(-6, 6)
    data[shape[0] // 3 : shape[0] // 2, shape[1] // 3 :] = patch
    data[random.integers(0, shape[0]), random.integers(0, shape[1])] = 1e3
    err = random.choice([0.0, 1.0, -1.0, np.nan], shape)
    options = SourceFinding(
        starfinder=starfinder, snr_threshold=threshold, npixels=1, sharplo=-9, roundhi=9
    )
    sources = find_sources(data, err, random.uniform(size=shape) < 0.1, options=options)
    assert (sources.status is SourceStatus.OK) == (len(sources) > 0)
    assert np.isfinite(sources.xcentroid).all()
    assert np.isfinite(sources.y_err).all()
    assert (sources.x_err > 0).all()
    assert (np.abs(sources.xcentroid - shape[1] / 2) <= shape[1] / 2 + 3).all()
