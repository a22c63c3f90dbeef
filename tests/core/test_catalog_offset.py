"""A catalog is tied to the stars, not to what lies at one place beside each of them."""

import numpy as np
import pytest

from tests.core.dirtysky import SPIKE, dirty_sky
from tests.core.skynetwork import rms
from webbalign.core.astrometry import AbsFitting, ImageStatus, align_starlists
from webbalign.core.matching import AbsMatching

FEW = AbsMatching(abs_minobj=8)


def solved(seed, options=FEW, geometry="rshift", **how):
    """Status of all images, rms error of the aligned ones in mas, and how the tie went."""
    field, reference = dirty_sky(seed, exposures=3, **how)
    solution = align_starlists(
        field.lists,
        reference,
        abs_matching=options,
        abs_fitting=AbsFitting(abs_fitgeometry=geometry),
    )
    (status,) = {image.status for image in solution.images}
    error = rms(field.errors([image.correction for image in solution.images]))
    return status, error, solution.absolute[0]


def quoted(tie):
    """Error of the place of the whole by what is said of the catalog's stars, mas."""
    return 1e3 * tie.rms / np.sqrt(tie.n_used)


@pytest.mark.parametrize("geometry", ["shift", "rshift", "general"])
@pytest.mark.parametrize("saturation", [18.0, 19.9])
def test_spikes_beside_saturated_stars_are_not_taken_for_them(saturation, geometry):
    """At 19.9 most stars of the catalog are saturated: more spikes than stars agree with it."""
    status, error, tie = solved(
        0, geometry=geometry, saturation=saturation, density=0.08, features=(SPIKE,)
    )
    assert status is ImageStatus.ALIGNED
    # a shift leaves 3 mrad of roll of each exposure, 1.6 mas
    assert error < 4.0
    assert "a fainter source is always at the same place beside them" in tie.reason


def test_stars_found_by_their_spikes_count_as_support_but_are_not_used():
    how = {"saturation": 19.9, "density": 0.08, "features": (SPIKE,)}
    _, _, tie = solved(0, **how)
    direct = tie.n_used
    options = AbsMatching(abs_minobj=direct + 5)
    status, error, tie = solved(0, options, **how)
    assert status is ImageStatus.ALIGNED
    assert error < 4.0
    assert tie.n_used == direct
    status, _, tie = solved(0, AbsMatching(abs_minobj=200), **how)
    assert status is ImageStatus.RELATIVE_ONLY
    assert "abs_minobj is 200" in tie.reason


@pytest.mark.parametrize("unknown", ["fluxes", "magnitudes"])
def test_without_brightness_rivals_cannot_be_told_apart(unknown):
    how = {"saturation": 19.5, "density": 0.08, "features": (SPIKE,), unknown: False}
    status, _, tie = solved(1, **how)
    assert status is ImageStatus.RELATIVE_ONLY
    assert "the brightness does not tell which is that of the stars" in tie.reason
    assert not tie.tied


def test_stars_that_are_in_the_list_with_their_spikes_need_no_magnitudes():
    """Of two sources beside a star of the catalog the brighter one is the star."""
    features = (SPIKE, (1.5, 0.6, 5.0), (-1.4, -0.9, 5.5))
    status, error, tie = solved(
        2, density=0.08, slope=0.15, features=features, chance=1.0, magnitudes=False
    )
    assert status is ImageStatus.ALIGNED
    assert error < 1.5
    assert tie.reason == ""


@pytest.mark.parametrize("seed", range(3))
def test_a_catalog_of_saturated_stars_only_is_refused(seed):
    """Few of them have a spike in the list, and the list has many sources as bright as these."""
    options = AbsMatching(abs_minobj=4)
    status, _, tie = solved(
        seed, options, saturation=20.6, density=0.1, slope=0.3, features=(SPIKE,), chance=0.2
    )
    assert status is ImageStatus.RELATIVE_ONLY
    assert tie.reason


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("known", [True, False])
def test_clean_lists_are_aligned_as_ever(share, known):
    """Also with a catalog that has part of the stars, with and without magnitudes."""
    for seed in range(2):
        status, error, tie = solved(
            seed, density=0.08, share=share, magnitudes=known, fluxes=known, limit=21.0
        )
        assert status is ImageStatus.ALIGNED
        assert error < 3.0
        assert tie.reason == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_spikes_never_end_in_a_wrong_wcs(seed):
    """Any number of spikes anywhere, any saturation: aligned means right, within what is said."""
    rng = np.random.default_rng(1000 + seed)
    angle, distance = rng.uniform(0, 2 * np.pi, 6), 10 ** rng.uniform(-1, 0.5, 6)
    places = zip(distance * np.cos(angle), distance * np.sin(angle), strict=True)
    features = [(x, y, rng.uniform(3.0, 7.0)) for x, y in places]
    status, error, tie = solved(
        seed,
        AbsMatching(abs_minobj=5),
        density=10 ** rng.uniform(-1.7, -0.8),
        saturation=rng.uniform(15.0, 19.5),
        features=tuple(features[: rng.integers(1, 7)]),
        chance=rng.uniform(0.3, 1.0),
        magnitudes=bool(rng.uniform() < 0.7),
    )
    assert status is ImageStatus.RELATIVE_ONLY or error < max(8.0, 5.0 * quoted(tie))
