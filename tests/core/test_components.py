"""What holds the others is chosen by what it shows, not by what it is called."""

from types import SimpleNamespace

import numpy as np
import pytest

from webbalign.core._components import reference_group


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a")])
def test_of_groups_with_equal_stars_the_best_placed_holds_the_others(names):
    group = np.repeat([0, 1, 2], 4)
    field = SimpleNamespace(
        groups=[SimpleNamespace(name=name) for name in names],
        group=group,
        weight=np.ones(12),
        sigma=np.array([2.0, 1.0, 3.0])[group],
    )
    assert reference_group(field, [0, 1, 2], np.arange(12)) == 1


def test_by_name_if_all_is_the_same():
    field = SimpleNamespace(
        groups=[SimpleNamespace(name=name) for name in "bca"],
        group=np.repeat([0, 1, 2], 4),
        weight=np.ones(12),
        sigma=np.ones(12),
    )
    assert reference_group(field, [0, 1, 2], np.arange(12)) == 2
