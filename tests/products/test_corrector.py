"""Corrections act in the plane in which they were measured, and compose."""

import copy

import asdf
import gwcs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.products.images import SHAPE, Place, make_wcs, make_wcsinfo
from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.products.corrector import (
    Correction,
    corrected_wcs,
    existing_correction,
    image_plane,
    transported,
)

INFO = make_wcsinfo()
WCS = make_wcs()
PIXELS = np.random.default_rng(0).uniform(0, 63, (50, 2))


def rotated(angle, shift=(0.0, 0.0), scale=1.0):
    a = np.radians(angle)
    matrix = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return Correction(matrix, np.array(shift))


def sky(wcs, xy):
    return np.stack(wcs(*np.transpose(xy), with_bounding_box=False), axis=-1)


def separation(sky1, sky2):
    """In mas."""
    dec = np.radians(sky1[:, 1])
    d = (sky2 - sky1) * 3600e3
    return np.hypot(d[:, 0] * np.cos(dec), d[:, 1])


@pytest.fixture(scope="module")
def wcs():
    return WCS


def test_the_plane_lies_at_the_reference_point_with_x_to_the_east(wcs):
    plane = image_plane(wcs, INFO, SHAPE).plane
    expected = TangentPlane.about(INFO["ra_ref"], INFO["dec_ref"])
    np.testing.assert_allclose(plane.axes, expected.axes, atol=1e-13)


def test_plane_and_wcs_agree_on_the_sky_and_back(wcs):
    image = image_plane(wcs, INFO, SHAPE)
    assert separation(sky(wcs, PIXELS), image.to_sky(PIXELS)).max() < 1e-5
    np.testing.assert_allclose(image.to_pixels(image.from_pixels(PIXELS)), PIXELS, atol=1e-8)


def test_the_plane_is_that_of_tweakwcs(wcs):
    from tweakwcs import JWSTWCSCorrector

    angles = {key: INFO[key] for key in ("v2_ref", "v3_ref", "roll_ref")}
    expected = np.stack(JWSTWCSCorrector(wcs, angles).det_to_tanp(*PIXELS.T), axis=-1)
    np.testing.assert_allclose(
        image_plane(wcs, INFO, SHAPE).from_pixels(PIXELS), expected, atol=1e-10
    )


def test_outline_and_pixel_scale(wcs):
    image = image_plane(wcs, INFO, SHAPE)
    assert image.pixel_scale == pytest.approx(0.0312, rel=0.01)
    corners = image.to_pixels(image.outline)
    np.testing.assert_allclose(
        corners, [[-0.5, -0.5], [-0.5, 63.5], [79.5, 63.5], [79.5, -0.5]], atol=1e-8
    )


def test_a_correction_moves_the_stars_in_the_plane_as_it_says(wcs):
    correction = rotated(0.02, (0.3, -0.4), 1.0001)
    image = image_plane(wcs, INFO, SHAPE)
    new = corrected_wcs(wcs, INFO, correction)
    expected = image.plane.to_sky(correction.apply(image.from_pixels(PIXELS)))
    assert separation(expected, sky(new, PIXELS)).max() < 1e-5
    assert new.available_frames == ["detector", "v2v3", "v2v3vacorr", "v2v3corr", "world"]


def test_a_positive_shift_goes_east_and_north(wcs):
    before = sky(wcs, PIXELS)
    after = sky(corrected_wcs(wcs, INFO, Correction(np.eye(2), np.array([1.0, 2.0]))), PIXELS)
    east = (after - before)[:, 0] * np.cos(np.radians(before[:, 1])) * 3600
    north = (after - before)[:, 1] * 3600
    np.testing.assert_allclose(east, 1.0, atol=1e-4)
    np.testing.assert_allclose(north, 2.0, atol=1e-4)


@settings(max_examples=6, deadline=None)
@given(
    angles=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    shifts=st.lists(st.floats(-5, 5), min_size=4, max_size=4),
    scale=st.floats(0.999, 1.001),
)
def test_two_corrections_compose(angles, shifts, scale):
    wcs = WCS
    first, second = rotated(angles[0], shifts[:2]), rotated(angles[1], shifts[2:], scale)
    twice = corrected_wcs(corrected_wcs(wcs, INFO, first), INFO, second)
    once = corrected_wcs(wcs, INFO, second.after(first))
    assert separation(sky(twice, PIXELS), sky(once, PIXELS)).max() < 1e-5
    assert twice.available_frames.count("v2v3corr") == 1
    found = existing_correction(twice)
    np.testing.assert_allclose(found.matrix, second.after(first).matrix, atol=1e-12)
    np.testing.assert_allclose(found.shift, second.after(first).shift, atol=1e-9)


