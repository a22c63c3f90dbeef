import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.errors import InputError, OptionError
from webbalign.core.psfmask import (
    CORONAGRAPHS,
    coronagraph_named,
    derive_weight,
    hole_weight,
    mask_centre,
    to_weight,
)

SHAPE = (90, 110)


def test_both_conventions_mean_the_same_weight():
    weight = hole_weight(SHAPE, (50, 40), 6)
    np.testing.assert_array_equal(to_weight(weight), weight)
    np.testing.assert_allclose(to_weight(1 - weight, "masked"), weight, atol=1e-15)


def test_nan_is_ignored_in_both_conventions():
    values = np.array([[1.0, np.nan, 0.0]])
    assert to_weight(values).tolist() == [[1, 0, 0]]
    assert to_weight(values, "masked").tolist() == [[0, 0, 1]]


def test_rounding_of_float32_is_forgiven():
    assert to_weight([[1.000001, -1e-7]]).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("values", [[[0.0, 2.0]], [[-0.5, 1.0]]])
def test_values_outside_zero_to_one(values):
    with pytest.raises(InputError, match=r"a\.fits.*from 0 to 1"):
        to_weight(values, name="a.fits")


@pytest.mark.parametrize(
    "value, convention", [(0.0, "weight"), (1.0, "masked"), (np.nan, "weight")]
)
def test_weight_zero_everywhere(value, convention):
    with pytest.raises(InputError, match="zero everywhere"):
        to_weight(np.full((4, 5), value), convention)


def test_a_cube_is_no_mask():
    with pytest.raises(InputError, match="2-D"):
        to_weight(np.ones((2, 3, 4)))


def test_unknown_convention():
    with pytest.raises(OptionError, match="psfmask_convention"):
        to_weight(np.ones((3, 4)), "upside down")


@settings(deadline=None)
@given(st.floats(25, 80), st.floats(25, 60), st.floats(2.5, 12), st.floats(0, 4))
def test_centre_of_a_hole_is_found(x, y, radius, edge):
    weight = hole_weight(SHAPE, (x, y), radius, edge=edge)
    assert mask_centre(weight) == pytest.approx((x, y), abs=0.15 if edge >= 1 else 0.3)
    assert weight[round(y), round(x)] == 0
    assert weight[0, 0] == 1


def test_regions_at_the_edge_are_no_hole():
    weight = hole_weight(SHAPE, (60, 40), 5)
    weight[:30, :40] = 0
    weight[70, 20] = 0  # a bad pixel
    assert mask_centre(weight) == pytest.approx((60, 40), abs=0.05)
    weight[38:43] = 0
    assert mask_centre(weight) is None
    assert mask_centre(np.ones(SHAPE)) is None


@pytest.mark.parametrize(
    "name, known",
    [
        ("MASKA335R", "MASKA335R"), ("MASK335R", "MASKA335R"), ("MASKB430R", "MASKA430R"),
        ("MASKLWB", "MASKALWB"), ("4qpm_1140", "4QPM_1140"), ("LYOT", "LYOT_2300"),
    ],
)  # fmt: skip
def test_names_of_masks(name, known):
    assert coronagraph_named(name) is CORONAGRAPHS[known]


@pytest.mark.parametrize("name", [None, "", "NONE", "CLEAR"])
def test_unknown_masks(name):
    assert coronagraph_named(name) is None


@pytest.mark.parametrize("name", sorted(CORONAGRAPHS))
def test_derived_weight_of_every_mask(name):
    shape = CORONAGRAPHS[name].shape or (320, 320)
    centre = CORONAGRAPHS[name].position or (150.0, 170.0)
    derived = derive_weight(shape, name, centre=centre)
    assert derived.centre == centre
    assert derived.centre_from == "header"
    assert derived.weight[round(centre[1]), round(centre[0])] < 0.1
    assert 0.5 < derived.weight.mean() < 1
    assert derived.weight.min() >= 0
    assert derived.weight.max() == 1
    assert not derived.warnings
    assert name in derived.messages[0]


def test_half_transmission_at_the_radius_of_the_mask():
    derived = derive_weight((320, 320), "MASKA335R", centre=(150.0, 174.0), pixel_scale=0.064)
    # 0.64 arcsec are 10 px
    assert derived.weight[174, 160] == pytest.approx(0.5, abs=0.01)
    assert mask_centre(derived.weight) == pytest.approx((150, 174), abs=0.05)


def test_the_header_is_not_believed_far_from_the_mask():
    derived = derive_weight((320, 320), "MASKA335R", centre=(120.0, 174.0))
    assert derived.centre == CORONAGRAPHS["MASKA335R"].position
    assert derived.centre_from == "known position"
    assert "29.9 px" in derived.warnings[0]


def test_without_header_the_known_position():
    derived = derive_weight((224, 288), "4QPM_1140")
    assert derived.centre_from == "known position"


def test_in_a_cut_out_the_header_alone_counts():
    derived = derive_weight((200, 200), "MASKA335R", centre=(50.0, 48.0))
    assert derived.centre == (50.0, 48.0)
    assert not derived.warnings


def test_the_image_tells_the_position_where_nothing_else_does():
    y, x = np.indices((120, 140))
    r = np.hypot(x - 77, y - 51)
    speckles = (1 + np.cos(x - 77) * np.cos(0.7 * (y - 51))) * 100 / (1 + (r / 8) ** 2)
    noise = np.random.default_rng(0).standard_normal(r.shape)
    derived = derive_weight(r.shape, "MASKA430R", image=speckles + noise)
    assert derived.centre_from == "image"
    assert derived.centre == pytest.approx((77, 51), abs=0.5)
    assert derived.warnings


def test_nowhere_to_put_a_hole():
    derived = derive_weight(SHAPE, "MASKA430R")
    assert derived.centre is None
    assert derived.weight.all()
    assert derived.warnings
    unknown = derive_weight(SHAPE, "NONE", centre=(50.0, 40.0))
    assert unknown.centre is None
    assert "NONE" in unknown.warnings[0]


def test_pixels_outside_the_science_region_have_no_weight():
    excluded = np.zeros(SHAPE, dtype=bool)
    excluded[:, :13] = True
    derived = derive_weight(SHAPE, "MASKA335R", centre=(60.0, 40.0), excluded=excluded)
    assert not derived.weight[:, :13].any()
    with pytest.raises(InputError, match="no pixel"):
        derive_weight(SHAPE, "MASKA335R", excluded=np.ones(SHAPE, dtype=bool))


def test_strips_of_the_quadrants_follow_their_angle():
    weight = derive_weight((200, 200), "4QPM_1140", centre=(100.0, 100.0), angle=20.0).weight
    # 40 px along the line at 20 degrees, and across it
    assert weight[round(100 + 40 * np.sin(np.radians(20))), round(100 + 40 * 0.94)] < 0.5
    assert weight[round(100 + 40 * 0.94), round(100 - 40 * np.sin(np.radians(20)))] < 0.5
    assert weight[100, 140] == 1
    assert weight[140, 100] == 1
