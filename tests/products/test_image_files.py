"""What is read from a file is what the data model would read, in less time."""

import gzip
import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from tests.products.images import make_model, write_image
from webbalign.core.errors import InputError
from webbalign.products.image_files import decimal_year, read_image, read_info
from webbalign.products.models import open_image


@pytest.fixture
def path(tmp_path):
    return write_image(tmp_path)


def change(path, function):
    with fits.open(path, memmap=False) as hdulist:
        function(hdulist)
        hdulist.writeto(path, overwrite=True)


def test_a_file_and_its_model_say_the_same(path):
    from_file, from_model = read_image(path), read_image(open_image(path))
    for name in ("data", "err", "dq"):
        array = getattr(from_file, name)
        np.testing.assert_array_equal(array, getattr(from_model, name))
        assert array.dtype.isnative
    a, b = from_file.info, from_model.info
    assert (a.name, a.shape, a.epoch, a.observation) == (b.name, b.shape, b.epoch, b.observation)
    assert (a.instrument, a.detector, a.filter, a.pupil) == ("NIRCAM", "NRCA1", "F200W", "CLEAR")
    assert (b.instrument, b.detector, b.filter, b.pupil) == ("NIRCAM", "NRCA1", "F200W", "CLEAR")
    assert a.wcsinfo == pytest.approx(b.wcsinfo)
    assert a.wcs(10.0, 20.0) == b.wcs(10.0, 20.0)
    assert a.exp_type == b.exp_type == "NRC_IMAGE"


def test_without_the_wcs_the_rest_is_the_same(path):
    for source in (path, open_image(path)):
        whole, bare = (vars(read_info(source, wcs=wcs)) for wcs in (True, False))
        assert whole.pop("wcs") is not None
        assert bare.pop("wcs") is None
        assert whole == bare


def test_group_and_catalog_of_the_file_are_known(tmp_path):
    model = make_model()
    model.meta.group_id = "mine"
    model.meta.tweakreg_catalog = "stars.ecsv"
    model.save(str(tmp_path / "a_cal.fits"))
    info = read_info(tmp_path / "a_cal.fits")
    assert (info.group_id, info.tweakreg_catalog) == ("mine", "stars.ecsv")
    assert (read_info(model).group_id, read_info(model).tweakreg_catalog) == ("mine", "stars.ecsv")


def test_the_epoch_is_the_middle_of_the_exposure():
    assert read_info(make_model()).epoch == pytest.approx(Time(59751.05, format="mjd").jyear)


def test_the_epoch_is_the_start_where_the_middle_is_not_known():
    expected = Time("2022-06-21T01:00:00").jyear
    assert decimal_year(None, "2022-06-21", "01:00:00.0") == pytest.approx(expected, abs=1e-9)
    assert math.isnan(decimal_year(None))
    assert math.isnan(decimal_year("?", "yesterday"))


def test_compressed_files_are_read(path):
    packed = path.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    np.testing.assert_array_equal(read_image(packed).data, read_image(path).data)


def test_a_missing_err_is_nan_and_a_missing_dq_zero(path):
    def drop(hdulist):
        del hdulist["ERR"]
        del hdulist["DQ"]

    change(path, drop)
    image = read_image(path)
    assert np.isnan(image.err).all()
    assert not image.dq.any()


def test_it_does_not_matter_that_an_extension_is_gone(path):
    change(path, lambda hdulist: hdulist.pop("VAR_RNOISE"))
    assert read_image(path).data.shape == (64, 80)


def spoil(kind, path):
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("no FITS at all")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "cut in the data":
        path.write_bytes(path.read_bytes()[: 2880 * 10])
    elif kind == "no SCI":
        change(path, lambda hdulist: hdulist.pop("SCI"))
    elif kind == "cube":
        change(path, lambda hdulist: setattr(hdulist["SCI"], "data", np.zeros((2, 4, 4), "f4")))
    elif kind == "no ASDF":
        change(path, lambda hdulist: hdulist.pop("ASDF"))
    elif kind == "broken ASDF":
        change(path, lambda hdulist: hdulist["ASDF"].data["ASDF_METADATA"].__setitem__(..., 65))


@pytest.mark.parametrize(
    "kind, message",
    [
        ("missing", "no such file"),
        ("text", "not readable as FITS"),
        ("cut", "cut short"),
        ("cut in the data", "cut short"),
        ("no SCI", "no SCI extension"),
        ("cube", "3 dimensions"),
        ("no ASDF", "no ASDF extension"),
        ("broken ASDF", "ASDF extension is not readable"),
    ],
)
def test_unusable_files_are_named(path, kind, message):
    spoil(kind, path)
    with pytest.raises(InputError, match=message) as error:
        read_image(path)
    assert path.name in str(error.value)


def test_an_image_without_wcs_is_named(tmp_path):
    model = make_model()
    model.meta.wcs = None
    model.save(str(tmp_path / "b_cal.fits"))
    for source in (tmp_path / "b_cal.fits", model):
        with pytest.raises(InputError, match="no WCS"):
            read_info(source)
