from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from webbalign.simulate.instruments import instrument_for
from webbalign.simulate.optics import optics_for, poppy_system
from webbalign.simulate.propagation import Propagator
from webbalign.simulate.scenes import periodic_shift


def perfect(name, shape):
    """Propagator without wavefront errors and without the pixels' response."""
    instrument = instrument_for(name, shape)
    optics = optics_for(instrument, 1)
    optics = dataclasses.replace(optics, static=np.zeros_like(optics.static))
    propagator = Propagator(instrument, optics)
    propagator._response = np.ones_like(propagator._response)
    return instrument, optics, propagator


@pytest.fixture(scope="module")
def nircam():
    instrument = instrument_for("nircam", (96, 96))
    optics = optics_for(instrument, 2)
    return instrument, optics, Propagator(instrument, optics)


def still(optics):
    return np.zeros(len(optics.modes))


# The two sample the same aperture differently (grey or binary edges); what is left of that is
# compared with the peak of the star beside the mask.
@pytest.mark.parametrize(("name", "tolerance"), [("nircam", 1e-3), ("miri", 4e-3)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_agrees_with_poppys_own_propagation(name, tolerance, offset):
    instrument, optics, _ = perfect(name, (65, 65))
    scale = instrument.pixel_scale[0]
    square = dataclasses.replace(instrument, pixel_scale=(scale, scale), mask_center=(32.0, 32.0))
    propagator = Propagator(square, optics)
    propagator._response = np.ones_like(propagator._response)
    ours = propagator.image(32.0 + offset, 32.0, still(optics))
    peak = propagator.image(60.0, 55.0, still(optics)).max()

    system = poppy_system(square, fov_pixels=65)
    system.source_offset_r = offset * scale
    system.source_offset_theta = -90.0  # towards +x
    theirs = system.calc_psf(wavelength=optics.wavelengths[0])[0].data
    # poppy counts the light at the entrance, we behind the Lyot stop
    collected = (optics.pupil * optics.lyot).astype(float) ** 2
    theirs = theirs * (optics.pupil.astype(float) ** 2).sum() / collected.sum()
    assert np.abs(ours - theirs).max() < tolerance * peak
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99


def test_occulted_star_is_a_hundred_times_fainter(nircam):
    instrument, optics, propagator = nircam
    x, y = instrument.mask_center
    behind = propagator.image(x, y, still(optics))
    beside = propagator.image(x + 30, y + 5, still(optics))
    assert beside.max() > 50 * behind.max()
    assert np.unravel_index(beside.argmax(), beside.shape) == (round(y) + 5, round(x) + 30)


def test_unocculted_flux_is_conserved():
    instrument, optics, propagator = perfect("nircam", (240, 240))
    x, y = instrument.mask_center
    assert propagator.image(x + 50, y, still(optics)).sum() == pytest.approx(1.0, abs=0.02)


def test_offset_behind_the_mask_is_no_pure_shift(nircam):
    instrument, optics, propagator = nircam
    x, y = instrument.mask_center
    first = propagator.image(x, y, still(optics))
    second = propagator.image(x + 0.3, y, still(optics))
    shifts = np.arange(-0.2, 0.8, 0.02)
    residuals = [(second - periodic_shift(first, shift, 0.0)).std() for shift in shifts]
    assert min(residuals) > 0.05 * second.std()


def test_change_grows_with_the_drift(nircam):
    instrument, optics, propagator = nircam
    at = instrument.mask_center
    calm = propagator.image(*at, still(optics))
    drift = np.array([1.0, 0.0, 0.0, 0.0])
    small, large = (propagator.image(*at, nm * 1e-9 * drift) - calm for nm in (2, 4))
    assert np.abs(small).max() > 1e-3 * calm.max()
    # the speckles answer almost linearly to a few nanometres
    assert large.std() / small.std() == pytest.approx(2.0, rel=0.1)


def test_modes_have_unit_rms_and_the_static_error_its_size(nircam):
    _, optics, _ = nircam
    weight = optics.pupil
    for mode in optics.modes:
        assert np.sqrt(np.average(mode**2, weights=weight)) == pytest.approx(1.0, rel=1e-3)
    assert np.sqrt(np.average(optics.static**2, weights=weight)) == pytest.approx(75e-9, rel=1e-3)
