"""Widths of stars by filter."""

import math

import pytest

from webbalign.products.filters import filter_fwhm, wavelength


# in-flight FWHM in px as the observatory's documentation gives them
@pytest.mark.parametrize(
    ("name", "pixel", "expected"),
    [
        ("F090W", 0.031, 1.06),
        ("F150W", 0.031, 1.61),
        ("F200W", 0.031, 2.14),
        ("F300M", 0.063, 1.59),
        ("F444W", 0.063, 2.30),
        ("F770W", 0.110, 2.45),
        ("F1000W", 0.110, 2.98),
        ("F2100W", 0.110, 6.13),
    ],
)
def test_width_is_that_of_the_observatory(name, pixel, expected):
    assert filter_fwhm(name, "", pixel) == pytest.approx(expected, rel=0.08)


def test_the_filter_in_the_pupil_wheel_counts():
    assert filter_fwhm("F444W", "F405N", 0.063) == filter_fwhm("F405N", "", 0.063)
    assert filter_fwhm("F444W", "CLEAR", 0.063) == filter_fwhm("F444W", "", 0.063)
    assert filter_fwhm("CLEAR", "F150W", 0.065) == filter_fwhm("F150W", "CLEARP", 0.065)


@pytest.mark.parametrize("name", ["", "CLEAR", "OPAQUE", "P750L", "GR700XD"])
def test_what_has_no_wavelength_has_no_width(name):
    assert math.isnan(wavelength(name))
    assert filter_fwhm(name, "", 0.031) is None
