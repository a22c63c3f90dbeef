"""The SIP header says how well it agrees with the GWCS, and does."""

import warnings

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.wcs import WCS

from tests.products.images import SHAPE, Place, make_wcs
from webbalign.core.errors import OptionError
from webbalign.products.sip import SipApproximation, sip_header

BENT = make_wcs(bend=5e-5)


def header_of(sip):
    return Header((keyword, value) for keyword, value, _ in sip.cards)


def differences(wcs, header):
    """Largest forward and inverse difference in px, by astropy, off the points of the fit."""
    rng = np.random.default_rng(8)
    x, y = rng.uniform(-0.5, SHAPE[1] - 0.5, 400), rng.uniform(-0.5, SHAPE[0] - 0.5, 400)
    fits_wcs = WCS(header, relax=True)
    ra, dec = wcs(x, y, with_bounding_box=False)
    ra2, dec2 = fits_wcs.all_pix2world(x, y, 0)
    offset = np.hypot((ra2 - ra) * np.cos(np.radians(dec)), dec2 - dec) * 3600 / 0.0312
    # what DS9 does with AP and BP
    u, v = np.array(fits_wcs.wcs_world2pix(ra, dec, 1)) - fits_wcs.wcs.crpix[:, None]
    order = int(header.get("AP_ORDER", 0))
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    du = sum(header.get(f"AP_{i}_{j}", 0.0) * u**i * v**j for i, j in powers)
    dv = sum(header.get(f"BP_{i}_{j}", 0.0) * u**i * v**j for i, j in powers)
    back = np.hypot(u + du + header["CRPIX1"] - 1 - x, v + dv + header["CRPIX2"] - 1 - y)
    return offset.max(), back.max()


@pytest.mark.parametrize(
    "options",
    [{}, {"sip_degree": 2, "sip_inv_degree": 2}, {"sip_npoints": 9}, {"sip_approx": False}],
)
def test_the_stated_errors_hold(options):
    sip = sip_header(BENT, SHAPE, SipApproximation(**options))
    header = header_of(sip)
    assert header["SIPMXERR"] == sip.error
    assert header["SIPIVERR"] == sip.inverse_error
    error, inverse = differences(BENT, header)
    # random points hardly ever hit the worst place, the edges; below 1e-6 px nothing is stated
    assert 0.5 * sip.error - 1e-6 < error < 1.02 * sip.error
    assert 0.3 * sip.inverse_error - 1e-6 < inverse < 1.02 * sip.inverse_error


def test_the_default_is_good_enough():
    sip = sip_header(BENT, SHAPE)
    assert sip.error < 0.01
    assert sip.inverse_error < 0.01


def test_degrees_are_obeyed():
    sip = header_of(sip_header(BENT, SHAPE, SipApproximation(sip_degree=3, sip_inv_degree=4)))
    assert (sip["A_ORDER"], sip["B_ORDER"], sip["AP_ORDER"], sip["BP_ORDER"]) == (3, 3, 4, 4)


def test_a_stricter_limit_takes_a_higher_degree():
    orders = [
        header_of(sip_header(BENT, SHAPE, SipApproximation(sip_max_inv_pix_error=limit)))[
            "AP_ORDER"
        ]
        for limit in (0.1, 1e-4)
    ]
    assert orders[0] < orders[1] <= 6


def test_a_limit_out_of_reach_is_no_warning_but_a_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sip = sip_header(BENT, SHAPE, SipApproximation(sip_max_inv_pix_error=1e-6))
    assert sip.inverse_error > 1e-6


def test_without_approximation_the_header_is_linear():
    header = header_of(sip_header(BENT, SHAPE, SipApproximation(sip_approx=False)))
    assert header["CTYPE1"] == "RA---TAN"
    assert not [key for key in header if key.startswith(("A_", "B_", "AP_", "BP_"))]


def test_the_reference_pixel_is_kept_unless_it_lies_outside():
    assert header_of(sip_header(BENT, SHAPE, crpix=(10.0, 20.0)))["CRPIX1"] == 10.0
    assert header_of(sip_header(BENT, SHAPE, crpix=(500.0, 20.0)))["CRPIX1"] == pytest.approx(40.5)


def test_a_wcs_without_bounding_box_is_taken_over_the_whole_image():
    wcs = make_wcs(Place(), bend=5e-5)
    wcs.bounding_box = None
    assert sip_header(wcs, SHAPE).error < 0.01


@pytest.mark.parametrize(
    "bad",
    [{"sip_degree": 7}, {"sip_degree": 0}, {"sip_inv_degree": 9}, {"sip_npoints": 7},
     {"sip_max_pix_error": 0.0}, {"sip_max_inv_pix_error": -1.0}],
)  # fmt: skip
def test_bounds_name_the_option(bad):
    with pytest.raises(OptionError, match=next(iter(bad))):
        SipApproximation(**bad)
