"""The subtraction on real exposures: a disc with JWST, a planet with the VLT."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter, rotate

from webbalign.core.klip import Klip, fit_basis, subtract
from webbalign.core.klip_errors import subtraction_errors

STAR = (150, 174)
REFERENCES = ("003", "004", "005", "006", "013", "014")


@pytest.fixture(scope="module")
def au_mic(data_folder):
    """(image, error, angle of the image's y axis east of north in degrees) by observation."""
    found = {}
    for number in ("001", "002", *REFERENCES):
        name = f"jw01184{number}001_03107_00001_nrcalong_calints.fits.gz"
        with fits.open(data_folder / "winnie_aumic_f356w" / name) as hdus:
            header = hdus["SCI"].header
            found[number] = (
                hdus["SCI"].data[0].astype(float),
                hdus["ERR"].data[0].astype(float),
                header["PA_APER"],
            )
    return found


def test_disc_of_au_mic(au_mic):
    """Edge-on at position angle 128.5 degrees, with errors as large as the scatter beside it."""
    references = np.array([au_mic[n][0] for n in REFERENCES])
    variances = np.array([au_mic[n][1] for n in REFERENCES]) ** 2
    y, x = np.indices(references.shape[1:])
    x, y = x - STAR[0], y - STAR[1]
    radius = np.hypot(x, y) * 0.063
    basis = fit_basis(references)
    for number in ("001", "002"):
        image, error, angle = au_mic[number]
        subtraction = subtract(basis, image)
        errors = subtraction_errors(
            basis, subtraction, error[None] ** 2, variances,
            groups=np.array([0, 0, 1, 1, 2, 2]), centre=STAR,
        )  # fmt: skip
        significance = subtraction.residual[0] / np.sqrt(errors.independent[0] + errors.common)
        usable = np.isfinite(significance) & (radius > 1.0) & (radius < 4.0)
        # position angle: from north (y axis turned by `angle`) over east (towards -x)
        position = np.mod(np.degrees(np.arctan2(-x, y)) + angle, 180.0)
        bins = np.arange(0.0, 181.0, 1.0)
        flux = np.histogram(position[usable], bins, weights=subtraction.residual[0][usable])[0]
        peak = gaussian_filter(flux, 2.0, mode="wrap").argmax() + 0.5
        assert abs(peak - 128.5) < 3.0
        beside = usable & (np.abs(np.mod(position - 128.5 + 90.0, 180.0) - 90.0) > 30.0)
        assert 0.5 < significance[beside].std() < 1.25
        assert significance[usable & ~beside].max() > 10.0


def test_planet_of_beta_pictoris(data_folder):
    """At 17.7 px, (x, y) = (62, 63), the brightest spot of the derotated mean."""
    folder = data_folder / "naco_betapic"
    cube = fits.getdata(folder / "naco_betapic_cube.fits").astype(float)
    angles = fits.getdata(folder / "naco_betapic_pa.fits").ravel()
    residual = subtract(fit_basis(cube, klip=Klip(truncate=10)), cube).residual
    turned = [
        rotate(image, -angle, reshape=False, order=1)
        for image, angle in zip(residual, angles, strict=True)
    ]
    y, x = np.indices(cube.shape[1:])
    radius = np.hypot(x - 50, y - 50)
    smooth = gaussian_filter(
        np.where((radius > 8) & (radius < 45), np.mean(turned, axis=0), 0), 1.5
    )
    found = np.unravel_index(smooth.argmax(), smooth.shape)
    assert np.hypot(found[0] - 63, found[1] - 62) < 1.5
    around = (radius > 14) & (radius < 22)
    assert smooth.max() > 15 * 1.4826 * np.median(np.abs(smooth[around]))
