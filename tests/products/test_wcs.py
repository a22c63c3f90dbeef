"""Pixel maps, star positions and header keywords agree with the GWCS."""

from __future__ import annotations

from pathlib import Path

import gwcs
import numpy as np
import pytest
from astropy import coordinates, units
from astropy.modeling.models import (
    AffineTransformation2D,
    Mapping,
    Polynomial2D,
    RotationSequence3D,
    Scale,
    Shift,
)
from astropy.wcs import WCS
from gwcs import coordinate_frames
from gwcs.geometry import CartesianToSpherical, SphericalToCartesian

from webbalign.core.coaddition import split_integrations
from webbalign.core.drizzling import Exposure
from webbalign.core.errors import InputError
from webbalign.core.resample import Resample, resample
from webbalign.products import wcs as wcs_module
from webbalign.products.sphere import to_plane
from webbalign.products.wcs import (
    combined_s_region,
    fits_wcs_keywords,
    header_error,
    output_grid,
    output_wcs,
    pixel_map,
    recentre_on_star,
    s_region,
    set_output_keywords,
    sky_position,
    star_pixel,
    update_fits_header_wcs,
)

SHAPE = (96, 100)
STAR = (47.3, 51.8)
AUMIC = Path(__file__).parents[3] / "shared" / "data" / "winnie_aumic_f356w"


def wcs_info(roll=63.0, ra=311.29, dec=-31.34):
    return {
        "v2_ref": 107.3, "v3_ref": -405.1, "roll_ref": roll, "ra_ref": ra, "dec_ref": dec,
        "v3yangle": 0.05, "vparity": -1, "crpix1": STAR[0] + 1, "crpix2": STAR[1] + 1,
    }  # fmt: skip


def telescope_wcs(info, distortion=2e-5, box=None):
    """A GWCS with the frames of JWST; `distortion` in pixels per pixel squared."""
    detector = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    v2v3 = coordinate_frames.Frame2D(name="v2v3", unit=(units.arcsec, units.arcsec))
    world = coordinate_frames.CelestialFrame(
        name="world", reference_frame=coordinates.ICRS(), unit=(units.deg, units.deg)
    )
    to_centre = Shift(-STAR[0]) & Shift(-STAR[1])
    bend = Polynomial2D(2, c1_0=1, c2_0=distortion, c1_1=-distortion / 2)
    bend &= Polynomial2D(2, c0_1=1, c0_2=distortion / 3, c1_1=distortion)
    # V2 runs against x: the parity of the instruments is -1
    to_v2v3 = AffineTransformation2D(
        [[-0.063, 0], [0, 0.063]], translation=[info["v2_ref"], info["v3_ref"]]
    )
    angles = [info["v2_ref"] / 3600, -info["v3_ref"] / 3600, info["roll_ref"]]
    to_sky = (
        Scale(1 / 3600) & Scale(1 / 3600)
        | SphericalToCartesian(wrap_lon_at=180)
        | RotationSequence3D([*angles, info["dec_ref"], -info["ra_ref"]], "zyxyz")
        | CartesianToSpherical(wrap_lon_at=360)
    )
    to_plane_of_v2v3 = to_centre | Mapping((0, 1, 0, 1)) | bend | to_v2v3
    inverse = to_v2v3.inverse | to_centre.inverse
    # as in the real files the inverse is an approximation: here it leaves the distortion out
    to_plane_of_v2v3.inverse = inverse
    wcs = gwcs.WCS([(detector, to_plane_of_v2v3), (v2v3, to_sky), (world, None)])
    wcs.bounding_box = box or ((-0.5, SHAPE[1] - 0.5), (-0.5, SHAPE[0] - 0.5))
    return wcs


def rolls():
    infos = [wcs_info(), wcs_info(roll=73.0, ra=311.29003, dec=-31.34002)]
    return [telescope_wcs(info) for info in infos], infos


def exact_map(wcs, grid_wcs, shape=SHAPE):
    y, x = np.indices(shape, dtype=float)
    sky = wcs(x, y, with_bounding_box=False)
    return np.stack(grid_wcs.invert(*sky, with_bounding_box=False), axis=-1)


def test_pixel_map_is_exact():
    (wcs, _), (info, _) = rolls()
    grid = output_wcs([wcs], [SHAPE], wcsinfo=info)
    np.testing.assert_allclose(pixel_map(wcs, grid, SHAPE), exact_map(wcs, grid), rtol=0, atol=2e-6)


