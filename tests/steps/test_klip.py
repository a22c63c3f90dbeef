import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.core.errors import InputError
from webbalign.products import models
from webbalign.products.streams import AlignedSlice, ComputedQuad
from webbalign.steps import KlipStep


@pytest.fixture
def pair(science):
    """Three integrations of starlight with noise, and six references of it."""
    rng = np.random.default_rng(8)
    patterns = gaussian_filter(rng.normal(size=(4, 48, 48)), (0, 2, 2)) * 20
    star = patterns[0] * 10

    def images(n):
        drift = np.tensordot(rng.normal(size=(n, 3)), patterns[1:], 1)
        return (star + drift + rng.normal(0, 0.3, (n, 48, 48))).astype("f4")

    target, psf = (CubeModel(data=images(n), err=np.full((n, 48, 48), 0.3, "f4")) for n in (3, 6))
    for model, name in ((target, "jw1_crfints.fits"), (psf, "jw1_psfalign.fits")):
        model.update(science)
        model.meta.filename = name
        model.meta.wcsinfo.crpix1 = model.meta.wcsinfo.crpix2 = 24.5
        model.dq = np.zeros(model.data.shape, np.uint32)
    return target, psf


def run(pair, **options):
    result = KlipStep.call(*pair, configure_log=False, **options)
    return result, models.extension(result, "VAR_COMMON")


def test_an_integration_without_data_spoils_no_other(pair):
    target, psf = pair
    without = CubeModel(data=target.data[1:], err=target.err[1:])
    without.update(target)
    expected, common = run((without, psf))
    target.data[0] = np.nan
    found, found_common = run(pair)
    assert np.isnan(found.data[0]).all()
    assert (found.dq[0] & models.DO_NOT_USE).all()
    np.testing.assert_allclose(found.data[1:], expected.data, atol=1e-5)
    np.testing.assert_allclose(found.err[1:], expected.err, rtol=1e-4)
    np.testing.assert_allclose(found_common, common, rtol=1e-3)


def test_a_reference_without_data_is_left_out(pair):
    target, psf = pair
    fewer = CubeModel(data=psf.data[1:], err=psf.err[1:])
    fewer.update(psf)
    fewer.dq = psf.dq[1:]
    expected, common = run((target, fewer))
    psf.data[0], psf.dq[0] = 0.0, models.DO_NOT_USE
    found, found_common = run(pair)
    np.testing.assert_allclose(found.data, expected.data, atol=1e-5)
    np.testing.assert_allclose(found.err, expected.err, rtol=1e-5)
    np.testing.assert_allclose(found_common, common, rtol=1e-5)


def test_an_error_of_zero_is_an_unknown_one(pair):
    target, psf = pair
    expected, _ = run(pair)
    unknown = np.random.default_rng(1).random((48, 48)) < 0.05
    target.err[:, unknown] = 0.0
    found, _ = run(pair)
    assert np.isnan(found.err[:, unknown]).all()
    # the zeros are no noise-free pixels whose residuals would have to be starlight
    ratio = found.err[:, ~unknown] / expected.err[:, ~unknown]
    assert abs(np.median(ratio) - 1) < 0.02


def test_a_flat_of_unknown_error_leaves_err_as_it_is(pair):
    target, _ = pair
    expected, _ = run(pair)
    target.var_flat = np.full(target.data.shape, np.nan, "f4")
    found, _ = run(pair)
    np.testing.assert_allclose(found.err, expected.err, rtol=1e-6)


def call(science, references, **options):
    return KlipStep.call(science, references, configure_log=False, **options)


def test_starlight_goes_and_the_errors_are_positive(science, stack):
    result = call(science, stack)
    good = np.isfinite(result.data)
    assert good.mean() > 0.95
    assert np.nanstd(result.data) < 0.5 * np.nanstd(science.data)
    assert (result.err[good] > 0).all()
    assert result.meta.cal_step.klip == "COMPLETE"
    assert models.extension(result, "VAR_COMMON").shape == (80, 80)


def test_a_nan_touches_only_itself(science, stack):
    plain = call(science, stack)
    science.data[1, 30, 30] = np.nan
    spoilt = call(science, stack)
    assert np.isnan(spoilt.data[1, 30, 30])
    assert spoilt.dq[1, 30, 30] & models.DO_NOT_USE
    others = np.isfinite(plain.data)
    others[1, 30, 30] = False
    assert np.isfinite(spoilt.data[others]).all()
    assert np.abs(spoilt.data - plain.data)[others].max() < 0.05 * np.nanstd(plain.data)


def test_integrations_that_lack_different_pixels_keep_their_errors(science, stack):
    # one NaN in a mean image once spread over all errors
    parts = []
    for i in range(4):
        dq = stack.dq.copy()
        dq[:, 20 + i, 20] |= 1
        parts.append(AlignedSlice(stack.data, stack.err, dq))
    aligned = ComputedQuad(stack, (4, *stack.shape), parts.__getitem__)
    result = call(science, aligned)
    known = np.isfinite(result.data) & np.isfinite(science.err)
    known[:, 20:24, 20] = False
    assert np.isfinite(result.err[known]).all()
    assert np.isfinite(models.extension(result, "VAR_COMMON")).mean() > 0.95


def test_flags_of_the_references_are_united_but_one_bad_one_spoils_nothing(science, stack):
    references = models.new_cube(stack, stack.data, stack.err, stack.dq.copy())
    references.dq[2, 40, 10] |= 1 | 2
    references.dq[:, 41, 10] |= 1
    result = call(science, references)
    assert (result.dq[:, 40, 10] & 2 == 2).all()
    assert not (result.dq[:, 40, 10] & 1).any()
    assert (result.dq[:, 41, 10] & 1 == 1).all()


def test_one_reference_is_enough(science, stack):
    one = models.new_cube(stack, stack.data[:1], stack.err[:1], stack.dq[:1])
    assert np.isfinite(call(science, one).data).mean() > 0.95


def test_the_psf_model_on_request(science, stack, tmp_path):
    name = str(tmp_path)
    result = KlipStep.call(
        science, stack, save_psf_model=True, save_results=True, output_dir=name, configure_log=False
    )
    (path,) = tmp_path.glob("*_psfmodel.fits")
    with CubeModel(str(path)) as model:
        good = np.isfinite(result.data)
        total = (result.data + model.data)[good]
        np.testing.assert_allclose(total, science.data[good], rtol=1e-4, atol=1e-3)


def test_references_of_another_size_are_refused_by_name(science, stack):
    small = models.new_cube(stack, stack.data[:, 1:], stack.err[:, 1:], stack.dq[:, 1:])
    small.meta.filename = "small_psfalign.fits"
    with pytest.raises(InputError, match="80 x 79 pixels - small_psfalign.* - give 80 x 80"):
        call(science, small)
