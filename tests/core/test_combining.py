"""Several measurements of one correction: the mean, its errors, what does not belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.combining import combine, disagreement

RIGID = np.array(
    [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0, -1, 1, 0, 0, 0]], dtype=np.float64
)  # what shifts and a roll do to m11, m12, m21, m22, x, y
TRUE = np.array([1.0, -3e-4, 3e-4, 1.0, 0.7, -0.4])


def cov_of(shift=1e-3, roll=2e-5):
    """Errors of a rigid fit: shifts in arcsec, roll in radians."""
    return RIGID.T @ np.diag([shift**2, shift**2, roll**2]) @ RIGID


def draw(rng, cov, scatter=0.0):
    values = TRUE + rng.multivariate_normal(np.zeros(6), cov, method="eigh")
    values[4:] += rng.normal(0, scatter, 2)
    return values


def combined(values, covs, **options):
    values = np.array(values)
    return combine(values[:, :4].reshape(-1, 2, 2), values[:, 4:], covs, **options)


def vector(result):
    return np.concatenate([result.matrix.ravel(), result.shift])


def test_one_measurement_is_its_own_mean():
    cov = cov_of()
    result = combined([TRUE], [cov])
    np.testing.assert_allclose(vector(result), TRUE, atol=1e-14)
    np.testing.assert_allclose(result.cov, cov, rtol=1e-6, atol=1e-16)
    assert np.isnan(result.chi2_reduced)
    assert result.scatter == 0.0


def test_errors_are_what_the_mean_scatters_by():
    rng = np.random.default_rng(1)
    covs = [cov_of(1e-3, 3e-5), cov_of(2e-3, 1e-5), cov_of(5e-4, 5e-5)]
    results = [combined([draw(rng, cov) for cov in covs], covs, scatter=False) for _ in range(400)]
    off = np.array([vector(result) - TRUE for result in results])
    # where chi-square exceeds 1 the quoted covariance is larger; the plain one is the smallest
    quoted = np.min([np.diag(result.cov) for result in results], axis=0)
    for k in (1, 2, 4, 5):
        assert np.std(off[:, k]) == pytest.approx(np.sqrt(quoted[k]), rel=0.12)
    chi2 = np.mean([result.chi2_reduced for result in results])
    assert chi2 == pytest.approx(1.0, abs=0.1)


def test_what_holds_the_roll_fixed_says_nothing_about_it():
    shifts_only = np.diag([0, 0, 0, 0, 1e-8, 1e-8])
    flat = np.array([1.0, 0, 0, 1, *TRUE[4:]])
    result = combined([TRUE, flat], [cov_of(), shifts_only])
    np.testing.assert_allclose(vector(result)[[1, 2]], TRUE[[1, 2]], atol=1e-12)


def test_scatter_is_found_and_is_part_of_the_errors():
    rng = np.random.default_rng(2)
    cov = cov_of(1e-4)
    results = [
        combined([draw(rng, cov, 3e-3) for _ in range(8)], [cov] * 8, scatter=True)
        for _ in range(200)
    ]
    found = np.sqrt(np.mean([result.scatter**2 for result in results]))
    assert found == pytest.approx(3e-3, rel=0.1)
    off = np.array([result.shift - TRUE[4:] for result in results])
    quoted = np.mean([result.cov[4, 4] for result in results])
    assert np.std(off) == pytest.approx(np.sqrt(quoted), rel=0.15)


def test_without_scatter_nothing_is_added():
    rng = np.random.default_rng(3)
    values = np.tile(TRUE, (4, 1)) + 1e-9 * rng.normal(size=(4, 6))
    assert combined(values, [cov_of()] * 4, scatter=True).scatter == 0.0


def test_an_outlier_is_left_out():
    rng = np.random.default_rng(4)
    cov = cov_of(1e-4)
    values = [draw(rng, cov, 3e-3) for _ in range(6)]
    values[2][4] += 0.3
    result = combined(values, [cov] * 6, scatter=True)
    np.testing.assert_array_equal(result.used, np.arange(6) != 2)
    assert np.hypot(*(result.shift - TRUE[4:])) < 6e-3


def test_no_outlier_below_the_tolerance():
    values = np.tile(TRUE, (6, 1))
    values[2, 4] += 0.01
    assert combined(values, [cov_of(1e-5)] * 6, tolerance=0.02).used.all()
    assert not combined(values, [cov_of(1e-5)] * 6, tolerance=0.001).used.all()


def test_two_that_disagree_have_larger_errors():
    values = np.tile(TRUE, (2, 1))
    values[1, 4] += 0.1
    result = combined(values, [cov_of(1e-3)] * 2)
    # scaled by chi-square over the three degrees of freedom of a rigid fit
    assert np.sqrt(result.cov[4, 4]) == pytest.approx(0.1 / np.sqrt(12))
    assert result.used.all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 7), st.booleans())
def test_the_order_has_no_influence(seed, n, scatter):
    rng = np.random.default_rng(seed)
    covs = np.array([cov_of(10 ** rng.uniform(-4, -2)) for _ in range(n)])
    values = np.array([draw(rng, cov, 3e-3) for cov in covs])
    order = rng.permutation(n)
    first = combined(values, covs, scatter=scatter)
    second = combined(values[order], covs[order], scatter=scatter)
    np.testing.assert_allclose(vector(second), vector(first), atol=1e-11)
    np.testing.assert_array_equal(second.used, first.used[order])


def test_disagreement_is_a_probability():
    rng = np.random.default_rng(5)
    cov = np.array([[4e-6, 1e-6], [1e-6, 2e-6]])
    apart = rng.multivariate_normal([0, 0], cov, 4000)
    chance = np.array([disagreement(a, np.zeros(2), cov) for a in apart])
    for limit in (0.1, 0.5, 0.9):
        assert np.mean(chance < limit) == pytest.approx(limit, abs=0.03)


def test_jitter_is_no_part_of_chi_square():
    rng = np.random.default_rng(6)
    cov = cov_of(1e-4)
    chi2 = [
        combined([draw(rng, cov, 3e-3) for _ in range(6)], [cov] * 6, scatter=True).chi2_reduced
        for _ in range(100)
    ]
    # with the errors as stated it would be near 900
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.2)


def test_errors_of_rolls_that_exposures_share_do_not_average_out():
    rng = np.random.default_rng(7)
    cov, n = cov_of(1e-4, 2e-5), 4
    off, quoted = [], []
    for _ in range(200):
        values = [draw(rng, cov_of(1e-4, 1e-9), 3e-3) for _ in range(n)]
        values = np.array(values) + rng.normal(0, 2e-5) * RIGID[2]
        result = combined(values, [cov] * n, scatter=True)
        off.append(result.matrix[1, 0] - TRUE[2])
        quoted.append(result.cov[2, 2])
    assert np.std(off) == pytest.approx(np.sqrt(np.mean(quoted)), rel=0.12)


def test_errors_of_rolls_of_their_own_do_average_out():
    rng = np.random.default_rng(8)
    cov, n = cov_of(1e-4, 2e-5), 8
    off, quoted = [], []
    for _ in range(300):
        result = combined([draw(rng, cov, 3e-3) for _ in range(n)], [cov] * n, scatter=True)
        off.append(result.matrix[1, 0] - TRUE[2])
        quoted.append(result.cov[2, 2])
    # chance agreement is taken for what is shared: never too small an error
    assert 1.0 < np.sqrt(np.mean(quoted)) / np.std(off) < 1.6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3.0, 3.0), st.booleans())
def test_a_roll_of_all_measurements_rolls_the_mean(seed, angle, scatter):
    rng = np.random.default_rng(seed)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.kron(np.eye(3), np.eye(2))
    turn[:4, :4] = np.kron([[cos, -sin], [sin, cos]], np.eye(2))
    turn[4:, 4:] = [[cos, -sin], [sin, cos]]
    values, covs = [], []
    for _ in range(5):
        roll = 1e-4 * rng.normal()
        tangent = RIGID.copy()
        tangent[2, :4] = [-np.sin(roll), -np.cos(roll), np.cos(roll), -np.sin(roll)]
        mix = tangent.T @ rng.normal(size=(3, 3)) * [1e-3, 1e-3, 2e-5]
        shift = rng.normal(0, 1e-3, 2)
        values.append([np.cos(roll), -np.sin(roll), np.sin(roll), np.cos(roll), *shift])
        covs.append(mix @ mix.T)
    mean = combined(values, covs, scatter=scatter)
    rolled = combined(np.array(values) @ turn.T, turn @ covs @ turn.T, scatter=scatter)
    np.testing.assert_allclose(vector(rolled), turn @ vector(mean), rtol=0, atol=1e-12)
    np.testing.assert_allclose(rolled.cov, turn @ mean.cov @ turn.T, rtol=1e-5, atol=1e-14)
