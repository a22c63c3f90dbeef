"""All offsets at which a list agrees with a catalog are found, and the right one is chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core._rival_choice import Brightness, choose, is_unlikely
from webbalign.core._rival_offsets import agreements
from webbalign.core.matching import Matching
from webbalign.core.offsets import SearchList, search_offset

PIXEL = 0.031
BESIDE = 0.4 - 0.25j


def lists(seed, n_stars, n_beside, *, fainter=4.5, both=0, noise=0.004, n_other=60):
    """Positions and magnitudes of a list and of a catalog.

    `n_stars` are in both, `both` of them with a source beside them; of `n_beside` stars of the
    catalog only that source is in the list.
    """
    rng = np.random.default_rng(seed)
    n = n_stars + n_beside
    z = rng.uniform(-40, 40, n) + 1j * rng.uniform(-40, 40, n)
    bright = np.where(np.arange(n) < n_stars, rng.uniform(18, 20, n), rng.uniform(14, 18, n))
    image = [z[:n_stars], z[:both] + BESIDE, z[n_stars:] + BESIDE]
    mags = [bright[:n_stars], bright[:both] + fainter, bright[n_stars:] + fainter]
    image.append(rng.uniform(-40, 40, n_other) + 1j * rng.uniform(-40, 40, n_other))
    mags.append(rng.uniform(20, 24, n_other))
    first = np.concatenate(image)
    first = first + noise * (rng.normal(size=len(first)) + 1j * rng.normal(size=len(first)))
    return first, np.concatenate(mags), z, bright


def found(made, options=None):
    first, mags, second, bright = made
    options = options or Matching()
    image, reference = (
        SearchList.of(np.stack([z.real, z.imag], axis=1), flux=10 ** (-0.4 * m))
        for z, m in ((first, mags), (second, bright))
    )
    offset, _, _ = search_offset(image, reference, options, pixel_scale=PIXEL)
    return agreements(image, reference, offset, options, PIXEL)


def brightness(made, *, fluxes=True, magnitudes=True):
    first = 10 ** (-0.4 * made[1]) if fluxes else np.full(len(made[1]), np.nan)
    second = 10 ** (-0.4 * made[3]) if magnitudes else np.full(len(made[3]), np.nan)
    return Brightness.of(first, second)


def off(agreement):
    return abs(complex(agreement.offset.dx, agreement.offset.dy))


@pytest.mark.parametrize(("n_stars", "n_beside"), [(6, 14), (10, 10), (30, 8)])
def test_both_places_are_found(n_stars, n_beside):
    for seed in range(3):
        places = found(lists(seed, n_stars, n_beside))
        assert len(places) == 2
        assert sorted(map(len, places)) == sorted((n_stars, n_beside))
        apart = complex(places[1].offset.dx, places[1].offset.dy) - complex(
            places[0].offset.dx, places[0].offset.dy
        )
        assert abs(apart) == pytest.approx(abs(BESIDE), abs=0.01)
        assert places[1].beside == pytest.approx(-apart)


@given(seed=st.integers(0, 10_000), n=st.integers(8, 60))
@settings(max_examples=20, deadline=None)
def test_clean_lists_have_one_place(seed, n):
    (only,) = found(lists(seed, n, 0))
    assert len(only) >= 0.9 * n
    assert off(only) < 0.01


@given(seed=st.integers(0, 10_000), n_stars=st.integers(5, 40), n_beside=st.integers(5, 40))
@settings(max_examples=25, deadline=None)
def test_what_is_chosen_is_where_the_stars_are(seed, n_stars, n_beside):
    made = lists(seed, n_stars, n_beside)
    choice = choose(found(made), brightness(made))
    assert choice.agreement is not None
    assert off(choice.agreement) < 0.02
    assert set(choice.beside) <= set(range(n_stars, n_stars + n_beside))
    assert len(choice.beside) >= 0.8 * n_beside


def test_order_of_the_places_does_not_matter():
    made = lists(0, 6, 14)
    places = found(made)
    one, other = (choose(p, brightness(made)).agreement for p in (places, places[::-1]))
    assert one is other


@pytest.mark.parametrize("how", [{"fluxes": False}, {"magnitudes": False}])
def test_without_brightness_nothing_is_chosen_unless_rivals_are_few(how):
    made = lists(0, 6, 14)
    choice = choose(found(made), brightness(made, **how))
    assert choice.agreement is None
    assert len(choice.rivals) == 1
    made = lists(0, 80, 5)
    assert off(choose(found(made), brightness(made, **how)).agreement) < 0.01


def test_two_sources_beside_the_same_stars_need_no_magnitudes():
    made = lists(1, 20, 6, both=20)
    choice = choose(found(made), brightness(made, magnitudes=False))
    assert off(choice.agreement) < 0.01
    assert set(choice.beside) <= set(range(20, 26))


def test_sources_of_like_brightness_cannot_be_told():
    made = lists(2, 10, 12, fainter=0.0)
    made = (made[0], made[1], made[2], np.full(len(made[3]), 18.0))
    made = (made[0], np.full(len(made[1]), 18.0), made[2], made[3])
    assert choose(found(made), brightness(made)).agreement is None


def test_a_match_that_explains_neither_list_is_unlikely():
    made = lists(3, 0, 12, n_other=300)
    rng = np.random.default_rng(3)
    more = rng.uniform(-40, 40, 40) + 1j * rng.uniform(-40, 40, 40)
    made = (*made[:2], np.append(made[2], more), np.append(made[3], rng.uniform(14, 18, 40)))
    (wrong,) = found(made)
    inside = np.ones(len(made[2]), bool)
    assert off(wrong) == pytest.approx(abs(BESIDE), abs=0.01)
    assert is_unlikely(wrong, inside, brightness(made))
    assert not is_unlikely(wrong, inside, brightness(made, magnitudes=False))
    good = lists(3, 12, 0, n_other=300)
    assert not is_unlikely(found(good)[0], np.ones(12, bool), brightness(good))
