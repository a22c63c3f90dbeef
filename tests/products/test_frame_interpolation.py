"""Frames on a grid: where reproject puts them, also where the map is not smooth."""

import numpy as np
import pytest

from tests.products.images import make_model
from webbalign.core.planes import apply_map
from webbalign.products import _frame_interpolation as module
from webbalign.products._frame_reprojection import GridPart, _by_reproject, _grid_wcs, reprojected
from webbalign.products.corrector import image_plane
from webbalign.products.image_files import read_info
from webbalign.products.stacks import stack_grid

SKY = (214.93, 52.96)
MAS = 110.0  # per px of MIRI, the coarsest detector


@pytest.fixture(scope="module")
def frame():
    model = make_model(sky=SKY)
    info = read_info(model)
    grid = stack_grid([info])
    box = grid.box_of(info)
    part = GridPart(grid.plane, grid.pixel_scale, (box.y0, box.x0), box.shape)
    return image_plane(info.wcs, info.wcsinfo, info.shape), part


@pytest.fixture(scope="module")
def scene(frame):
    rng = np.random.default_rng(3)
    y, x = np.indices(frame[0].shape)
    image = rng.normal(10.0, 0.01, frame[0].shape)
    for a, b in rng.uniform(5, 60, (20, 2)):
        image += 50.0 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4.0)
    return image, rng.random(image.shape) < 0.01


def exact_pixels(image, part):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in part.shape[::-1])), axis=-1)
    at = (grid + np.array(part.corner[::-1])) * [-part.pixel_scale, part.pixel_scale]
    there = apply_map(part.plane.matrix_to(image.plane), at.reshape(-1, 2))[0]
    return image.to_pixels(there).reshape(grid.shape)


def test_pixels_are_found_to_a_hundredth_of_a_mas(frame):
    found = np.concatenate([pixels for _, pixels in module._frame_pixels(*frame)])
    exact = exact_pixels(*frame)
    size = np.array(frame[0].shape[::-1])
    inside = np.all((exact > -1) & (exact < size), axis=-1)
    assert inside.sum() > 1000
    assert np.abs(found - exact)[inside].max() * MAS < 0.01


def test_interp_is_what_reproject_makes_of_it(frame, scene):
    import reproject
    from astropy.wcs.wcsapi import HighLevelWCSWrapper

    from webbalign.products._frame_reprojection import _TabulatedWCS

    image, part = frame
    theirs = reproject.reproject_interp(
        (scene[0], HighLevelWCSWrapper(_TabulatedWCS(image))), _grid_wcs(part),
        shape_out=part.shape, return_footprint=False, roundtrip_coords=False, order="bicubic",
    )  # fmt: skip
    ours = reprojected(scene[0], np.zeros(scene[0].shape, bool), image, part, "interp")
    apart = np.isfinite(ours) != np.isfinite(theirs)
    assert apart.sum() <= 2  # where the edge of the frame meets the middle of a pixel
    assert np.isfinite(ours).sum() > 1000
    np.testing.assert_allclose(ours[~apart], theirs[~apart], atol=2e-4)


def test_the_functions_agree(frame, scene):
    image, part = frame
    smooth = np.broadcast_to(np.arange(image.shape[1]) * 0.3, image.shape).copy()
    bad = np.zeros(image.shape, bool)
    ours = reprojected(smooth, bad, image, part, "interp")
    for function in ("exact", "adaptive"):
        theirs = _by_reproject(np.stack([smooth, bad]), image, part, function)[0]
        both = np.isfinite(ours) & np.isfinite(theirs)
        inner = both[2:-2, 2:-2]
        assert inner.sum() > 1000
        assert np.median(np.abs(ours - theirs)[both]) < 0.02


def test_rows_by_rows_is_all_at_once(frame, scene, monkeypatch):
    whole = reprojected(*scene, *frame, "interp")
    monkeypatch.setattr(module, "_AT_A_TIME", 300)
    np.testing.assert_allclose(reprojected(*scene, *frame, "interp"), whole, atol=1e-6)


def test_a_way_that_is_not_smooth_is_taken_pixel_by_pixel(frame, scene, monkeypatch):
    whole = reprojected(*scene, *frame, "interp")
    asked = []
    monkeypatch.setattr(module, "smooth_map", lambda *given: asked.append(given))
    np.testing.assert_allclose(reprojected(*scene, *frame, "interp"), whole, atol=1e-4)
    assert asked


def test_bad_pixels_leave_holes_and_no_rings(frame, scene):
    image, part = frame
    data = scene[0].copy()
    bad = np.zeros(data.shape, bool)
    bad[30, 30] = True
    data[30, 30] = 1e6
    found = reprojected(data, bad, image, part, "interp")
    clean = reprojected(scene[0], np.zeros(data.shape, bool), image, part, "interp")
    missing = np.isfinite(clean) & ~np.isfinite(found)
    assert 0 < missing.sum() < 80
    assert np.nanmax(np.abs(found - clean)) < 60
