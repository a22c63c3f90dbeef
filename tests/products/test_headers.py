"""What is read from the headers before anything else."""

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
