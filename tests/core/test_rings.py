from __future__ import annotations

import numpy as np
import pytest

from webbalign.core.rings import RING_PIXELS, fit_components, make_rings

SHAPE = (101, 121)
CENTRE = (55.0, 48.0)


@pytest.fixture(scope="module")
def rings():
    good = np.ones(SHAPE, bool)
    good[:10] = False
    return make_rings(SHAPE, CENTRE, good.ravel())


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def smooth_map(rings):
    return 1.0 / (1.0 + (rings.radius / 15.0) ** 2)


def spotted_map(rng, rings):
    return rng.exponential(size=rings.radius.shape) * smooth_map(rings)


def test_every_good_pixel_is_in_one_ring(rings):
    assert len(np.unique(rings.order)) == len(rings.order) == 91 * 121
    assert rings.counts.sum() == len(rings.order)
    assert (rings.counts >= RING_PIXELS).all()
    assert (np.diff(rings.radii) > 0).all()
    ones = np.ones(len(rings.order))
    np.testing.assert_array_equal(rings.sector_sums(ones).sum(axis=1), rings.counts)


def test_rings_do_not_overlap(rings):
    ring = rings.spread(np.arange(len(rings.radii)))
    radius = rings.radius[rings.order]
    inner = np.array([radius[ring == k].min() for k in range(len(rings.radii))])
    outer = np.array([radius[ring == k].max() for k in range(len(rings.radii))])
    assert (outer[:-1] < inner[1:]).all()


def test_few_pixels_make_one_ring():
    good = np.zeros(SHAPE, bool)
    good[40:44, 50:55] = True
    assert len(make_rings(SHAPE, CENTRE, good.ravel()).radii) == 1


def test_finds_two_components(rings, rng):
    """Of a smooth and a spotted map, each with its own factor, over white noise."""
    maps = np.stack([smooth_map(rings), spotted_map(rng, rings)])
    noise = np.full(rings.radius.shape, 0.02)
    true = noise + 3.0 * maps[0] + 8.0 * maps[1]
    values = rng.normal(size=true.shape) * np.sqrt(true)
    factors = fit_components(values, noise, maps, rings)
    inner = rings.radii < 45
    np.testing.assert_allclose(np.median(factors[0, inner]), 3.0, rtol=0.35)
    np.testing.assert_allclose(np.median(factors[1, inner]), 8.0, rtol=0.2)
    fitted = noise + sum(rings.interpolate(f) * m for f, m in zip(factors, maps, strict=True))
    np.testing.assert_allclose(np.median(fitted / true), 1.0, atol=0.05)


def test_mean_squares_with_degrees_of_freedom(rings, rng):
    maps = np.stack([smooth_map(rings), np.zeros(rings.radius.shape)])
    noise = np.full(rings.radius.shape, 0.05)
    true = noise + 2.0 * maps[0]
    for freedom in (1, 5, 19):
        squares = true * rng.chisquare(freedom, true.shape) / freedom
        factors = fit_components(squares, noise, maps, rings, np.full(true.shape, float(freedom)))
        inner = rings.radii < 40
        np.testing.assert_allclose(factors[0, inner].mean(), 2.0, rtol=0.06)
        assert (factors[1] == 0).all()


def test_noise_alone_leaves_little(rings, rng):
    maps = np.stack([smooth_map(rings), spotted_map(rng, rings)])
    noise = np.ones(rings.radius.shape)
    factors = fit_components(rng.normal(size=noise.shape), noise, maps, rings)
    extra = sum(rings.interpolate(f) * m for f, m in zip(factors, maps, strict=True))
    assert np.mean(extra) < 0.06


@pytest.mark.parametrize(
    "source",
    [
        lambda x, y: 40.0 * np.exp(-((x - 20) ** 2 + (y - 5) ** 2) / 8.0),
        lambda x, y: 6.0 * np.exp(-(y**2) / 8.0),
    ],
    ids=["companion", "edge-on disc"],
)
def test_sources_do_not_count(rings, rng, source):
    y, x = np.indices(SHAPE).reshape(2, -1)
    maps = np.stack([smooth_map(rings), np.zeros(rings.radius.shape)])
    noise = np.full(rings.radius.shape, 0.05)
    values = rng.normal(size=noise.shape) * np.sqrt(noise + 2.0 * maps[0])
    seen = values + source(x - CENTRE[0], y - CENTRE[1])
    # nearer to the star the disc covers a quarter of the ring and more
    inner = (rings.radii > 10) & (rings.radii < 40)
    without, with_source = (fit_components(v, noise, maps, rings)[0, inner] for v in (values, seen))
    np.testing.assert_allclose(with_source.mean(), without.mean(), rtol=0.25)


def test_a_pedestal_does_not_count(rings, rng):
    maps = np.stack([smooth_map(rings), spotted_map(rng, rings)])
    noise = np.full(rings.radius.shape, 0.05)
    values = rng.normal(size=noise.shape) * np.sqrt(noise + maps[0])
    np.testing.assert_allclose(
        fit_components(values - 100.0, noise, maps, rings),
        fit_components(values, noise, maps, rings),
        rtol=1e-6,
    )


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_level_of_a_ring_does_not_count(rings, rng, sign):
    """Sky, or starlight taken away twice all around: an offset is no scatter."""
    maps = np.stack([smooth_map(rings), np.zeros(rings.radius.shape)])
    noise = np.full(rings.radius.shape, 0.05)
    values = rng.normal(size=noise.shape) * np.sqrt(noise + 0.5 * maps[0])
    at = np.argmin(np.abs(rings.radii - 25.0))
    ring = np.zeros(values.shape)
    starts = np.concatenate([[0], np.cumsum(rings.counts)])
    ring[rings.order[starts[at] : starts[at + 1]]] = sign
    with_level, without = (
        fit_components(v, noise, maps, rings)[0, at] for v in (values + ring, values)
    )
    np.testing.assert_allclose(with_level, without, rtol=0.05)
    assert without > 0.2


def test_scaling(rings, rng):
    maps = np.stack([smooth_map(rings), spotted_map(rng, rings)])
    noise = np.full(rings.radius.shape, 0.05)
    values = rng.normal(size=noise.shape) * np.sqrt(noise + maps.sum(axis=0))
    np.testing.assert_allclose(
        fit_components(1e3 * values, 1e6 * noise, maps, rings),
        1e6 * fit_components(values, noise, maps, rings),
        rtol=1e-6,
    )
