from __future__ import annotations

import numpy as np
import pytest

from webbalign.simulate.attitudes import attitude_matrix, moved_position, pointing_of
from webbalign.simulate.cameras import BANDS, camera_for
from webbalign.simulate.frames import aberration, assemble, attitude, distortion
from webbalign.simulate.mosaic_plan import INVERSE_DEGREE
from webbalign.simulate.siaf import APERTURES, _quiet_import, aperture_for

BAND = {"nrca1": "F150W", "nrcb4": "F200W", "nrcalong": "F300M", "mirimage": "F770W"}
POSITION, ROLL = (359.99, -70.0), 200.0


@pytest.fixture(scope="module")
def pysiaf():
    with _quiet_import():
        import pysiaf

    return pysiaf


@pytest.fixture(scope="module")
def siafs(pysiaf):
    return {name: pysiaf.Siaf(name) for name in ("NIRCam", "MIRI")}


def camera_of(detector, size=None):
    return camera_for(aperture_for(detector).cut(size), BANDS[BAND[detector]])


def wcs_of(camera):
    matrix = attitude_matrix((90.0, -490.0), POSITION, ROLL)
    ra, dec, roll = pointing_of(matrix, camera.v2v3)
    return assemble(
        camera,
        distortion(camera, camera.ideal_x, camera.ideal_y, INVERSE_DEGREE),
        aberration(camera),
        attitude(camera, (ra, dec), roll),
        camera.bounding_box,
    )


def pixels(camera):
    ny, nx = camera.shape
    y, x = np.mgrid[0 : ny - 1 : 12j, 5 : nx - 6 : 12j]
    return x.ravel(), y.ravel()


@pytest.mark.parametrize("size", [None, 200])
@pytest.mark.parametrize("detector", BAND)
def test_gwcs_agrees_with_pysiaf(pysiaf, siafs, detector, size):
    camera = camera_of(detector, size)
    wcs = wcs_of(camera)
    x, y = pixels(camera)
    instrument, name = APERTURES[detector]
    aperture = siafs[instrument][name]
    # pysiaf counts science pixels of the full detector from 1
    expected = aperture.sci_to_tel(x + camera.corner[0], y + camera.corner[1])
    angles = wcs.get_transform("detector", "v2v3")(x, y)
    np.testing.assert_allclose(angles, expected, rtol=0, atol=1e-7)  # 0.1 mas is 1e-4
    corrected = wcs.get_transform("detector", "v2v3vacorr")(x, y)
    rotations = pysiaf.utils.rotations
    matrix = rotations.attitude_matrix(90.0, -490.0, *POSITION, ROLL)
    ra, dec = rotations.pointing(matrix, *corrected)
    sky = wcs(x, y)
    dra = (np.asarray(ra) - sky[0] + 180) % 360 - 180
    assert np.abs(dra * np.cos(np.deg2rad(dec))).max() * 3.6e6 < 1e-4
    assert np.abs(dec - sky[1]).max() * 3.6e6 < 1e-4


@pytest.mark.parametrize("detector", BAND)
def test_the_inverse_inverts_over_the_whole_detector(detector):
    camera = camera_of(detector)
    wcs = wcs_of(camera)
    x, y = pixels(camera)
    back = wcs.invert(*wcs(x, y))
    np.testing.assert_allclose(back, (x, y), rtol=0, atol=2e-5)


def test_roll_and_position_follow_from_the_attitude(pysiaf):
    matrix = attitude_matrix((90.0, -490.0), POSITION, ROLL)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    ra, dec, roll = pointing_of(matrix, (90.0, -490.0))
    assert (ra, dec, roll) == pytest.approx((*POSITION, ROLL))
    theirs = pysiaf.utils.rotations.attitude_matrix(90.0, -490.0, *POSITION, ROLL)
    np.testing.assert_allclose(matrix, theirs, atol=1e-12)
    expected = pysiaf.utils.rotations.posangle(theirs, 120.0, -520.0)
    assert pointing_of(matrix, (120.0, -520.0))[2] == pytest.approx(expected % 360, abs=1e-9)


def test_a_move_along_v3_goes_towards_the_roll():
    ra, dec = moved_position((10.0, 60.0), np.array([0.0, 5.0]), 90.0)  # to the east
    assert (ra - 10.0) * np.cos(np.deg2rad(60.0)) * 3600 == pytest.approx(5.0, rel=1e-4)
    assert (dec - 60.0) * 3600 == pytest.approx(0.0, abs=1e-3)
    ra, dec = moved_position((10.0, 60.0), np.array([0.0, 5.0]), 0.0)
    assert (dec - 60.0) * 3600 == pytest.approx(5.0, rel=1e-6)
    # V2 is to the left of V3 as east is of north
    ra, dec = moved_position((10.0, 60.0), np.array([5.0, 0.0]), 0.0)
    assert ra > 10.0


@pytest.mark.parametrize("detector", ["nrcalong", "mirimage"])
def test_areas_are_those_of_the_wcs(detector):
    camera = camera_of(detector)
    wcs = wcs_of(camera)
    x, y = np.array([50.0, 700.0]), np.array([30.0, 1000.0])
    area = camera.relative_area(x, y)
    for i, row in enumerate(y):
        for j, column in enumerate(x):
            to_angles = wcs.get_transform("detector", "v2v3")
            here, right, up = (
                np.array(to_angles(column + dx, row + dy)) for dx, dy in ((0, 0), (1, 0), (0, 1))
            )
            (a, b), (c, d) = right - here, up - here
            assert area[i, j] == pytest.approx(abs(a * d - b * c) / camera.pixel_area, rel=1e-4)


def test_a_cut_out_keeps_its_place_on_the_detector():
    whole, part = aperture_for("mirimage"), aperture_for("mirimage").cut(200)
    assert part.shape == (200, 200)
    for axis in range(2):
        there = whole.corner[axis] + whole.reference_pixel[axis]
        assert part.corner[axis] + part.reference_pixel[axis] == there
    assert part.valid == (0, 199, 0, 199)
    assert aperture_for("nrca1").cut(4000).shape == (2048, 2048)


def test_pysiaf_asks_no_server(monkeypatch, tmp_path):
    import requests

    asked = []
    monkeypatch.setattr(requests, "get", lambda *words, **_: asked.append(words))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = requests.get
    aperture_for("nrcblong")
    assert not asked
    assert requests.get is before
