"""Drizzling: linear, with errors that agree with the scatter."""

from __future__ import annotations

import numpy as np
import pytest
from configobj import ConfigObj
from configobj.validate import Validator
from drizzle.resample import Drizzle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from webbalign.core.coaddition import split_integrations
from webbalign.core.drizzling import Exposure
from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import declared, spec
from webbalign.core.resample import Resample, resample

SHAPE = (60, 64)
OUT = (100, 104)


def rotated(angle=0.3, scale=1.0, offset=(0.0, 0.0), shape=SHAPE, out=OUT):
    """Map of a rotation about the centre; `scale` is output over input pixel size."""
    y, x = np.indices(shape, dtype=float)
    x, y = (x - (shape[1] - 1) / 2) / scale, (y - (shape[0] - 1) / 2) / scale
    c, s = np.cos(angle), np.sin(angle)
    centre = ((out[1] - 1) / 2 + offset[0], (out[0] - 1) / 2 + offset[1])
    return np.stack([c * x - s * y + centre[0], s * x + c * y + centre[1]], axis=-1)


def noisy(seed, n=4, shape=SHAPE):
    rng = np.random.default_rng(seed)
    read = 0.5 + rng.random((n, *shape))
    poisson = 0.1 + rng.random((n, *shape))
    return {
        "data": rng.normal(0, 1, (n, *shape)),
        "good": rng.random((n, *shape)) > 0.05,
        "err": np.sqrt(read + poisson),
        "variances": {"var_rnoise": read, "var_poisson": poisson},
    }


def exposure(arrays, pixmap, **details):
    return Exposure(split_integrations(**arrays), pixmap, **details)


def drizzled(data, weight, pixmap, out=OUT, **settings):
    drizzle = Drizzle(out_shape=out, fillval="NAN", fillval2="NAN", disable_ctx=True)
    for image, w in zip(data, weight, strict=True):
        drizzle.add_image(np.where(w > 0, image, 0), 1.0, pixmap, weight_map=w, **settings)
    return drizzle


def test_one_drizzle_per_exposure_equals_one_per_integration():
    arrays = noisy(0)
    pixmap = rotated()
    result = resample([exposure(arrays, pixmap)], OUT)
    weight = arrays["good"] / arrays["variances"]["var_rnoise"]
    each = drizzled(arrays["data"], weight, pixmap)
    np.testing.assert_array_equal(np.isnan(result.data), np.isnan(each.out_img))
    # a few roundings of float32 per integration
    np.testing.assert_allclose(result.data, each.out_img, atol=2e-6)
    np.testing.assert_allclose(result.weight, each.out_wht, rtol=1e-5, atol=1e-5)


def test_variance_of_one_drizzle_equals_that_of_independent_integrations():
    arrays = noisy(1)
    pixmap = rotated()
    result = resample([exposure(arrays, pixmap)], OUT)
    each = Drizzle(out_shape=OUT, fillval="NAN", fillval2="NAN", disable_ctx=True)
    weight = arrays["good"] / arrays["variances"]["var_rnoise"]
    for image, w, err in zip(arrays["data"], weight, arrays["err"], strict=True):
        each.add_image(image, 1.0, pixmap, weight_map=w, data2=[err.astype(np.float32) ** 2])
    np.testing.assert_allclose(result.err**2, each.out_img2[0], rtol=2e-5)


@pytest.mark.parametrize("kernel", ["square", "turbo", "gaussian"])
def test_scatter_agrees_with_err(kernel):
    rng = np.random.default_rng(2)
    shape, out = (150, 150), (220, 220)
    exposures = []
    for angle, n, sigma, common in ((0.0, 5, 1.0, 0.7), (0.17, 4, 1.5, 0.2)):
        data = rng.normal(0, sigma, (n, *shape)) + rng.normal(0, common, shape)
        arrays = {"data": data, "err": np.full(data.shape, np.hypot(sigma, common))}
        arrays["good"] = rng.random(data.shape) > 0.02
        pixmap = rotated(0.2 + angle, shape=shape, out=out)
        exposures.append(exposure(arrays, pixmap, common_variance=np.full(shape, common**2)))
    result = resample(exposures, out, Resample(kernel=kernel))
    pull = (result.data / result.err)[np.isfinite(result.data)]
    # 20000 pixels, of which about half are independent
    assert np.std(pull, dtype=float) == pytest.approx(1, abs=0.03)


def test_speckles_wider_than_a_pixel_do_not_average_down_over_it():
    rng = np.random.default_rng(8)
    shape, out = (150, 150), (220, 220)
    pixmaps = [rotated(angle, shape=shape, out=out) for angle in (0.2, 0.45)]
    pulls = []
    for _ in range(4):
        exposures = []
        for pixmap in pixmaps:
            # independent noise and smooth speckles of equal variance
            speckles = gaussian_filter(rng.normal(size=shape), 2.0, mode="wrap")
            speckles /= speckles.std()
            arrays = {"data": speckles + rng.normal(0, 1, shape), "err": np.full(shape, 2**0.5)}
            one = np.ones(shape)
            exposures.append(exposure(arrays, pixmap, common_variance=one, speckle_variance=one))
        result = resample(exposures, out, Resample())
        pulls.append((result.data / result.err)[np.isfinite(result.data)])
    assert np.std(np.concatenate(pulls), dtype=float) == pytest.approx(1, abs=0.05)


