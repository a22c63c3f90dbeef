"""Star lists hold what they are given, or say what is wrong with it."""

import numpy as np
import pytest

from webbalign.core.errors import InputError
from webbalign.core.planes import TangentPlane
from webbalign.core.starlists import ReferenceStars, StarList

PLANE = TangentPlane.about(10.0, 20.0)


def stars(**changes):
    values = {
        "name": "a",
        "group": "g",
        "plane": PLANE,
        "xy": np.array([[0.0, 0.0], [3.0, 4.0]]),
        "sigma": 0.001,
        "flux": np.nan,
        "weight": 1.0,
        "outline": [[-5, -5], [5, -5], [5, 5], [-5, 5]],
        "pixel_scale": 0.03,
        "fwhm": 0.06,
    }
    return StarList(**{**values, **changes})


def test_one_value_for_all_stars():
    found = stars()
    assert found.sigma.tolist() == [0.001, 0.001]
    assert np.isnan(found.flux).all()
    assert len(found) == 2
    assert np.allclose(found.sky[0], [10.0, 20.0])


def test_no_stars():
    assert len(stars(xy=np.empty((0, 2)))) == 0


def test_wrong_length_names_image_and_column():
    with pytest.raises(InputError, match="sigma of shape .* - a - "):
        stars(sigma=np.ones(3))


def test_positions_must_be_numbers():
    with pytest.raises(InputError, match="not numbers"):
        stars(xy=[[np.nan, 0.0]])


def test_the_lists_do_not_share_memory_with_the_caller():
    xy = np.zeros((2, 2))
    found = stars(xy=xy)
    xy[0] = 7.0
    assert found.xy[0].tolist() == [0.0, 0.0]


def test_reference_at_each_images_epoch():
    sky = np.array([[[10.0, 20.0]], [[10.1, 20.0]]])
    reference = ReferenceStars(sky, 0.001, 1.0, 15.0)
    assert len(reference) == 1
    assert reference.sky_at(1).tolist() == [[10.1, 20.0]]
    assert ReferenceStars(sky[0], 0.001, 1.0, 15.0).sky_at(7).tolist() == [[10.0, 20.0]]


def test_reference_without_a_position_is_refused():
    with pytest.raises(InputError, match="positions .* - gaia - "):
        ReferenceStars([[np.nan, 1.0]], 0.1, 1.0, 15.0, name="gaia")
