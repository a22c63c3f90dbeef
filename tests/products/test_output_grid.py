"""The output grid covers what it should, where and how the options say."""

from __future__ import annotations

import asdf
import gwcs
import numpy as np
import pytest
from astropy import coordinates, units
from astropy.modeling.models import Pix2Sky_TAN
from gwcs import coordinate_frames
from gwcs.fitswcs import FITSImagingWCSTransform

from webbalign.core.errors import InputError
from webbalign.core.resample import Resample
from webbalign.products.sphere import mean_pixel_area, sky_boundary, to_plane
from webbalign.products.wcs import output_grid, output_wcs, pixel_map, s_region

SHAPE = (48, 40)
SCALE = 0.06 / 3600


def tangent_wcs(angle=20.0, crval=(150.0, 40.0), shape=SHAPE, scale=SCALE, crpix=None):
    """A tangent-plane GWCS whose y axis has the position angle `angle` (degrees)."""
    detector = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    world = coordinate_frames.CelestialFrame(
        name="world", reference_frame=coordinates.ICRS(), unit=(units.deg, units.deg)
    )
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    transform = FITSImagingWCSTransform(
        Pix2Sky_TAN(),
        crpix=crpix or [(shape[1] - 1) / 2, (shape[0] - 1) / 2],
        crval=list(crval),
        cdelt=[scale, scale],
        pc=[[-cosine, sine], [sine, cosine]],
    )
    wcs = gwcs.WCS([(detector, transform), (world, None)])
    wcs.bounding_box = ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
    wcs.array_shape = shape
    return wcs


def pair():
    return [tangent_wcs(20.0), tangent_wcs(31.0, (150.0002, 40.0001))]


def position_angle(wcs):
    """Of the y axis at the reference pixel (elsewhere the meridians converge), in degrees."""
    x, y = wcs.forward_transform.crpix.value
    sky = np.array(wcs(np.array([x, x]), np.array([y, y + 1]), with_bounding_box=False)).T
    east, north = to_plane(sky[1:], sky[0])[0]
    return np.degrees(np.arctan2(east, north))


def test_every_pixel_of_every_exposure_lies_on_the_grid():
    grid = output_grid(pair(), [SHAPE] * 2)
    edges = [sky_boundary(wcs, SHAPE, per_edge=8) for wcs in pair()]
    x, y = np.hstack([grid.wcs.invert(*edge.T, with_bounding_box=False) for edge in edges])
    assert min(x.min(), y.min()) == pytest.approx(-0.5, abs=1e-6)
    assert -1e-6 < grid.shape[1] - 0.5 - x.max() < 1
    assert -1e-6 < grid.shape[0] - 0.5 - y.max() < 1
    assert grid.wcs.array_shape == grid.shape
    assert grid.wcs.bounding_box.bounding_box(order="F") == (
        (-0.5, grid.shape[1] - 0.5),
        (-0.5, grid.shape[0] - 0.5),
    )


def test_one_exposure_in_its_own_orientation_is_its_own_grid():
    wcs = tangent_wcs()
    grid = output_grid([wcs], [SHAPE], Resample(rotation=None))
    y, x = np.indices(SHAPE)
    assert grid.shape == SHAPE
    np.testing.assert_allclose(pixel_map(wcs, grid.wcs, SHAPE), np.stack([x, y], -1), atol=1e-5)


@pytest.mark.parametrize("rotation, expected", [(0.0, 0.0), (33.0, 33.0), (None, 20.0)])
def test_rotation(rotation, expected):
    wcs = output_wcs(pair(), [SHAPE] * 2, Resample(rotation=rotation))
    assert position_angle(wcs) == pytest.approx(expected, abs=1e-3)
    # east is to the left when north is up
    assert np.linalg.det(wcs.forward_transform.pc.value) == pytest.approx(-1)


def test_orientation_by_pointing_keywords_agrees_with_the_measured_one():
    # position angle = roll - parity * v3yangle
    wcsinfo = {"roll_ref": 20.5, "v3yangle": -0.5, "vparity": -1}
    told, measured = (
        output_wcs(pair(), [SHAPE] * 2, Resample(rotation=None), wcsinfo=info)
        for info in (wcsinfo, None)
    )
    assert position_angle(told) == pytest.approx(position_angle(measured), abs=1e-4)


def test_pixel_scale_and_ratio():
    grid = output_grid(pair(), [SHAPE] * 2, Resample(pixel_scale_ratio=0.5))
    assert grid.pixel_scale == pytest.approx(0.03, rel=1e-6)
    assert grid.pixel_scale_ratio == 0.5
    grid = output_grid(pair(), [SHAPE] * 2, Resample(pixel_scale=0.09, pixel_scale_ratio=0.5))
    assert grid.pixel_scale == pytest.approx(0.09)
    assert grid.pixel_scale_ratio == pytest.approx(1.5, rel=1e-5)
    assert grid.pixel_area == pytest.approx((np.radians(0.09 / 3600)) ** 2)
    assert mean_pixel_area(grid.wcs, grid.shape) == pytest.approx(grid.pixel_area, rel=1e-5)