def boxes(image, size=24):
    """Sums over boxes that tile the middle half of an image."""
    inner = image[tuple(slice(n // 4, n // 4 + n // 2 // size * size) for n in image.shape)]
    ny, nx = (n // size for n in inner.shape)
    return inner.reshape(ny, size, nx, size).sum(axis=(1, 3), dtype=float)


@pytest.mark.parametrize(
    "pixfrac, ratio, casertano",
    [(1.0, 1.0, 1.5), (0.6, 1.0, 1.25), (1.0, 0.5, 2.4), (1.0, 1.25, 1 / (1 - 0.8 / 3))],
)
def test_noise_correlation_predicts_sums_over_large_areas(pixfrac, ratio, casertano):
    rng = np.random.default_rng(3)
    shape = (120, 120)
    out = tuple(int(1.5 * size / ratio) for size in shape)
    options = Resample(pixfrac=pixfrac)
    pixmaps = [rotated(angle, ratio, shape=shape, out=out) for angle in (0.37, 0.55)]
    sums = []
    for _ in range(20):
        pair = [{"data": rng.normal(size=shape), "err": np.ones(shape)} for _ in pixmaps]
        result = resample(map(exposure, pair, pixmaps), out, options, pixel_scale_ratio=ratio)
        image, naive = (boxes(array) for array in (result.data, np.square(result.err)))
        sums.append(image / np.sqrt(naive))
    # at least 180 boxes: their scatter is known to 5 %
    assert result.noise_correlation == pytest.approx(np.std(sums), rel=0.18)
    assert result.noise_correlation == pytest.approx(casertano, rel=0.02)


def test_var_errors_follow_the_written_recipe():
    exposures = [(noisy(4, n=3), rotated(0.1)), (noisy(5, n=2), rotated(0.4))]
    options = Resample(err_source="var")
    result = resample([exposure(a, p) for a, p in exposures], OUT, options, pixel_scale_ratio=0.5)
    sums = {"var_rnoise": np.zeros(OUT), "var_poisson": np.zeros(OUT)}
    weights = np.zeros(OUT)
    for arrays, pixmap in exposures:
        for k in range(len(arrays["data"])):
            w = arrays["good"][k] / arrays["variances"]["var_rnoise"][k]
            var = {
                name: drizzled([np.sqrt(value[k])], [w], pixmap).out_img.astype(float) ** 2
                for name, value in arrays["variances"].items()
            }
            scale = np.nan_to_num(1 / var["var_rnoise"])
            weights += scale
            for name, total in sums.items():
                total += scale**2 * np.nan_to_num(var[name])
    covered = weights > 0
    for name, total in sums.items():
        expected = total[covered] / weights[covered] ** 2 / 0.5**2
        np.testing.assert_allclose(result.variances[name][covered], expected, rtol=1e-5)
        assert np.isnan(result.variances[name][~covered]).all()
    total = result.variances["var_rnoise"] + result.variances["var_poisson"]
    np.testing.assert_allclose(result.err, np.sqrt(total), rtol=1e-5)
    assert set(np.unique(result.context)) <= set(range(2**5))
    assert result.context.max() > 2**4


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.7])
def test_surface_brightness_and_flux_are_preserved(ratio):
    out = tuple(int(1.6 * size / ratio) for size in SHAPE)
    y, x = np.indices(SHAPE)
    blob = 50 * np.exp(-((x - 30) ** 2 + (y - 28) ** 2) / (2 * 2.5**2))
    pixmap = rotated(0.3, ratio, out=out)
    flat = resample([exposure({"data": np.full(SHAPE, 3.0)}, pixmap)], out, pixel_scale_ratio=ratio)
    np.testing.assert_allclose(flat.data[np.isfinite(flat.data)], 3.0, rtol=1e-5)
    image = resample([exposure({"data": blob}, pixmap)], out, pixel_scale_ratio=ratio).data
    assert np.nansum(image, dtype=float) * ratio**2 == pytest.approx(blob.sum(), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(value=st.floats(width=32), err_source=st.sampled_from(["psfsub", "var"]))
def test_nothing_of_a_bad_pixel_reaches_the_image(value, err_source):
    arrays = noisy(6, n=2)
    options = Resample(err_source=err_source)
    reference = resample([exposure(arrays, rotated())], OUT, options)
    arrays["data"][~arrays["good"]] = value
    result = resample([exposure(arrays, rotated())], OUT, options)
    np.testing.assert_array_equal(result.data, reference.data)
    np.testing.assert_array_equal(result.err, reference.err)


def test_order_of_exposures_changes_nothing_but_rounding():
    pairs = [(noisy(seed, n=2), rotated(0.1 * seed)) for seed in range(3)]
    one = resample([exposure(*pair) for pair in pairs], OUT)
    two = resample([exposure(*pair) for pair in pairs[::-1]], OUT)
    np.testing.assert_allclose(one.data, two.data, atol=2e-6)
    np.testing.assert_allclose(one.err, two.err, rtol=1e-5)


@pytest.mark.parametrize("x", [slice(0, 5), slice(-5, None)])
@pytest.mark.parametrize("y", [slice(0, 7), slice(-7, None)])
def test_pixels_without_sky_position_vanish_but_their_neighbours_stay(x, y):
    data = np.ones(SHAPE)
    pixmap = rotated(0.0)
    pixmap[:, x] = np.nan
    pixmap[y] = np.nan
    result = resample([exposure({"data": data}, pixmap)], OUT)
    rows, columns = (np.flatnonzero(np.isfinite(result.data).any(axis=a)) for a in (1, 0))
    assert (rows.size, columns.size) == (SHAPE[0] - 7, SHAPE[1] - 5)
    assert result.weight.sum() == pytest.approx((SHAPE[0] - 7) * (SHAPE[1] - 5), rel=1e-5)


def test_context_dq_background_and_fill():
    arrays = {"data": np.full(SHAPE, 5.0), "dq": np.full(SHAPE, 4, dtype=np.uint32)}
    arrays["good"] = np.ones(SHAPE, dtype=bool)
    arrays["good"][20, 20] = False
    arrays["dq"][20, 20] = 1
    options = Resample(propagate_dq=True, fillval="-7")
    one = exposure(arrays, rotated(0.0), background=2.0)
    two = exposure(arrays, rotated(0.0, offset=(9, 0)))
    result = resample([one, two], OUT, options)
    assert result.context.shape == (1, *OUT)
    assert set(np.unique(result.context)) == {0, 1, 2, 3}
    alone = result.context[0] == 1
    np.testing.assert_allclose(result.data[alone], 3.0, rtol=1e-6)
    np.testing.assert_array_equal(result.data[result.context[0] == 0], -7)
    assert set(np.unique(result.dq)) == {0, 4}
    assert result.n_exposures == 2


def test_more_than_32_exposures_take_more_planes():
    single = {"data": np.ones(SHAPE)}
    result = resample([exposure(single, rotated()) for _ in range(33)], OUT)
    assert result.context.shape == (2, *OUT)


def test_a_variance_that_one_exposure_lacks_is_not_reported():
    whole, part = noisy(7), noisy(8)
    part["variances"].pop("var_poisson")
    result = resample([exposure(whole, rotated()), exposure(part, rotated())], OUT)
    assert set(result.variances) == {"var_rnoise"}


def test_switches():
    arrays = noisy(9)
    options = Resample(enable_ctx=False, enable_err=False)
    result = resample([exposure(arrays, rotated())], OUT, options)
    assert result.context is None
    assert result.err is None
    assert result.dq is None
    assert result.variances == {}
    silent = resample([exposure(arrays, rotated())], OUT, Resample(report_var=False))
    assert silent.variances == {}
    assert silent.err is not None


def test_impossible_inputs_say_so():
    with pytest.raises(InputError, match="nothing to resample"):
        resample([], OUT)
    lost = exposure({"data": np.ones(SHAPE)}, np.full((*SHAPE, 2), np.nan), name="x_psfsub.fits")
    with pytest.raises(InputError, match=r"not one pixel .* - x_psfsub\.fits - "):
        resample([lost], OUT)


@pytest.mark.parametrize(
    "wrong",
    [{"fillval": "abc"}, {"pixel_scale": 0}, {"pixel_scale_ratio": -1}, {"kernel": "round"},
     {"pixfrac": 1.1}, {"output_shape": [5]}, {"weight_type": "err"}, {"pixmap_order": 2}],
)  # fmt: skip
def test_options_are_checked(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Resample(**wrong)


@pytest.mark.parametrize("value", [None, "none", "None"])
def test_no_weights_may_be_written_in_three_ways(value):
    assert Resample(weight_type=value).weight_type is None


def test_defaults_are_those_of_jwst_but_for_the_rotation():
    defaults = {option.name: option.default for option in declared(Resample)}
    jwst = {
        "pixfrac": 1.0, "kernel": "square", "fillval": "NAN", "weight_type": "ivm",
        "output_shape": None, "crpix": None, "crval": None, "pixel_scale_ratio": 1.0,
        "pixel_scale": None, "output_wcs": "", "single": False, "blendheaders": True,
        "in_memory": True, "enable_ctx": True, "enable_err": True, "report_var": True,
        "propagate_dq": False, "pixmap_stepsize": 1.0, "pixmap_order": 1,
    }  # fmt: skip
    assert {name: defaults[name] for name in jwst} == jwst
    assert defaults["rotation"] == 0.0


def test_the_spec_of_the_step_gives_the_defaults():
    lines = spec(Resample).splitlines()
    config = ConfigObj(
        configspec=ConfigObj(lines, interpolation=False, list_values=False, _inspec=True)
    )
    assert config.validate(Validator()) is True
    assert Resample.from_mapping(config) == Resample()