def test_the_plane_of_a_corrected_image_holds_its_corrected_stars(wcs):
    first = rotated(0.5, (1.0, -2.0))
    image = image_plane(corrected_wcs(wcs, INFO, first), INFO, SHAPE)
    expected = first.apply(image_plane(wcs, INFO, SHAPE).from_pixels(PIXELS))
    np.testing.assert_allclose(image.from_pixels(PIXELS), expected, atol=1e-9)
    np.testing.assert_allclose(image.to_pixels(image.from_pixels(PIXELS)), PIXELS, atol=1e-8)


def test_the_inverse_is_as_good_as_before(wcs):
    new = corrected_wcs(wcs, INFO, rotated(0.1, (0.5, 0.5)))

    def round_trip(some):
        there = some(*PIXELS.T, with_bounding_box=False)
        return np.abs(np.stack(some.invert(*there, with_bounding_box=False), -1) - PIXELS).max()

    assert round_trip(new) < round_trip(wcs) + 1e-8


def test_box_and_shape_are_kept_and_the_input_is_not_changed(wcs):
    wcs = copy.deepcopy(wcs)
    wcs.array_shape = SHAPE
    wcs.bounding_box = ((2.5, 60.5), (-0.5, 50.5))
    before = sky(wcs, PIXELS)
    new = corrected_wcs(wcs, INFO, rotated(0.1, (0.5, 0.5)))
    assert new.array_shape == SHAPE
    assert new.bounding_box.bounding_box(order="F") == ((2.5, 60.5), (-0.5, 50.5))
    np.testing.assert_array_equal(sky(wcs, PIXELS), before)
    assert existing_correction(wcs) is None


def test_what_is_no_telescope_wcs_is_refused(wcs):
    with pytest.raises(InputError, match="no WCS .* - a.fits - "):
        image_plane(None, INFO, SHAPE, "a.fits")
    with pytest.raises(InputError, match="no ROLL_REF.* - a.fits - "):
        image_plane(wcs, {**INFO, "roll_ref": None}, SHAPE, "a.fits")
    steps = [(step.frame, step.transform) for step in wcs.pipeline]
    plain = gwcs.WCS([(steps[0][0], wcs.forward_transform), (steps[-1][0], None)])
    with pytest.raises(InputError, match="frames detector, world"):
        corrected_wcs(plain, INFO, Correction.none())


@pytest.mark.parametrize(
    "matrix, shift", [([[1, 0], [0, 0]], [0, 0]), (np.eye(2), [np.nan, 0]), (np.eye(3), [0, 0])]
)
def test_a_correction_that_is_none_is_refused(matrix, shift):
    with pytest.raises(InputError, match="matrix"):
        Correction(matrix, shift)


