"""The mean of the integrations of an exposure, and its variance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.coaddition import (
    Times,
    combine_integrations,
    integration_weight,
    split_integrations,
    total_times,
)
from webbalign.core.errors import InputError


def cube(seed=0, shape=(5, 12, 11)):
    rng = np.random.default_rng(seed)
    read = 0.5 + rng.random(shape)
    return {
        "data": rng.normal(10, 1, shape).astype(np.float32),
        "err": np.sqrt(read + 0.3).astype(np.float32),
        "good": rng.random(shape) > 0.2,
        "variances": {"var_rnoise": read, "var_poisson": np.full(shape, 0.2)},
        "dq": rng.integers(0, 8, shape).astype(np.uint32),
    }


def combine(data, *, common=None, weight_type="ivm", **arrays):
    integrations = split_integrations(data, **arrays)
    return combine_integrations(integrations, weight_type=weight_type, common_variance=common)


def test_mean_and_variances_follow_the_formula():
    arrays = cube()
    common = np.full((12, 11), 0.1)
    result = combine(**arrays, common=common)
    w = arrays["good"] / arrays["variances"]["var_rnoise"]
    total = w.sum(axis=0)
    np.testing.assert_allclose(result.weight, total, rtol=1e-12)
    np.testing.assert_allclose(result.data, (w * arrays["data"]).sum(axis=0) / total, rtol=1e-12)
    independent = arrays["err"].astype(float) ** 2 - 0.1
    expected = (w**2 * independent).sum(axis=0) / total**2 + 0.1
    np.testing.assert_allclose(result.variance, expected, rtol=1e-12)
    expected = (w**2 * arrays["variances"]["var_rnoise"]).sum(axis=0) / total**2
    np.testing.assert_allclose(result.variances["var_rnoise"], expected, rtol=1e-12)
    used = np.bitwise_or.reduce(np.where(arrays["good"], arrays["dq"], 0), axis=0)
    np.testing.assert_array_equal(result.dq, used)


def test_flat_field_error_does_not_average_down():
    variances = {"var_flat": np.full((9, 4, 4), 0.04), "var_poisson": np.full((9, 4, 4), 0.04)}
    result = combine(np.ones((9, 4, 4)), variances=variances)
    np.testing.assert_allclose(result.variances["var_flat"], 0.04)
    np.testing.assert_allclose(result.variances["var_poisson"], 0.04 / 9)


@settings(max_examples=25, deadline=None)
@given(value=st.floats(width=32), seed=st.integers(0, 100))
def test_value_of_a_bad_pixel_is_irrelevant(value, seed):
    arrays = cube(seed)
    reference = combine(**arrays)
    arrays["data"][~arrays["good"]] = value
    arrays["err"][~arrays["good"]] = value
    result = combine(**arrays)
    np.testing.assert_array_equal(result.data, reference.data)
    np.testing.assert_array_equal(result.variance, reference.variance)
    assert np.isfinite(result.data).all()


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)), factor=st.floats(0.01, 100))
def test_order_does_not_matter_and_flux_scales(order, factor):
    arrays = cube()
    reference = combine(**arrays)
    order = list(order)
    result = combine(
        arrays["data"][order].astype(float) * factor,
        err=arrays["err"][order].astype(float) * factor,
        good=arrays["good"][order],
        variances={k: v[order] * factor**2 for k, v in arrays["variances"].items()},
    )
    np.testing.assert_allclose(result.data, reference.data * factor, rtol=1e-10)
    np.testing.assert_allclose(result.variance, reference.variance * factor**2, rtol=1e-10)


@pytest.mark.parametrize("where", ["data", "err", "var_poisson"])
def test_nan_touches_only_its_integration(where):
    arrays = cube()
    arrays["good"][:] = True
    (arrays | arrays["variances"])[where][2, 3, 4] = np.nan
    result = combine(**arrays)
    w = 1 / arrays["variances"]["var_rnoise"][:, 3, 4]
    w[2] = 0
    np.testing.assert_allclose(result.weight[3, 4], w.sum())
    assert np.isfinite(result.variance).all()


def test_pixel_bad_in_all_integrations_has_no_weight():
    arrays = cube()
    arrays["good"][:, 3, 4] = False
    result = combine(**arrays)
    assert result.weight[3, 4] == 0
    assert result.data[3, 4] == 0


@pytest.mark.parametrize(
    "missing",
    [None, np.zeros((0,)), np.ones((5, 3, 3)), np.zeros((5, 12, 11)), np.full((5, 12, 11), np.nan)],
    ids=["none", "empty", "other shape", "zeros", "all NaN"],
)
def test_missing_read_noise_gives_equal_weights_scaled_by_the_error(missing):
    arrays = cube()
    arrays["good"][:] = True
    arrays["err"][:] = np.arange(1, 6)[:, None, None]
    arrays["variances"]["var_rnoise"] = missing
    result = combine(**arrays)
    np.testing.assert_allclose(result.weight, (1 / np.arange(1, 6) ** 2).sum())
    assert "var_rnoise" not in result.variances


def test_without_err_the_variances_serve_and_without_both_the_error_is_unknown():
    arrays = cube()
    del arrays["err"]
    result = combine(**arrays, weight_type=None)
    total = arrays["variances"]["var_rnoise"] + arrays["variances"]["var_poisson"]
    good = arrays["good"]
    expected = (good * total).sum(axis=0) / good.sum(axis=0) ** 2
    np.testing.assert_allclose(result.variance, expected, rtol=1e-12)
    assert np.isnan(combine(arrays["data"]).variance).all()


def test_weights_do_not_follow_the_photon_noise_of_the_pixel():
    arrays = cube()
    louder = dict(arrays, err=arrays["err"] * np.float32(3))
    one, two = (next(split_integrations(**which)) for which in (arrays, louder))
    np.testing.assert_array_equal(integration_weight(one, "ivm"), integration_weight(two, "ivm"))


@pytest.mark.parametrize("weight_type, value", [("exptime", 7.5), (None, 1.0)])
def test_other_weights(weight_type, value):
    integration = next(split_integrations(**cube()))
    weight = integration_weight(integration, weight_type, exposure_time=7.5)
    np.testing.assert_array_equal(weight, value * integration.good)


def test_scatter_agrees_with_the_variance():
    rng = np.random.default_rng(1)
    n, shape, sigma, common = 20, (150, 150), 1.0, 0.3
    data = rng.normal(0, sigma, (n, *shape)) + rng.normal(0, common, shape)
    err = np.full(data.shape, np.hypot(sigma, common))
    result = combine(data, err=err, common=np.full(shape, common**2))
    # 22500 pixels: the standard deviation is known to 0.5 %
    assert np.std(result.data / np.sqrt(result.variance)) == pytest.approx(1, abs=0.02)
    ignored = combine(data, err=err)
    assert np.std(ignored.data / np.sqrt(ignored.variance)) > 1.5


def test_no_integrations_is_an_error():
    with pytest.raises(InputError, match="without integrations"):
        combine_integrations([])


def test_total_times():
    total = total_times(
        [Times(10.0, 12.0, 9.0, start=5.0, end=6.0), Times(20.0, 25.0, 18.0, start=3.0, end=4.0)]
    )
    assert total == Times(30.0, 37.0, 27.0, start=3.0, end=6.0)
    assert total_times([Times(1.0), Times(2.0, 0.0, 1.0)]).measurement_time is None
