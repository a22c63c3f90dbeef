"""The throughput is what an injected companion keeps, by the subtraction itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from webbalign.core.klip import Klip, fit_basis, subtract
from webbalign.core.klip_throughput import N_ANGLES, aperture_weights, companion_throughput
from webbalign.core.mapped import scratch_of
from webbalign.products.shared_arrays import SharedArray

NY, NX = 61, 65
CENTRE = (31.3, 29.8)
FWHM, DIAMETER = 2.4, 2.2
Y, X = np.mgrid[:NY, :NX]


def references(n, seed=2):
    rng = np.random.default_rng(seed)
    fall = np.exp(-np.hypot(X - CENTRE[0], Y - CENTRE[1]) / 12)
    return 100 * fall * gaussian_filter(rng.normal(size=(n, NY, NX)), (0, 1.1, 1.1))


def companion(x, y):
    image = np.exp(-4 * np.log(2) * ((X - x) ** 2 + (Y - y) ** 2) / FWHM**2)
    reach = int(np.ceil(1.5 * FWHM))
    return np.where(np.maximum(abs(X - x), abs(Y - y)) <= reach, image, 0.0)


def aperture_sum(image, x, y):
    reach = 3
    window = image[y - reach : y + reach + 1, x - reach : x + reach + 1]
    return np.sum(aperture_weights(DIAMETER, reach) * window)


def injected(basis, separation):
    """Inject a companion into a target and measure what is left of it, at each angle."""
    target = references(1, seed=9)[0]
    empty = subtract(basis, target[None]).residual[0]
    kept = []
    for angle in 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES:
        x = round(CENTRE[0] + separation * np.cos(angle))
        y = round(CENTRE[1] + separation * np.sin(angle))
        light = companion(x, y)
        left = subtract(basis, (target + 5 * light)[None]).residual[0] - empty
        kept.append(aperture_sum(left, x, y) / aperture_sum(5 * light, x, y))
    return np.median(kept)


@pytest.mark.parametrize("truncate", [1, 7, 40])
def test_it_is_what_an_injected_companion_keeps(truncate):
    basis = fit_basis(references(40), klip=Klip(truncate=truncate))
    separations = [3.0, 7.5, 12.0, 20.0]
    found = companion_throughput(basis, CENTRE, separations, fwhm=FWHM, diameter=DIAMETER)
    expected = [injected(basis, separation) for separation in separations]
    assert found == pytest.approx(expected, abs=1e-9)
    assert (found < 1).all()


@given(st.lists(st.floats(0.01, 100), min_size=9, max_size=9), st.randoms())
@settings(max_examples=20, deadline=None)
def test_neither_the_fluxes_of_all_references_nor_their_order_count(fluxes, random):
    images = references(9)
    order = random.sample(range(9), 9)
    scaled = (images * np.reshape(fluxes, (-1, 1, 1)))[order]
    one, other = (
        companion_throughput(
            fit_basis(stack, klip=Klip(truncate=9)),
            CENTRE,
            [4.0, 9.0],
            fwhm=FWHM,
            diameter=DIAMETER,
        )
        for stack in (images, scaled)
    )
    assert other == pytest.approx(one, abs=1e-8)


def test_without_modes_only_the_mean_is_lost():
    basis = fit_basis(references(5), klip=Klip(truncate=0))
    (found,) = companion_throughput(basis, CENTRE, [8.0], fwhm=FWHM, diameter=DIAMETER)
    assert found == pytest.approx(1.0, abs=0.01)
    assert found < 1


def test_where_half_of_the_places_are_no_good_nothing_is_said():
    good = np.ones((NY, NX), bool)
    good[:, :29] = False
    good[:20] = False
    basis = fit_basis(references(6), good=good)
    found = companion_throughput(basis, CENTRE, [10.0, 500.0], fwhm=FWHM, diameter=DIAMETER)
    assert np.isnan(found).all()
    whole = fit_basis(references(6))
    near = companion_throughput(whole, CENTRE, [10.0, 500.0], fwhm=FWHM, diameter=DIAMETER)
    assert np.isfinite(near).tolist() == [True, False]


def test_references_in_a_file_give_the_same_bits(tmp_path):
    from dataclasses import replace

    basis = fit_basis(references(70), klip=Klip(truncate=20))
    stored = SharedArray(basis.references.shape, np.float64, tmp_path, in_file=True)
    stored.array[:] = basis.references
    assert scratch_of(stored.array) is not None
    in_file = replace(basis, references=stored.array)
    one, other = (
        companion_throughput(item, CENTRE, [5.0, 9.0], fwhm=FWHM, diameter=DIAMETER)
        for item in (basis, in_file)
    )
    np.testing.assert_array_equal(one, other)
    stored.close()


def test_the_aperture_is_a_disk():
    weights = aperture_weights(DIAMETER, 3)
    assert weights.shape == (7, 7)
    assert weights.sum() == pytest.approx(np.pi * DIAMETER**2 / 4, rel=0.02)
    np.testing.assert_allclose(weights, weights.T)
    np.testing.assert_allclose(weights, weights[::-1])
    assert weights[3, 3] == 1
    assert weights[0].max() == 0
