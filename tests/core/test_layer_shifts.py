"""Dithers are put to their mean place, with errors that hold, wherever they overlap."""

from functools import cache

import numpy as np
import pytest

from webbalign.core.correlation import CorrelationStatus
from webbalign.core.layer_shifts import layer_shifts, move_layer

JITTER = np.array([[0.04, -0.03], [-0.05, 0.02], [0.02, 0.03], [-0.01, -0.02]])
SIZE = 160


@cache
def stars(shift=(0.0, 0.0), size=SIZE, number=80):
    y, x = np.indices((size, size)).astype(float)
    image = np.zeros((size, size))
    for a, b in np.random.default_rng(3).uniform(0, size, (number, 2)):
        image += 5 * np.exp(-((x - a - shift[0]) ** 2 + (y - b - shift[1]) ** 2) / (2 * 1.3**2))
    return image


def dithers(seed=1, noise=0.05, jitter=JITTER, level=30.0, number=80):
    """Layers of which each lacks a strip at another edge."""
    rng = np.random.default_rng(seed)
    layers = np.array(
        [
            level + stars(tuple(step), number=number) + rng.normal(0, noise, (SIZE,) * 2)
            for step in jitter
        ]
    )
    for k, layer in enumerate(layers):
        view = layer if k < 2 else layer.T
        view[slice(0, 40) if k % 2 else slice(-40, None)] = np.nan
    return layers.astype(np.float32)


def test_places_are_found_whatever_overlaps():
    found = layer_shifts(dithers(noise=0.002))
    assert found.status is CorrelationStatus.OK
    np.testing.assert_allclose(found.shifts, JITTER - JITTER.mean(axis=0), atol=6e-4)
    np.testing.assert_allclose(found.shifts.sum(axis=0), 0.0, atol=1e-9)


def test_errors_have_the_size_that_is_stated():
    pulls = []
    for seed in range(6):
        found = layer_shifts(dithers(seed, noise=0.3, number=400))
        left = (found.shifts - (JITTER - JITTER.mean(axis=0))).ravel()
        pulls.append(left / np.sqrt(np.diag(found.cov)))
    assert 0.7 < np.sqrt(np.mean(np.square(pulls))) < 1.4


def test_what_a_misplaced_layer_does_to_the_mean():
    everywhere = layer_shifts(dithers()[:, 40:120, 40:120])
    partly = layer_shifts(dithers())
    # where all layers are seen, their mean does not move, since their shifts sum to zero
    assert np.sqrt(everywhere.place_cov[0, 0]) < 1e-3 * np.sqrt(everywhere.cov[0, 0])
    assert np.sqrt(partly.place_cov[2, 2]) * SIZE / 2 > 0.05 * np.sqrt(partly.cov[0, 0])


def test_the_order_of_layers_does_not_matter():
    layers = dithers()
    one, two = layer_shifts(layers), layer_shifts(layers[::-1].copy())
    # the displacements at the start are others
    np.testing.assert_allclose(two.shifts[::-1], one.shifts, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "status"),
    [
        (dithers()[:1], CorrelationStatus.NO_OVERLAP),
        (np.full((3, 80, 80), np.nan, np.float32), CorrelationStatus.NO_OVERLAP),
        (dithers(jitter=JITTER * 30), CorrelationStatus.AT_LIMIT),
    ],
)
def test_what_cannot_be_measured_is_left(layers, status):
    found = layer_shifts(layers)
    assert found.status is status
    assert not found.shifts.any()


def test_a_displacement_is_taken_back():
    for step in ((0.05, -0.03), (0.3, 0.2)):
        back = move_layer(stars(step), np.array(step))[5:-5, 5:-5]
        assert np.abs(back - stars()[5:-5, 5:-5]).max() < 0.05
