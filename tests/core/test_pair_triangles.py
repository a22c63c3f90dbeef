"""A wrong pair is found by the triangles that do not close."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.test_image_pairs import NAMES, all_pairs, pair
from webbalign.core.correlation import CorrelationStatus
from webbalign.core.pair_triangles import contradicted


def bumped(pairs, *edges, by=0.1):
    return [replace(p, shift=p.shift + by) if p.first + p.second in edges else p for p in pairs]


def named(pairs):
    return [p.first + p.second for p, bad in zip(pairs, contradicted(pairs), strict=True) if bad]


@pytest.mark.parametrize("count", [4, 5])
@pytest.mark.parametrize("edge", ["ab", "bc", "ad"])
def test_the_wrong_pair_is_named(count, edge):
    pairs = all_pairs(NAMES[:count], error=1e-4, rng=np.random.default_rng(5))
    assert named(pairs) == []
    assert named(bumped(pairs, edge)) == [edge]


def test_two_wrong_pairs():
    pairs = all_pairs(error=1e-4, rng=np.random.default_rng(6))
    assert named(bumped(pairs, "ab", "cd", by=0.3)) == ["ab", "cd"]


def test_of_three_images_none_can_be_named():
    assert named(bumped(all_pairs(NAMES[:3]), "bc")) == []
    assert named([pair("a", "b"), pair("b", "c")]) == []


def test_the_direction_of_a_pair_does_not_matter():
    turned = [pair(p.second, p.first) for p in all_pairs(NAMES[:4])]
    assert named(turned) == []


def test_failed_pairs_are_not_compared():
    pairs = bumped(all_pairs(NAMES[:4]), "bc")
    failed = [replace(p, status=CorrelationStatus.AMBIGUOUS) for p in pairs]
    assert named(failed) == []
