"""Tangent planes: round trips, exactness, derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webbalign.core.planes import ARCSEC, TangentPlane, apply_map, sky_to_vectors, vectors_to_sky

angles = st.floats(0.0, 360.0)
declinations = st.floats(-89.0, 89.0)


@given(ra=angles, dec=declinations)
def test_sky_and_vectors_are_inverse(ra, dec):
    back = vectors_to_sky(sky_to_vectors([ra, dec]))
    assert abs((back[0] - ra + 180.0) % 360.0 - 180.0) < 1e-10
    assert abs(back[1] - dec) < 1e-10


@given(ra=angles, dec=declinations)
def test_plane_round_trip(ra, dec):
    plane = TangentPlane.about(ra, dec)
    xy = np.array([[0.0, 0.0], [100.0, -30.0], [-500.0, 400.0]])
    assert np.allclose(plane.from_sky(plane.to_sky(xy)), xy, rtol=0, atol=1e-8)


def test_axes_point_east_and_north():
    plane = TangentPlane.about(30.0, 60.0)
    sky = plane.to_sky([[1.0, 0.0], [0.0, 1.0]])
    assert np.allclose((sky[0] - [30.0, 60.0]) * 3600, [1.0 / np.cos(np.radians(60)), 0], atol=1e-4)
    assert np.allclose((sky[1] - [30.0, 60.0]) * 3600, [0.0, 1.0], atol=1e-9)
    assert np.allclose(plane.centre, [30.0, 60.0])


def test_gnomonic_distance_is_the_tangent_of_the_angle():
    plane = TangentPlane.about(0.0, 0.0)
    assert plane.from_sky([[1.0, 0.0]])[0, 0] * ARCSEC == pytest.approx(np.tan(np.radians(1.0)))


def test_behind_the_plane_is_nan():
    plane = TangentPlane.about(0.0, 0.0)
    assert np.isnan(plane.from_sky([[180.0, 0.0]])).all()
    assert np.isnan(apply_map(np.diag([1.0, 1.0, -1.0]), [[1.0, 2.0]])[0]).all()


def test_from_plane_to_plane_as_by_the_sky():
    a, b = TangentPlane.about(150.0, 2.0), TangentPlane.about(150.2, 2.1)
    xy = np.random.default_rng(1).uniform(-100, 100, (20, 2))
    assert np.allclose(a.map_to(b, xy)[0], b.from_sky(a.to_sky(xy)), rtol=0, atol=1e-8)


def test_jacobian_agrees_with_differences():
    a, b = TangentPlane.about(150.0, 2.0), TangentPlane.about(151.0, 3.0)
    xy = np.random.default_rng(1).uniform(-1000, 1000, (5, 2))
    _, jacobian = a.map_to(b, xy)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1.0
        numeric = (a.map_to(b, xy + step)[0] - a.map_to(b, xy - step)[0]) / 2
        assert np.allclose(jacobian[:, :, axis], numeric, rtol=0, atol=1e-9)


def test_a_left_handed_plane_is_taken_as_it_is():
    axes = TangentPlane.about(10.0, 20.0).axes * np.array([[-1.0], [1.0], [1.0]])
    plane = TangentPlane(axes)
    assert plane.to_sky([[1.0, 0.0]])[0, 0] < 10.0


def test_around_is_the_middle():
    sky = np.array([[359.9, 0.1], [0.1, -0.1]])
    assert np.allclose(TangentPlane.around(sky_to_vectors(sky)).centre % 360.0, [0.0, 0.0])


def test_crooked_axes_are_refused():
    with pytest.raises(ValueError, match="orthonormal"):
        TangentPlane(np.array([[1.0, 0, 0], [0.5, 1.0, 0], [0, 0, 1.0]]))