def test_crpix_crval_and_shape():
    options = Resample(crpix=(11, 7), crval=(150.0001, 40.0002), output_shape=(30, 20))
    grid = output_grid(pair(), [SHAPE] * 2, options)
    assert grid.shape == (20, 30)
    np.testing.assert_allclose(grid.wcs(11, 7), (150.0001, 40.0002), atol=1e-12)


def test_shape_alone_is_centred():
    whole = output_grid(pair(), [SHAPE] * 2)
    grid = output_grid(pair(), [SHAPE] * 2, Resample(output_shape=(31, 21)))
    centre = grid.wcs(15.0, 10.0)
    np.testing.assert_allclose(centre, whole.wcs.forward_transform.crval.value, atol=1e-10)


def test_s_region_footprint_puts_the_lowest_corner_on_the_first_pixel_centre():
    regions = [s_region(wcs, SHAPE) for wcs in pair()]
    options = Resample(footprint="s_region")
    grid = output_grid(pair(), [SHAPE] * 2, options, s_regions=regions)
    corners = np.vstack([sky_boundary(wcs, SHAPE) for wcs in pair()])
    x, y = grid.wcs.invert(*corners.T, with_bounding_box=False)
    np.testing.assert_allclose([x.min(), y.min()], 0, atol=1e-4)  # S_REGION has nine decimals
    assert grid.shape == (int(y.max() + 0.5), int(x.max() + 0.5))
    joined = [" ".join(regions), None]
    again = output_grid(pair(), [SHAPE] * 2, options, s_regions=joined)
    assert again.shape == grid.shape


def test_unreadable_s_region():
    with pytest.raises(InputError, match="POLYGON"):
        output_grid(
            [tangent_wcs()], [SHAPE], Resample(footprint="s_region"), s_regions=["CIRCLE 1 2 3"]
        )


@pytest.mark.parametrize(
    "extra, scale",
    [({}, 0.06), ({"pixel_scale": 0.07}, 0.07), ({"pixel_area": 0.07**2}, 0.07),
     ({"pixel_area": np.radians(0.07 / 3600) ** 2}, 0.07)],
)  # fmt: skip
def test_grid_from_a_file(tmp_path, extra, scale):
    path = tmp_path / "grid.asdf"
    asdf.AsdfFile({"wcs": tangent_wcs(5.0), **extra}).write_to(path)
    grid = output_grid(pair(), [SHAPE] * 2, Resample(output_wcs=str(path), crpix=(1, 1)))
    assert grid.shape == SHAPE
    assert position_angle(grid.wcs) == pytest.approx(5.0, abs=1e-4)
    assert grid.pixel_scale == pytest.approx(scale, rel=1e-5)
    assert grid.pixel_scale_ratio == pytest.approx(scale / 0.06, rel=1e-5)


@pytest.mark.parametrize(
    "remove, extra, options, shape",
    [("shape", {"array_shape": (9, 8)}, {}, (9, 8)),
     ("shape", {"pixel_shape": (8, 9)}, {}, (9, 8)),
     ("shape", {}, {}, SHAPE),
     ("nothing", {}, {"output_shape": (8, 9)}, (9, 8))],
)  # fmt: skip
def test_size_of_a_grid_from_a_file(tmp_path, remove, extra, options, shape):
    wcs = tangent_wcs()
    if remove == "shape":
        wcs.array_shape = None
    path = tmp_path / "grid.asdf"
    asdf.AsdfFile({"wcs": wcs, **extra}).write_to(path)
    grid = output_grid(pair(), [SHAPE] * 2, Resample(output_wcs=str(path), **options))
    assert grid.wcs.array_shape == grid.shape == shape


def test_files_that_cannot_serve_are_named(tmp_path):
    missing, text, empty = (tmp_path / name for name in ("no.asdf", "text.asdf", "empty.asdf"))
    text.write_text("not an ASDF file")
    asdf.AsdfFile({"other": 1}).write_to(empty)
    for path in (missing, text, empty):
        with pytest.raises(InputError, match=path.name):
            output_grid(pair(), [SHAPE] * 2, Resample(output_wcs=str(path)))


def test_exposures_far_apart_are_an_error_and_not_a_memory_fault():
    far = [tangent_wcs(), tangent_wcs(crval=(152.0, 41.0))]
    with pytest.raises(InputError, match="output image of"):
        output_grid(far, [SHAPE] * 2)


def test_no_exposures():
    with pytest.raises(InputError, match="at least one"):
        output_grid([], [])


@pytest.mark.parametrize("crval", [(0.0, 89.99), (359.9999, -60.0), (0.0001, 0.0)])
def test_poles_and_the_origin_of_right_ascension(crval):
    wcs = tangent_wcs(crval=crval)
    grid = output_grid([wcs], [SHAPE], Resample(rotation=None))
    assert grid.shape == SHAPE