def test_pixel_map_notices_a_map_that_no_polynomial_follows(monkeypatch):
    (wcs, _), _ = rolls()
    grid = output_wcs([wcs], [SHAPE])
    smooth = wcs_module._exact

    def kinked(input_wcs, target, x, y):
        return smooth(input_wcs, target, x, y) + 0.2 * np.abs(x - 40.2)[..., None]

    monkeypatch.setattr(wcs_module, "_exact", kinked)
    y, x = np.indices(SHAPE, dtype=float)
    np.testing.assert_allclose(pixel_map(wcs, grid, SHAPE), kinked(wcs, grid, x, y), atol=1e-9)


@pytest.mark.parametrize("order, tolerance", [(1, 0.01), (3, 1e-4)])
def test_pixel_map_by_splines(order, tolerance):
    (wcs, _), _ = rolls()
    grid = output_wcs([wcs], [SHAPE])
    error = pixel_map(wcs, grid, SHAPE, stepsize=10, order=order) - exact_map(wcs, grid)
    assert 0 < np.abs(error).max() < tolerance


@pytest.mark.parametrize("stepsize", [1, 5])
def test_pixel_map_ends_at_the_bounding_box(stepsize):
    wcs = telescope_wcs(wcs_info(), box=((12.5, 90.5), (6.5, 80.2)))
    grid = output_wcs([wcs], [SHAPE])
    pixmap = pixel_map(wcs, grid, SHAPE, stepsize=stepsize)
    inside = np.zeros(SHAPE, dtype=bool)
    inside[7:81, 13:91] = True
    np.testing.assert_array_equal(np.isfinite(pixmap).all(axis=-1), inside)
    np.testing.assert_array_equal(np.isfinite(pixmap).any(axis=-1), inside)
    # the grid was laid over the bounding box: all of its flux arrives
    result = resample(
        [Exposure(split_integrations(np.ones(SHAPE)), pixmap)], grid.array_shape, Resample()
    )
    assert result.weight.sum() == pytest.approx(inside.sum(), rel=1e-4)


def test_bounding_box_beyond_the_image_gives_nothing():
    wcs = telescope_wcs(wcs_info(), box=((300, 310), (300, 310)))
    grid = output_wcs([telescope_wcs(wcs_info())], [SHAPE])
    assert np.isnan(pixel_map(wcs, grid, SHAPE)).all()


@pytest.mark.parametrize("frames", ["telescope", "unknown pointing"])
def test_recentring_brings_the_star_home_and_nothing_else(frames):
    (first, second), (_, info) = rolls()
    target = sky_position(first, STAR)
    moved = recentre_on_star(second, STAR, target, info if frames == "telescope" else None)
    np.testing.assert_allclose(to_plane([sky_position(moved, STAR)], target), 0, atol=1e-11)
    y, x = np.indices(SHAPE)
    before, after = (
        to_plane(np.stack(wcs(x.ravel(), y.ravel()), axis=-1), target) for wcs in (second, moved)
    )
    shift = (after - before) * 3600 / 0.063
    assert np.hypot(*shift.mean(axis=0)) > 1  # px; otherwise this tests nothing
    # a pixel shift drags the distortion along
    assert np.ptp(shift, axis=0).max() < (1e-6 if frames == "telescope" else 0.02)
    assert moved.bounding_box.bounding_box(order="F") == ((-0.5, 99.5), (-0.5, 95.5))
    assert second.available_frames == ["detector", "v2v3", "world"]
    assert ("v2v3corr" in moved.available_frames) == (frames == "telescope")


def test_recentring_twice_is_recentring_once():
    (first, second), (_, info) = rolls()
    target = sky_position(first, STAR)
    astray = recentre_on_star(second, STAR, (311.2902, -31.34), info)
    moved = recentre_on_star(astray, STAR, target, info)
    np.testing.assert_allclose(to_plane([sky_position(moved, STAR)], target), 0, atol=1e-11)


def test_star_pixel():
    assert star_pixel(None, wcs_info()) == pytest.approx(STAR)
    assert star_pixel((3, 4), {}) == (3.0, 4.0)
    with pytest.raises(InputError, match=r"no CRPIX.* - a_calints\.fits - "):
        star_pixel(None, {}, "a_calints.fits")


