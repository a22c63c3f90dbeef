"""What holds the others is chosen by what it shows, not by what it is called."""

from types import SimpleNamespace

import numpy as np
import pytest

from webbalign.core._components import reference_group
from webbalign.core.planes import TangentPlane


def groups(names, places=(0.0, 0.0, 0.0)):
    return [
        SimpleNamespace(name=name, plane=TangentPlane.about(150.0, place))
        for name, place in zip(names, places, strict=True)
    ]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a")])
def test_of_groups_with_equal_stars_the_best_placed_holds_the_others(names):
    group = np.repeat([0, 1, 2], 4)
    field = SimpleNamespace(
        groups=groups(names),
        group=group,
        weight=np.ones(12),
        sigma=np.array([2.0, 1.0, 3.0])[group],
    )
    assert reference_group(field, [0, 1, 2], np.arange(12)) == 1


def test_by_name_if_all_is_the_same():
    field = SimpleNamespace(
        groups=groups("bca"),
        group=np.repeat([0, 1, 2], 4),
        weight=np.ones(12),
        sigma=np.ones(12),
    )
    assert reference_group(field, [0, 1, 2], np.arange(12)) == 2


@pytest.mark.parametrize("names", ["abc", "bca", "cab"])
def test_by_place_if_only_that_differs(names):
    field = SimpleNamespace(
        groups=groups(names, (0.002, 0.0, 0.001)),
        group=np.repeat([0, 1, 2], 4),
        weight=np.ones(12),
        sigma=np.ones(12),
    )
    found = {reference_group(field, order, np.arange(12)) for order in ([0, 1, 2], [2, 1, 0])}
    assert found == {1}
