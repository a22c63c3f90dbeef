"""The family of shapes and its integrals over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.starfield import OVERSAMPLING, diffraction
from webbalign.core._blemishes import duplicates, in_halo
from webbalign.core._psf_family import WIDTH, pixel_integrals, psf_family

HALF = 12


def image(shape: np.ndarray, dx: float, dy: float, fwhm: float) -> np.ndarray:
    x, _ = pixel_integrals(np.array([dx]), WIDTH * fwhm, HALF)
    y, _ = pixel_integrals(np.array([dy]), WIDTH * fwhm, HALF)
    return y[0].T @ shape @ x[0]


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-0.7, 0.7), dy=st.floats(-0.7, 0.7), fwhm=st.floats(0.8, 2.5))
def test_the_light_is_the_same_wherever_the_star_is(dx, dy, fwhm):
    """Its pixels are integrals, so that their sum is that over the plane."""
    assert image(psf_family().mean, dx, dy, fwhm).sum() == pytest.approx(1, abs=0.03)
    centred = image(psf_family().mean, 0, 0, fwhm).sum()
    assert image(psf_family().mean, dx, dy, fwhm).sum() == pytest.approx(centred, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(offset=st.floats(-1, 1), width=st.floats(0.4, 3))
def test_derivatives_are_those_of_the_integrals(offset, width):
    step = 1e-5
    _, derivative = pixel_integrals(np.array([offset]), width, 6)
    ahead, _ = pixel_integrals(np.array([offset + step]), width, 6)
    behind, _ = pixel_integrals(np.array([offset - step]), width, 6)
    assert np.allclose(derivative, (ahead - behind) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("fwhm", [1.0, 1.6, 3.0])
@pytest.mark.parametrize("error", [0.0, 0.05])
def test_the_family_holds_what_a_telescope_makes(fwhm, error):
    """Its modes, free to move and to grow, describe a simulated PSF to 1 % of the peak."""
    truth = diffraction(fwhm, error=error)
    middle, side = truth.shape[0] // 2, np.arange(-HALF, HALF + 1)
    pixels = middle + side * OVERSAMPLING
    target = truth[np.ix_(pixels, pixels)]
    family = psf_family()
    step = 1e-3
    columns = [image(mode, 0, 0, fwhm) for mode in (family.mean, *family.modes)]
    for dx, dy in ((step, 0), (0, step)):
        moved = image(family.mean, dx, dy, fwhm) - image(family.mean, -dx, -dy, fwhm)
        columns.append(moved / (2 * step))
    inside = np.hypot(side, side[:, None]) < 2 * fwhm
    design = np.stack(columns, axis=-1)[inside]
    fitted = design @ np.linalg.lstsq(design, target[inside], rcond=None)[0]
    assert np.abs(fitted - target[inside]).max() < 0.01 * target.max()


def test_modes_are_small_beside_the_mean():
    mean = image(psf_family().mean, 0, 0, 2.0)
    sizes = [np.abs(image(mode, 0, 0, 2.0)).max() for mode in psf_family().modes]
    assert max(sizes) < 0.25 * mean.max()
    assert sizes[0] == max(sizes[:5])


def test_a_halo_belongs_to_its_star():
    x = np.array([100.0, 104.0, 100.0, 160.0, 130.0])
    y = np.array([100.0, 100.0, 103.0, 100.0, 141.0])
    flux = np.array([1e5, 1e2, 8e4, 1e2, 1e2])
    nothing = np.zeros(5, bool)
    refused = in_halo(x, y, flux, nothing, 1.6)
    # a maximum of the rings; an equal star; on a spike, far away but brighter than it; elsewhere
    assert list(refused) == [False, True, False, False, False]
    flux[3] = 10.0
    assert in_halo(x, y, flux, nothing, 1.6)[3]
    flux[4] = 10.0
    assert not in_halo(x, y, flux, nothing, 1.6)[4]
    assert in_halo(x, y, flux, ~nothing, 1.6)[4]


def test_of_two_that_coincide_the_brighter_stays():
    x, y = np.array([10.0, 10.3, 30.0]), np.array([10.0, 10.1, 30.0])
    assert list(duplicates(x, y, np.array([1.0, 2.0, 3.0]), 0.8)) == [True, False, False]
