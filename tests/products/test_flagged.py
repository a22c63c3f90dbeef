"""Tests of saving flagged exposures."""

import gzip
import warnings

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from webbalign.products import models
from webbalign.products.flagged import save_flagged


@pytest.fixture
def exposure(sequence):
    return sequence.association.parent / sequence.science[0]


def test_flagged_exposure_keeps_the_rest_of_its_file(exposure, tmp_path):
    model = models.open_cube(exposure, wcs=False)
    model.dq[0, 3, 4] |= 17
    model.data[0, 3, 4] = np.nan
    model.meta.cal_step.outlier_detection = "COMPLETE"
    models.add_history(model, "what was done")
    out = save_flagged(model, tmp_path / "a_crfints.fits")
    with fits.open(out) as new, fits.open(exposure) as old:
        assert [hdu.name for hdu in new] == [hdu.name for hdu in old]
        assert bytes(new["ASDF"].data.tobytes()) == bytes(old["ASDF"].data.tobytes())
        assert new[0].header["S_OUTLIR"] == "COMPLETE"
        assert new[0].header["FILENAME"] == "a_crfints.fits"
        assert "what was done" in str(new[0].header["HISTORY"])
        assert new["DQ"].data[0, 3, 4] & 17 == 17
    with datamodels.open(out) as again:
        again.validate()
        assert again.meta.wcs is not None
        assert np.isnan(again.data[0, 3, 4])


@pytest.mark.parametrize("header", [True, False])
def test_the_history_of_a_file_outlives_its_flagging(sequence, tmp_path, header):
    source = tmp_path / sequence.psf[0]
    source.write_bytes((sequence.association.parent / sequence.psf[0]).read_bytes())
    fits.setval(source, "HISTORY", value="made by stage 2")
    model = models.open_cube(source, wcs=False, header=header)
    models.add_history(model, "flagged")
    saved = save_flagged(model, tmp_path / "x_crfints.fits")
    assert list(fits.getheader(saved)["HISTORY"]) == ["made by stage 2", "flagged"]


def test_an_exposure_is_copied_byte_by_byte(sequence, tmp_path):
    source = sequence.association.parent / sequence.psf[0]
    model = models.open_cube(source, wcs=False, header=False)
    model.data[1, 5, 6] = np.nan
    saved = save_flagged(model, tmp_path / "x_crfints.fits")
    with fits.open(source) as old:
        start = old[1].fileinfo()["hdrLoc"]
        pixel = old["SCI"].fileinfo()["datLoc"] + 4 * np.ravel_multi_index((1, 5, 6), old[1].shape)
    with fits.open(saved) as new:
        shift = new[1].fileinfo()["hdrLoc"] - start
    before, after = source.read_bytes(), saved.read_bytes()
    assert len(after) == len(before) + shift
    differs = np.flatnonzero(
        np.frombuffer(before[start:], np.uint8) != np.frombuffer(after[start + shift :], np.uint8)
    )
    assert differs.size
    assert set(differs + start) <= set(range(pixel, pixel + 4))


@pytest.mark.parametrize("kind", ["plain", "scaled"])
def test_variances_that_were_not_read_are_blanked_where_the_image_is(sequence, tmp_path, kind):
    source = tmp_path / sequence.psf[0]
    with fits.open(sequence.association.parent / sequence.psf[0]) as hdus:
        if kind == "scaled":  # no float32: nothing can be copied as it is
            hdus["VAR_RNOISE"].data = hdus["VAR_RNOISE"].data.astype(np.float64)
        hdus.writeto(source)
        old = {name: np.array(hdus[name].data) for name in ("VAR_POISSON", "VAR_RNOISE", "DQ")}
    model = models.open_cube(source, wcs=False, header=False)
    model._blanked = np.zeros(model.data.shape, bool)
    model._blanked[0, 2, 3] = model._blanked[1, 4, 5] = True
    with fits.open(save_flagged(model, tmp_path / "x_crfints.fits")) as new:
        for name in ("VAR_POISSON", "VAR_RNOISE"):
            np.testing.assert_array_equal(
                new[name].data, np.where(model._blanked, np.nan, old[name])
            )
        np.testing.assert_array_equal(new["DQ"].data, old["DQ"])


def test_a_check_sum_is_never_left_wrong(sequence, tmp_path):
    source = tmp_path / sequence.psf[0]
    with fits.open(sequence.association.parent / sequence.psf[0]) as hdus:
        hdus.writeto(source, checksum=True)
    model = models.open_cube(source, wcs=False, header=False)
    model.data[0, 0, 0] += 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(save_flagged(model, tmp_path / "x_crfints.fits"), checksum=True) as new:
            assert new["SCI"].data[0, 0, 0] == model.data[0, 0, 0]


def test_a_packed_exposure_is_flagged(sequence, tmp_path):
    source = tmp_path / f"{sequence.psf[0]}.gz"
    raw = (sequence.association.parent / sequence.psf[0]).read_bytes()
    source.write_bytes(gzip.compress(raw, 1))
    model = models.open_cube(source, wcs=False, header=False)
    model.data[0, 1, 2] = np.nan
    with fits.open(save_flagged(model, tmp_path / "x_crfints.fits")) as new:
        assert np.isnan(new["SCI"].data[0, 1, 2])
        np.testing.assert_array_equal(new["ERR"].data, model.err)
