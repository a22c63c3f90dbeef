"""What is read from the headers before anything else."""

import numpy as np
import pytest
from astropy.io import fits

from webbalign.products.headers import read_header


def first(sequence):
    return sequence.association.parent / sequence.science[0]


def edited(sequence, tmp_path, **keywords):
    path = tmp_path / "edited_calints.fits"
    with fits.open(first(sequence)) as hdulist:
        for name, value in keywords.items():
            hdulist["SCI"].header[name] = value
        hdulist.writeto(path)
    return path


def test_a_header_as_assign_wcs_makes_it_is_at_its_pointing(sequence):
    assert not read_header(first(sequence)).wcs_moved


@pytest.mark.parametrize("keyword", ["CRVAL1", "CRVAL2", "RA_REF", "DEC_REF"])
def test_a_moved_header_is_noticed(sequence, tmp_path, keyword):
    value = fits.getval(first(sequence), keyword, "SCI") + 1e-5
    assert read_header(edited(sequence, tmp_path, **{keyword: value})).wcs_moved


def test_a_header_without_pointing_is_not_trusted(sequence, tmp_path):
    assert read_header(edited(sequence, tmp_path, RA_REF=None)).wcs_moved


@pytest.mark.parametrize("extension, value", [("SCI", np.nan), ("DQ", 1)])
def test_an_exposure_without_valid_pixel_is_noticed(sequence, tmp_path, extension, value):
    path = tmp_path / "empty_calints.fits"
    with fits.open(first(sequence), memmap=False) as hdulist:
        hdulist[extension].data[:] = value
        hdulist.writeto(path)
        hdulist["SCI"].data[-1, 3, 4], hdulist["DQ"].data[-1, 3, 4] = 1.0, 2
        hdulist.writeto(tmp_path / "nearly_calints.fits")
    assert not read_header(path).has_data
    assert read_header(tmp_path / "nearly_calints.fits").has_data
