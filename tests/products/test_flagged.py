"""Tests of saving flagged exposures."""

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