def test_output_keywords_agree_with_the_grid():
    wcs_list, infos = rolls()
    grid = output_grid(wcs_list, [SHAPE] * 2, Resample(rotation=17.0), wcsinfo=infos[0])
    keywords = fits_wcs_keywords(grid.wcs)
    assert header_error(grid.wcs, keywords, grid.shape) < 1e-6
    assert keywords["ctype1"] == "RA---TAN"
    assert keywords["radesys"] == "ICRS"
    sky = WCS({key.upper(): value for key, value in keywords.items()}).all_pix2world(7, 8, 0)
    np.testing.assert_allclose(to_plane([sky], grid.wcs(7, 8)), 0, atol=1e-11)


def test_keywords_of_a_grid_that_is_no_plain_tangent_plane():
    wcs = telescope_wcs(wcs_info(), distortion=0)
    wcs.array_shape = SHAPE
    assert header_error(wcs, fits_wcs_keywords(wcs), SHAPE) < 0.01


def test_header_error_measures_pixels():
    (wcs, _), _ = rolls()
    grid = output_grid([wcs], [SHAPE])
    keywords = fits_wcs_keywords(grid.wcs)
    keywords["crpix1"] += 0.3
    keywords["crpix2"] -= 0.4
    assert header_error(grid.wcs, keywords, grid.shape) == pytest.approx(0.5, rel=1e-3)
    assert header_error(grid.wcs, {}, grid.shape) == np.inf


class Model:
    """What the functions below need of a data model."""

    class _Node:
        def __init__(self, **values):
            self.__dict__.update(values)

        @property
        def instance(self):
            return self.__dict__

    def __init__(self, wcs, info):
        self.data = np.zeros(SHAPE)
        self.meta = self._Node(wcs=wcs, wcsinfo=self._Node(**info))


def test_update_of_an_exposure_header():
    (wcs, _), (info, _) = rolls()
    stale = {"a_0_2": 1.0, "cd1_1": 2.0, "pc1_1": 1.0, "cdelt1": 1.0, "s_region": "old"}
    model = Model(wcs, {**info, **stale})
    assert update_fits_header_wcs(model) < 0.01
    keywords = dict(model.meta.wcsinfo.instance)
    assert header_error(wcs, keywords, SHAPE) < 0.01
    assert keywords["ctype1"] == "RA---TAN-SIP"
    # the star stays where CRPIX says it is
    assert star_pixel(None, keywords) == pytest.approx(STAR)
    assert keywords["v2_ref"] == info["v2_ref"]
    assert keywords["s_region"] == s_region(wcs, SHAPE)
    assert "pc1_1" not in keywords
    assert update_fits_header_wcs(model) < 0.01
    assert dict(model.meta.wcsinfo.instance) == keywords


def test_output_header_loses_what_belongs_to_the_detector():
    wcs_list, infos = rolls()
    grid = output_grid(wcs_list, [SHAPE] * 2, wcsinfo=infos[0])
    model = Model(grid.wcs, {**infos[0], "a_0_2": 1.0, "cd1_1": 2.0, "velosys": 5.0})
    set_output_keywords(model)
    keywords = model.meta.wcsinfo.instance
    assert not {"a_0_2", "cd1_1", "v2_ref", "roll_ref", "ra_ref", "vparity"} & set(keywords)
    assert keywords["velosys"] == 5.0
    assert header_error(grid.wcs, keywords, grid.shape) < 1e-6


def test_combined_s_region_holds_all_corners():
    wcs_list, _ = rolls()
    text = combined_s_region(wcs_list, [SHAPE] * 2)
    hull = np.array(text.split()[2:], dtype=float).reshape(-1, 2)
    assert 4 <= len(hull) <= 8
    corners = [np.array(s_region(wcs, SHAPE).split()[2:], float).reshape(-1, 2) for wcs in wcs_list]
    inner, outline = (to_plane(part, hull[0]) for part in (np.vstack(corners), hull))
    edges = np.roll(outline, -1, axis=0) - outline
    from_start = inner[:, None] - outline[None]
    side = edges[:, 0] * from_start[..., 1] - edges[:, 1] * from_start[..., 0]
    side *= np.sign(side.sum())
    assert side.min() > -1e-14


