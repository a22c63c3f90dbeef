import shutil

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from webbalign.core.errors import InputError
from webbalign.products import models


@pytest.fixture
def exposure(sequence, tmp_path):
    name = sequence.science[0]
    return shutil.copy(sequence.association.parent / name, tmp_path / name)


def change(path, function):
    with fits.open(path, memmap=False) as hdulist:
        function(hdulist)
        hdulist.writeto(path, overwrite=True)


def test_open_with_and_without_wcs(exposure):
    whole, light = models.open_cube(exposure), models.open_cube(exposure, wcs=False)
    assert whole.meta.wcs is not None
    assert light.meta.wcs is None
    np.testing.assert_array_equal(whole.data, light.data)
    assert light.meta.instrument.name == "NIRCAM"
    assert light.meta.filename == exposure.name


def test_missing_err_and_dq_are_made(exposure):
    expected = models.open_cube(exposure).err

    def drop(hdulist):
        del hdulist["ERR"]
        del hdulist["DQ"]

    change(exposure, drop)
    model = models.open_cube(exposure)
    np.testing.assert_allclose(model.err, expected, rtol=1e-5)
    assert model.dq.shape == model.data.shape
    assert not model.dq.any()


def test_without_any_error_the_file_is_refused(exposure):
    def drop(hdulist):
        for name in ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
            del hdulist[name]

    change(exposure, drop)
    with pytest.raises(InputError, match="no ERR") as error:
        models.open_cube(exposure)
    assert exposure.name in str(error.value)


@pytest.mark.parametrize("kind", ["nan", "flagged"])
def test_an_exposure_without_valid_pixels_is_refused(exposure, kind):
    def spoil(hdulist):
        if kind == "nan":
            hdulist["SCI"].data[:] = np.nan
        else:
            hdulist["DQ"].data[:] = 1

    change(exposure, spoil)
    with pytest.raises(InputError, match=f"no valid pixel.* - {exposure.name} - "):
        models.open_cube(exposure)


def test_variances_of_another_shape_do_not_count(exposure):
    def shrink(hdulist):
        hdulist["VAR_FLAT"].data = hdulist["VAR_FLAT"].data[0]
        hdulist["VAR_RNOISE"] = fits.ImageHDU(name="VAR_RNOISE")

    change(exposure, shrink)
    model = models.open_cube(exposure)
    assert models.has_variance(model, "var_poisson")
    assert not models.has_variance(model, "var_flat")
    assert not models.has_variance(model, "var_rnoise")


def test_variance_of_negative_and_missing_errors_is_unknown():
    model = datamodels.CubeModel(
        data=np.ones((1, 1, 3), "f4"), err=np.array([[[2.0, -1.0, np.nan]]], "f4")
    )
    np.testing.assert_array_equal(models.variance(model), [[[4.0, np.nan, np.nan]]])


def test_extensions_come_back(exposure, tmp_path):
    model = models.open_cube(exposure)
    image = np.arange(6, dtype="f4").reshape(2, 3)
    table = np.array([(1, b"OK")], dtype=[("n", "i4"), ("status", "S4")])
    models.add_extension(model, "VAR_COMMON", image)
    models.add_extension(model, "SHIFTS", table)
    path = models.save(model, tmp_path / "x.fits")
    again = models.open_cube(path)
    np.testing.assert_array_equal(models.extension(again, "VAR_COMMON"), image)
    assert models.extension(again, "SHIFTS")["status"][0] == b"OK"
    assert models.extension(again, "NONE") is None


def test_existing_products_can_be_protected(exposure, tmp_path):
    model = models.open_cube(exposure)
    path = models.save(model, tmp_path / "x.fits")
    models.save(model, path)
    with pytest.raises(InputError, match=r"exists already - .*x\.fits - "):
        models.save(model, path, overwrite=False)


def test_mean_over_integrations_leaves_nan_out():
    cube = np.array([[[1.0, np.nan, np.nan]], [[3.0, 5.0, np.nan]]])
    np.testing.assert_array_equal(models.mean_over_integrations(cube), [[2.0, 5.0, np.nan]])


def test_models_share_a_schema_that_none_of_them_changes():
    expected = datamodels.CubeModel()._schema
    one = models.new_model(datamodels.CubeModel)
    one.add_schema_entry("meta.something", {"type": "string"})
    one.meta.something = "new"
    other = models.new_model(datamodels.CubeModel)
    assert other._schema == expected
    assert not other.meta.hasattr("something")
