"""The affine fit recovers what was injected, says how well, and refuses what it cannot do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.affine import (
    GEOMETRIES,
    AffineStatus,
    fit_affine,
    supported_geometry,
)

TURN = np.radians(0.3)
ROTATION = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
MATRIX = {
    "shift": np.eye(2),
    "rshift": ROTATION,
    "rscale": 1.0003 * ROTATION,
    "general": np.array([[1.001, 0.002], [-0.001, 0.999]]),
}
SHIFT = np.array([0.4, -1.3])


def pairs(geometry, n=60, noise=0.0, seed=0, outliers=0):
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-60, 60, (n, 2)) + np.array([30.0, -80.0])
    uv = xy @ MATRIX[geometry].T + SHIFT + rng.normal(0, noise, (n, 2))
    uv[:outliers] += rng.uniform(-0.5, 0.5, (outliers, 2))
    return xy, uv


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("nclip", [0, 3])
def test_exact_pairs_give_the_exact_map(geometry, nclip):
    fit = fit_affine(*pairs(geometry), 0.001, geometry=geometry, nclip=nclip)
    assert fit.status is AffineStatus.OK
    assert np.allclose(fit.matrix, MATRIX[geometry], rtol=0, atol=1e-12)
    assert np.allclose(fit.shift, SHIFT, rtol=0, atol=1e-10)
    assert fit.n_used == 60


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_pulls_are_normal(geometry):
    pulls = []
    for seed in range(200):
        fit = fit_affine(*pairs(geometry, noise=0.002, seed=seed), 0.002, geometry=geometry)
        error = np.concatenate([(fit.matrix - MATRIX[geometry]).ravel(), fit.shift - SHIFT])
        quoted = np.sqrt(np.diag(fit.cov))
        pulls.append((error / np.where(quoted > 0, quoted, np.inf))[quoted > 0])
    spread = np.sqrt(np.mean(np.square(pulls), axis=0))
    assert ((spread > 0.85) & (spread < 1.15)).all()


@pytest.mark.parametrize("stated", [0.0002, np.nan])
def test_errors_stated_too_small_or_not_at_all_do_not_shrink_the_covariance(stated):
    fit = fit_affine(*pairs("rshift", n=500, noise=0.002), stated)
    assert fit.floor == pytest.approx(0.002, rel=0.1)
    right = fit_affine(*pairs("rshift", n=500, noise=0.002), 0.002)
    assert np.allclose(np.diag(fit.cov), np.diag(right.cov), rtol=0.15, atol=0)


def test_errors_stated_too_large_are_seen_from_the_residuals():
    large = fit_affine(*pairs("rshift", n=500, noise=0.002), 0.02)
    right = fit_affine(*pairs("rshift", n=500, noise=0.002), 0.002)
    assert np.allclose(np.diag(large.cov), np.diag(right.cov), rtol=0.15, atol=0)
    assert large.chi2_reduced == pytest.approx(0.01, rel=0.15)


def test_outliers_are_clipped_at_every_number_of_iterations():
    """A rejected pair does not come back, whatever the parity of the iterations."""
    clean = fit_affine(*pairs("rshift", n=80, noise=0.002, seed=3), 0.002)
    xy, uv = pairs("rshift", n=80, noise=0.002, seed=3, outliers=20)
    for nclip in range(1, 8):
        fit = fit_affine(xy, uv, 0.002, nclip=nclip)
        assert not fit.used[:20].all()
        assert fit.used[20:].sum() >= 58
        assert fit.rms < 0.005
        assert np.hypot(*(fit.shift - clean.shift)) < 0.002


def test_without_clipping_all_pairs_count():
    xy, uv = pairs("shift", n=10, outliers=2)
    fit = fit_affine(xy, uv, geometry="shift", nclip=0)
    assert fit.used.all()
    assert np.allclose(fit.shift, (uv - xy).mean(axis=0))


def test_weights_count_and_zero_is_ignored():
    xy, uv = pairs("shift", n=4)
    uv[0] += 5.0
    fit = fit_affine(xy, uv, weight=[0.0, 7.0, 7.0, 7.0], geometry="shift", nclip=0)
    assert fit.used.tolist() == [False, True, True, True]
    assert np.allclose(fit.shift, SHIFT)


def test_what_is_no_number_is_ignored():
    xy, uv = pairs("general", n=10)
    uv[3] = np.nan
    fit = fit_affine(xy, uv, 0.001, geometry="general")
    assert fit.n_used == 9
    assert np.allclose(fit.matrix, MATRIX["general"])


@pytest.mark.parametrize(
    "geometry, fewest", [("shift", 1), ("rshift", 2), ("rscale", 2), ("general", 3)]
)
def test_fewest_pairs(geometry, fewest):
    xy, uv = pairs(geometry, n=fewest)
    fit = fit_affine(xy, uv, 0.001, geometry=geometry)
    assert fit.status is AffineStatus.OK
    assert np.isfinite(fit.cov).all()
    fit = fit_affine(xy[1:], uv[1:], 0.001, geometry=geometry)
    assert fit.status is AffineStatus.TOO_FEW
    assert fit.matrix.tolist() == np.eye(2).tolist()
    assert fit.n_used == 0


def test_collinear_stars_fix_a_rotation_but_no_general_map():
    xy = np.linspace(0, 100, 20)[:, None] * [0.6, 0.8]
    uv = xy @ ROTATION.T + SHIFT
    assert fit_affine(xy, uv, geometry="general").status is AffineStatus.DEGENERATE
    assert np.allclose(fit_affine(xy, uv, geometry="rshift").matrix, ROTATION)
    assert supported_geometry(xy, "general", 60.0) == "rscale"


def test_coincident_stars_fix_a_shift_only():
    xy = np.full((20, 2), 7.0) + np.random.default_rng(0).normal(0, 0.01, (20, 2))
    assert fit_affine(xy, xy, geometry="rshift", radius=60.0).status is AffineStatus.DEGENERATE
    assert supported_geometry(xy, "general", 60.0) == "shift"
    assert supported_geometry(xy[:0], "general", 60.0) is None


def test_a_reflection_is_never_returned():
    xy, _ = pairs("shift")
    mirrored = xy * [1.0, -1.0]
    assert fit_affine(xy, mirrored, geometry="general").status is AffineStatus.REFLECTED
    for geometry in ("rshift", "rscale"):
        fit = fit_affine(xy, mirrored, geometry=geometry, nclip=0)
        assert np.linalg.det(fit.matrix) > 0


def test_unknown_geometry():
    with pytest.raises(ValueError, match="geometry is 'banana'"):
        fit_affine([[0, 0]], [[0, 0]], geometry="banana")


@settings(max_examples=30, deadline=None)
@given(
    angle=st.floats(-3.0, 3.0),
    scale=st.floats(0.9, 1.1),
    shift=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
)
def test_the_map_of_moved_targets_is_the_moved_map(angle, scale, shift):
    """A similarity after the map gives the same similarity after the fit."""
    xy, uv = pairs("rscale", noise=0.002)
    after = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    fit = fit_affine(xy, uv, geometry="rscale", nclip=0)
    moved = fit_affine(xy, uv @ after.T + shift, geometry="rscale", nclip=0)
    assert np.allclose(moved.matrix, after @ fit.matrix, rtol=0, atol=1e-12)
    assert np.allclose(moved.shift, after @ fit.shift + shift, rtol=0, atol=1e-9)


def test_order_of_pairs_does_not_matter():
    xy, uv = pairs("general", n=100, noise=0.002, outliers=10)
    order = np.random.default_rng(5).permutation(100)
    a = fit_affine(xy, uv, 0.002, geometry="general")
    b = fit_affine(xy[order], uv[order], 0.002, geometry="general")
    assert np.allclose(a.matrix, b.matrix, rtol=0, atol=1e-13)
    assert (a.used[order] == b.used).all()