def pixel_of(wcs, sky, start):
    """Where a sky position lies on the detector, by Newton steps on the forward transform."""
    place = np.array(start, dtype=float)
    for _ in range(20):
        x, y = place
        points = np.array(wcs([x, x + 1, x], [y, y, y + 1], with_bounding_box=False)).T
        plane = to_plane(points, sky)
        place -= np.linalg.solve((plane[1:] - plane[0]).T, plane[0])
    return place


def centroid(image, guess, sigma=1.4):
    """Centre of a blob with a Gaussian window, iterated."""
    y, x = np.indices(image.shape)
    place = np.array(guess, dtype=float)
    for _ in range(30):
        window = image * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2))
        centre = np.array([(window * x).sum(), (window * y).sum()]) / window.sum()
        # the window pulls half of the way back to the guess for a blob of its own width
        place += 2 * (centre - place)
    return place


def companion_error(wcs_list, infos, shape, offset, options, start):
    """Distance in px between where a companion should be in the i2d and where it is."""
    grid = output_grid(wcs_list, [shape] * len(wcs_list), options, wcsinfo=infos[0])
    star = sky_position(wcs_list[0], start)
    sky = np.array(star) + np.array(offset) / 3600
    y, x = np.indices(shape)
    exposures = []
    for wcs in wcs_list:
        place = pixel_of(wcs, sky, start)
        blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 1.4**2))
        pixmap = pixel_map(wcs, grid.wcs, shape)
        exposures.append(Exposure(split_integrations(blob), pixmap))
    image = resample(exposures, grid.shape, options, pixel_scale_ratio=grid.pixel_scale_ratio).data
    expected = np.array(grid.wcs.invert(*sky, with_bounding_box=False))
    return np.hypot(*(centroid(np.nan_to_num(image), expected) - expected))


@pytest.mark.parametrize("options", [Resample(), Resample(rotation=None, pixel_scale_ratio=0.7)])
def test_companion_injected_on_the_sky_is_found_there(options):
    wcs_list, infos = rolls()
    assert companion_error(wcs_list, infos, SHAPE, (0.9, 0.7), options, STAR) < 0.03


@pytest.fixture(scope="module")
def au_mic():
    if not AUMIC.is_dir():
        pytest.skip("the folder of real AU Mic exposures is not there")
    from stdatamodels.jwst import datamodels

    names = [f"jw0118400{roll}001_03107_00001_nrcalong_calints.fits.gz" for roll in (1, 2)]
    models = [datamodels.open(AUMIC / name) for name in names]
    yield models
    for model in models:
        model.close()


def test_real_rolls(au_mic):
    wcs_list = [model.meta.wcs for model in au_mic]
    infos = [dict(model.meta.wcsinfo.instance) for model in au_mic]
    shape = (320, 320)
    grid = output_grid(wcs_list, [shape] * 2, wcsinfo=infos[0])
    for wcs in wcs_list:
        error = pixel_map(wcs, grid.wcs, shape) - exact_map(wcs, grid.wcs, shape)
        assert np.abs(error).max() < 1e-6
    stars = [sky_position(wcs, star_pixel(None, infos[0])) for wcs in wcs_list]
    apart = to_plane(stars[1:], stars[0])[0] * 3600
    assert np.hypot(*apart) == pytest.approx(0.105, abs=0.002)
    wcs_list[1] = recentre_on_star(wcs_list[1], (150, 174), stars[0], infos[1])
    np.testing.assert_allclose(
        to_plane([sky_position(wcs_list[1], (150, 174))], stars[0]), 0, atol=1e-11
    )
    assert companion_error(wcs_list, infos, shape, (0.6, 0.5), Resample(), (150, 174)) < 0.03


def test_header_of_a_real_product_agrees_after_saving(au_mic, tmp_path):
    model = au_mic[1].copy()
    # the authors of these files moved CRPIX onto the star and left the GWCS as it was
    assert header_error(model.meta.wcs, model.meta.wcsinfo.instance, model.data.shape) > 1
    assert update_fits_header_wcs(model) < 0.01
    model.save(tmp_path / "x_psfsub.fits")
    from stdatamodels.jwst import datamodels

    with datamodels.open(tmp_path / "x_psfsub.fits") as saved:
        info = saved.meta.wcsinfo.instance
        assert header_error(saved.meta.wcs, info, saved.data.shape) < 0.01
        assert star_pixel(None, info) == (150.0, 174.0)
