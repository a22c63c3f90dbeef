"""The limit of detection: the paper's numbers, and the false alarms that it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from webbalign.core.contrast import aperture_sums, contrast_curve, student_factor


def test_the_factor_is_that_of_the_paper():
    # Mawet et al. 2014, section 3.4: at 1 lambda/D, six elements, 5 sigma cost a factor of 10
    # (they keep the false-alarm fraction of 2.9e-7 with 4 degrees of freedom)
    expected = stats.t.isf(stats.norm.sf(5.0), 4) * np.sqrt(1 + 1 / 5)
    assert student_factor(5) == pytest.approx(expected)
    assert student_factor(5) > 5 * 5
    assert student_factor(100_000) == pytest.approx(5.0, rel=1e-3)


def test_few_elements_give_the_promised_false_alarms():
    rng = np.random.default_rng(3)
    others, significance = 8, 2.0
    samples = rng.normal(size=(200_000, others + 1))
    rest = samples[:, 1:]
    statistic = (samples[:, 0] - rest.mean(axis=1)) / rest.std(axis=1, ddof=1)
    found = np.mean(statistic > student_factor(others, significance))
    assert found == pytest.approx(stats.norm.sf(significance), rel=0.03)


def test_white_noise_gives_the_noise_of_an_aperture():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(401, 401))
    curve = contrast_curve(image, (200, 200), 4.0, [60, 100, 140])
    # white noise in pixels of unit variance: of the disk's shares the root of the sum of squares
    impulse = np.zeros((401, 401))
    impulse[200, 200] = 1
    expected = np.sqrt(np.nansum(aperture_sums(impulse, 4.0) ** 2))
    assert np.sqrt(np.mean(curve.noise**2)) == pytest.approx(expected, rel=0.1)
    assert (curve.n_elements == [94, 157, 219]).all()
    assert np.all(curve.limit > 5 * curve.noise)


@given(st.floats(1.5, 9.0), st.floats(0.1, 1e4))
def test_a_level_image_sums_to_the_area(diameter, level):
    image = np.full((31, 31), level)
    image[3, 4] = np.nan
    middle = aperture_sums(image, diameter)[15, 15]
    assert middle == pytest.approx(level * np.pi * diameter**2 / 4, rel=1e-9)


@given(st.floats(0.01, 1e3))
def test_the_limit_scales_with_the_image(scale):
    image = np.random.default_rng(5).normal(size=(81, 81))
    one = contrast_curve(image, (40, 40), 3.0, [8, 20])
    other = contrast_curve(scale * image, (40, 40), 3.0, [8, 20])
    assert other.limit == pytest.approx(scale * one.limit, rel=1e-6)


def test_what_is_not_measured_has_no_limit():
    image = np.random.default_rng(5).normal(size=(81, 81))
    image[:, 41:] = np.nan
    curve = contrast_curve(image, (40, 40), 3.0, [1.0, 20.0, 200.0])
    assert curve.n_elements[0] < 3
    assert np.isnan(curve.limit[0])
    assert 0 < curve.n_elements[1] < 2 * np.pi * 20 / 3 / 1.5
    assert np.isfinite(curve.limit[1])
    assert curve.n_elements[2] == 0
    assert np.isnan(curve.limit[2])


def test_a_source_on_a_ring_raises_that_ring_alone():
    image = np.random.default_rng(2).normal(size=(121, 121))
    clean = contrast_curve(image, (60, 60), 3.0, [15.0, 30.0])
    image[60, 90] += 1000
    with_source = contrast_curve(image, (60, 60), 3.0, [15.0, 30.0])
    assert with_source.limit[0] == pytest.approx(clean.limit[0])
    assert with_source.limit[1] > 5 * clean.limit[1]
