"""Bad pixels of references, filled by the others."""

import numpy as np
import pytest

from webbalign.core._kl_repair import REPAIR_RIDGE, REPAIR_SWEEPS, fill_by_regression, find_holes
from webbalign.core._pixel_sums import CHUNK, gram_matrix


def of_zero_mean(images: np.ndarray) -> np.ndarray:
    return images - images.mean(axis=1)[:, None]


@pytest.mark.parametrize("share", [0.0005, 0.05, 0.4])
def test_holes_are_filled_by_the_regression_on_all_other_references(share):
    rng = np.random.default_rng(3)
    n, shape = 21, (60, 50)
    assert shape[0] * shape[1] > CHUNK  # several chunks of pixels
    images = of_zero_mean(rng.normal(size=(n, 4)) @ rng.normal(size=(4, 3000)) * 5)
    images = of_zero_mean(images + rng.normal(size=images.shape))
    lost = rng.random(images.shape) < share
    lost[:, lost.all(axis=0)] = False

    gram = gram_matrix(images)
    precision = np.linalg.inv(gram + REPAIR_RIDGE * np.trace(gram) / n * np.eye(n))
    regression = -precision / np.diag(precision)[:, None]
    np.fill_diagonal(regression, 0.0)
    expected = images
    for _ in range(REPAIR_SWEEPS):
        expected = np.where(lost, regression @ expected, images)
    shift = expected.mean(axis=1)
    expected = of_zero_mean(expected)

    good = np.ones(shape, bool)
    holes = find_holes(images, good, lost.copy())
    assert holes is not None
    found = fill_by_regression(images, gram, holes, good)
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found, shift, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gram, expected @ expected.T, rtol=0, atol=1e-8)