@settings(max_examples=40, deadline=None)
@given(
    roll=st.floats(0, 360), away=st.floats(-600, 600), angle=st.floats(-0.3, 0.3),
    shift=st.floats(-3, 3), dec=st.floats(-85, 85),
)  # fmt: skip
def test_a_correction_found_elsewhere_holds_in_the_plane_of_the_image(
    roll, away, angle, shift, dec
):
    source = TangentPlane.about(30.0, dec)
    target = TangentPlane.about(30.0 + away / 3600 / np.cos(np.radians(dec)), dec + away / 7200)
    turn = np.radians(roll)
    turned = np.array(
        [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    target = TangentPlane(turned @ target.axes)
    # a long-wave detector of NIRCam
    corners = np.array([[-66.0, -66], [-66, 66], [66, 66], [66, -66]])
    correction = rotated(angle, (shift, -shift), 1.00005)
    found, error = transported(correction, source, target, corners)
    points = np.random.default_rng(1).uniform(-66, 66, (200, 2))
    there, _ = target.map_to(source, points)
    exact, _ = source.map_to(target, correction.apply(there))
    assert np.hypot(*(found.apply(points) - exact).T).max() < 1e-5
    assert error < 1e-5


def test_a_correction_stays_what_it_is_in_its_own_plane():
    plane = TangentPlane.about(10.0, 20.0)
    correction = rotated(1.0, (2.0, 3.0), 1.001)
    found, error = transported(correction, plane, plane, [[-60, -60], [60, -60], [60, 60]])
    np.testing.assert_allclose(found.matrix, correction.matrix, atol=1e-12)
    np.testing.assert_allclose(found.shift, correction.shift, atol=1e-10)
    assert error < 1e-10


def test_detectors_of_one_exposure_have_the_same_plane_on_the_sky_up_to_its_tangent_point():
    other = Place(v2v3=(60.0, -450.0))
    plane = image_plane(make_wcs(), INFO, SHAPE).plane
    info = make_wcsinfo(other, (214.95, 52.99), 130.7)
    moved = image_plane(make_wcs(other, (214.95, 52.99), 130.7), info, SHAPE)
    correction, error = transported(rotated(0.05, (0.3, 0.1)), plane, moved.plane, moved.outline)
    assert error < 1e-6
    assert correction.rotation == pytest.approx(0.05, abs=1e-6)


class TestRealWcs:
    @pytest.fixture(params=["02201_00001_nrca1", "02201_00002_nrcb4", "04201_00001_nrcalong"])
    def published(self, data_folder, request):
        folder = data_folder / "ceers_tweakreg" / "tweakreg_wcs"
        with asdf.open(folder / f"jw01345001001_{request.param}_tweakreg.asdf") as file:
            return file["wcs"], file["wcsinfo"]

    def test_the_published_correction_put_back_gives_the_published_wcs(self, published):
        wcs, info = published
        correction = existing_correction(wcs)
        new = corrected_wcs(without_correction(wcs), info, correction)
        xy = np.random.default_rng(2).uniform(0, 2047, (100, 2))
        assert separation(sky(wcs, xy), sky(new, xy)).max() < 1e-4
        back = np.stack(new.invert(*sky(wcs, xy).T), -1)
        expected = np.stack(wcs.invert(*sky(wcs, xy).T), -1)
        np.testing.assert_allclose(back, expected, atol=1e-6)

    def test_the_plane_is_east_and_north_about_the_reference_point(self, published):
        wcs, info = published
        plane = image_plane(wcs, info, (2048, 2048)).plane
        expected = TangentPlane.about(info["ra_ref"], info["dec_ref"])
        np.testing.assert_allclose(plane.axes, expected.axes, atol=1e-12)

    def test_the_inverse_is_exact(self, published):
        image = image_plane(published[0], published[1], (2048, 2048))
        xy = np.random.default_rng(3).uniform(0, 2047, (200, 2))
        np.testing.assert_allclose(image.to_pixels(image.from_pixels(xy)), xy, atol=1e-7)


def without_correction(wcs):
    """The GWCS before the published tweak."""
    frames = wcs.available_frames
    place = frames.index("v2v3corr")
    steps = [(step.frame, copy.deepcopy(step.transform)) for step in wcs.pipeline]
    steps[place - 1] = (steps[place - 1][0], steps[place][1])
    plain = gwcs.WCS(steps[:place] + steps[place + 1 :], name=wcs.name)
    plain.bounding_box = wcs.bounding_box.bounding_box(order="F")
    return plain


def test_stcal_files(data_folder):
    for name in ("nrcb1-wcs.asdf", "nrcb5-wcs.asdf"):
        with asdf.open(data_folder / "stcal_wcs" / name) as file:
            tree = file.tree
            wcs = tree["wcs"]
            info = tree.get("wcsinfo")
            if info is None:  # the angles stand in the rotation to the sky as well
                angles = wcs.pipeline[-2].transform[3].angles.value
                info = {"v2_ref": angles[0] * 3600, "v3_ref": -angles[1] * 3600}
                info["roll_ref"] = angles[2]
            before = image_plane(wcs, info, (2048, 2048))
            correction = rotated(0.01, (0.1, 0.2))
            xy = np.random.default_rng(4).uniform(0, 2047, (50, 2))
            expected = before.plane.to_sky(correction.apply(before.from_pixels(xy)))
            new = corrected_wcs(wcs, info, correction)
            assert separation(expected, sky(new, xy)).max() < 1e-4
