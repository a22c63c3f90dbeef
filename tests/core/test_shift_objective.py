"""The sums of the shift fit as functions of the shift, against images shifted one by one."""

import numpy as np
import pytest
import scipy.fft

from webbalign.core._shift_objective import (
    CellInterpolant,
    SquaredImage,
    conjugate_spectrum,
    cross_sum,
)
from webbalign.core.fourier import Shifter

# all combinations of even and odd, where the Nyquist frequency is treated apart
SHAPES = [(30, 30), (31, 30), (30, 33), (27, 31)]
SHIFTS = [(0.0, 0.0), (0.3, 0.4), (-1.2, 2.7), (0.5, 0.5), (-0.49, 8.3)]


def images(shape):
    rng = np.random.default_rng(0)
    return rng.normal(size=shape), rng.normal(size=shape), rng.random(shape)


def functions(shape):
    science, psf, weight = images(shape)
    spectrum = scipy.fft.rfft2(science)
    cross = cross_sum(conjugate_spectrum(weight * psf), spectrum, shape)
    return cross, SquaredImage(spectrum, shape).summed(weight)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_values_and_slopes_are_those_of_the_shifted_image(shape, shift):
    science, psf, weight = images(shape)
    moved, by_dx, by_dy = Shifter(science, padding=0).gradient(*shift)
    cross, energy = (function.at(*shift) for function in functions(shape))
    slopes = [(0, 0), (0, 1), (1, 0)]
    expected = [np.sum(weight * psf * image) for image in (moved, by_dx, by_dy)]
    np.testing.assert_allclose([cross[i] for i in slopes], expected, atol=1e-11)
    expected = [np.sum(weight * moved**2)]
    expected += [2 * np.sum(weight * moved * image) for image in (by_dx, by_dy)]
    np.testing.assert_allclose([energy[i] for i in slopes], expected, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_second_derivatives_are_those_of_the_first(shape):
    h = 1e-5
    for function in functions(shape):
        here = function.at(0.3, -0.7)
        by_dx = (function.at(0.3 + h, -0.7) - function.at(0.3 - h, -0.7)) / (2 * h)
        by_dy = (function.at(0.3, -0.7 + h) - function.at(0.3, -0.7 - h)) / (2 * h)
        scale = abs(here).max()
        np.testing.assert_allclose(here[:2, 1:], by_dx[:2, :2], atol=1e-8 * scale)
        np.testing.assert_allclose(here[1:, :2], by_dy[:2, :2], atol=1e-8 * scale)


@pytest.mark.parametrize("shape", SHAPES)
def test_grids_hold_the_same_values(shape):
    dx, dy = np.array([0.3, 0.5]), np.array([0.1, 2.2, -3.0])
    for function in functions(shape):
        expected = [[function.at(x, y)[0, 0] for x in dx] for y in dy]
        np.testing.assert_allclose(function.on_grid(dx, dy), expected, atol=1e-10)
        whole = function.on_whole_pixels(4)
        expected = [[function.at(x, y)[0, 0] for x in range(-4, 5)] for y in range(-4, 5)]
        np.testing.assert_allclose(whole, expected, atol=1e-10)


@pytest.mark.parametrize("shift", [*SHIFTS, (0.499, -0.501)])
def test_interpolant_is_exact_to_rounding(shift):
    energy = functions((30, 33))[1]
    exact = energy.at(*shift)
    near = CellInterpolant(energy).at(*shift)
    np.testing.assert_allclose(near[:2, :2], exact[:2, :2], atol=1e-11 * abs(exact).max())
    np.testing.assert_allclose(near, exact, atol=1e-9 * abs(exact).max())
