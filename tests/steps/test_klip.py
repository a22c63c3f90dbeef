import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from stdatamodels.jwst.datamodels import CubeModel

from webbalign.products import models
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
