"""Bands in their own frames become one; visits that disagree, or were not measured, are named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.products.corrector import Correction
from webbalign.products.visit_frames import MeasuredBand, combined_visits
from webbalign.products.visit_means import between_planes, brought
from webbalign.products.visits import parse_key
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection

FIELD = (150.1, 2.2)
SHIFT, ROLL = 1e-4, 2e-6  # errors: arcsec, radians
RIGID = np.array([[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0, -1, 1, 0, 0, 0]], dtype=np.float64)
COV = RIGID.T @ np.diag([SHIFT**2, SHIFT**2, ROLL**2]) @ RIGID


def rigid(x, y, roll):
    c, s = np.cos(roll), np.sin(roll)
    return Correction(np.array([[c, -s], [s, c]]), np.array([x, y]))


def place(dx, dy):
    ra, dec = TangentPlane.about(*FIELD).to_sky([[dx, dy]])[0]
    return float(ra), float(dec)


def entry(key, correction, at=(0.0, 0.0), band="F300M", **changes):
    values = {
        "key": parse_key(key), "correction": correction, "reference": place(*at), "cov": COV,
        "status": AdjustStatus.ALIGNED, "n_images": 1, "n_used": 100, "rms": 1e-3,
        "bands": (band,), "methods": ("tweakreg",),
    } | changes  # fmt: skip
    return VisitCorrection(**values)


PLACES = [(0.0, 0.0), (90.0, 10.0), (5.0, 100.0), (100.0, 95.0)]
TRUTH = [rigid(0.3, -0.2, 1e-4), rigid(-0.8, 0.1, -2e-4), rigid(0.5, 0.6, 3e-4), rigid(0, 0.9, 0)]


def name(visit, exposure=0):
    text = f"jw0123400100{visit + 1}"
    return f"{text}_02101_0000{exposure}" if exposure else text


def measured(band="F300M", turn=None, jitter=0.0, exposures=(1, 2, 3, 4), held=None, seed=1):
    """A band that measures all visits, in a frame turned by `turn`."""
    rng = np.random.default_rng(seed)
    entries = []
    for visit, (at, true) in enumerate(zip(PLACES, TRUTH, strict=True)):
        for exposure in exposures:
            shift = true.shift + rng.normal(0, SHIFT, 2) + rng.normal(0, jitter, 2)
            spot = (at[0] + 3.0 * exposure, at[1])
            one = entry(name(visit), Correction(true.matrix, shift), at, band)
            correction, cov = brought(one, TangentPlane.about(*place(*spot)), turn)
            key = name(visit, exposure)
            status = AdjustStatus.REFERENCE if key == held else AdjustStatus.ALIGNED
            cov = np.zeros((6, 6)) if key == held else cov
            entries.append(entry(key, correction, spot, band, status=status, cov=cov))
    return MeasuredBand(band, tuple(entries))


def turn(x=0.2, y=-0.1, roll=1e-4):
    plane = TangentPlane.about(*FIELD)
    a, b = np.radians(np.array([x, y]) / 3600)
    small = np.array([[0, -roll, a], [roll, 0, b], [-a, -b, 0]])
    q, _ = np.linalg.qr(np.eye(3) + small)
    q = q * np.sign(np.diag(q))
    return plane.axes.T @ q @ plane.axes


def visits_of(entries):
    return {str(item.key): item for item in entries if not item.key.exposure}


def differences(entries):
    """Corrected minus true place of each visit, after one rigid move of them all (mas)."""
    plane = TangentPlane.about(*FIELD)
    found, wanted = [], []
    visits = visits_of(entries)
    for visit, (at, true) in enumerate(zip(PLACES, TRUTH, strict=True)):
        item = visits[name(visit)]
        corners = np.array([[-30.0, -30], [-30, 30], [30, 30], [30, -30]])
        here, _ = TangentPlane.about(*place(*at)).map_to(item.plane, corners)
        found.append(item.plane.map_to(plane, item.correction.apply(here))[0])
        own = TangentPlane.about(*place(*at))
        wanted.append(own.map_to(plane, true.apply(corners))[0])
    found, wanted = np.concatenate(found), np.concatenate(wanted)
    rows = np.zeros((len(found), 2, 3))
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, 0, 2], rows[:, 1, 2] = -found[:, 1], found[:, 0]
    move = np.linalg.lstsq(rows.reshape(-1, 3), (wanted - found).ravel(), rcond=None)[0]
    return 1e3 * (found + rows @ move - wanted)


def test_a_correction_in_another_plane_moves_the_sky_alike():
    source, target = TangentPlane.about(*FIELD), TangentPlane.about(*place(80, -60))
    correction = rigid(0.7, -0.3, 3e-4)
    moved, _ = between_planes(correction, COV, source, target)
    points = np.array([[0.0, 0], [50, 20], [-40, 60]])
    there, _ = target.map_to(source, points)
    wanted = source.to_vectors(correction.apply(there))
    np.testing.assert_allclose(target.to_vectors(moved.apply(points)), wanted, atol=1e-13)


def test_errors_of_a_roll_become_errors_of_a_shift():
    source, target = TangentPlane.about(*FIELD), TangentPlane.about(*place(100, 0))
    _, cov = between_planes(rigid(0.1, 0, 0), COV, source, target)
    assert np.sqrt(cov[4, 4]) == pytest.approx(SHIFT, rel=1e-3)
    assert np.sqrt(cov[5, 5]) == pytest.approx(np.hypot(SHIFT, 100 * ROLL), rel=1e-3)


def test_exposures_become_visits_and_one_of_them_holds_all():
    result = combined_visits([measured(jitter=3e-3)])
    visits = visits_of(result)
    assert len(result) == 20
    assert len(visits) == 4
    statuses = [item.status for item in visits.values()]
    assert statuses.count(AdjustStatus.REFERENCE) == 1
    reference = next(i for i in visits.values() if i.status is AdjustStatus.REFERENCE)
    np.testing.assert_array_equal(reference.correction.matrix, np.eye(2))
    np.testing.assert_array_equal(reference.correction.shift, 0)
    assert {item.frame for item in result} == {str(reference.key)}
    scatter = np.sqrt(np.mean([item.scatter**2 for item in visits.values()]))
    assert 1.5e-3 < scatter < 5e-3
    # each visit is the mean of its exposures' jitter: 3 mas / 2 per axis
    assert np.sqrt(np.mean(np.sum(differences(result) ** 2, axis=1))) < 4.0


def test_bands_in_frames_of_their_own_are_brought_together():
    one = measured("F300M", held=name(1, 2))
    two = measured("F770W", turn(), held=name(3, 1), exposures=(5, 6), seed=2)
    result = combined_visits([one, two])
    assert np.sqrt(np.mean(np.sum(differences(result) ** 2, axis=1))) < 0.2
    visits = visits_of(result)
    assert {item.bands for item in visits.values()} == {("F300M", "F770W")}
    assert {item.status for item in result} == {AdjustStatus.ALIGNED, AdjustStatus.REFERENCE}
    # jitter is not invented
    assert max(item.scatter for item in visits.values()) < 5 * SHIFT


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_the_order_of_bands_and_entries_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    bands = [
        measured("F300M", held=name(1, 2), jitter=3e-3),
        measured("F150W", turn(0.1, 0.3), held=name(0, 2), seed=3),
        measured("F770W", turn(), held=name(3, 1), exposures=(5, 6), seed=2),
    ]
    first = combined_visits(bands)
    mixed = [
        replace(band, entries=tuple(band.entries[k] for k in rng.permutation(len(band.entries))))
        for band in bands
    ]
    second = combined_visits([mixed[k] for k in rng.permutation(3)])
    assert [str(item.key) for item in second] == [str(item.key) for item in first]
    for a, b in zip(first, second, strict=True):
        assert b.status is a.status
        np.testing.assert_allclose(b.correction.shift, a.correction.shift, atol=1e-9)
        np.testing.assert_allclose(b.correction.matrix, a.correction.matrix, atol=1e-12)


def test_a_band_on_a_catalog_holds_the_others():
    absolute = replace(measured("F1000W", exposures=(7,)), catalog="gaia.ecsv")
    relative = measured("F300M", turn(), held=name(0, 1))
    result = combined_visits([relative, absolute])
    assert {item.status for item in result} == {AdjustStatus.ALIGNED}
    assert {item.frame for item in result} == {"gaia.ecsv"}
    item = visits_of(result)[name(2)]
    plane = TangentPlane.about(*place(*PLACES[2]))
    moved, _ = brought(item, plane)
    np.testing.assert_allclose(moved.shift, TRUTH[2].shift, atol=5 * SHIFT)


def test_bands_without_a_common_visit_keep_frames_of_their_own():
    one = measured("F300M", held=name(1, 1))
    other = tuple(
        replace(item, key=replace(parse_key("jw09999001001_02101_00001"), exposure=""))
        for item in measured("F1000W", exposures=(1,)).entries[:1]
    )
    result = combined_visits([one, MeasuredBand("F1000W", other)])
    assert len({item.frame for item in result}) == 2
    statuses = [item.status for item in visits_of(result).values()]
    assert statuses.count(AdjustStatus.REFERENCE) == 2


def shifted(band, visit, x, exposure=None):
    """A band in which a visit (or one exposure of it) is off."""
    wanted = name(visit, exposure) if exposure else name(visit)
    entries = tuple(
        replace(
            item,
            correction=Correction(
                item.correction.matrix, item.correction.shift + np.array([x, 0.0])
            ),
        )
        if str(item.key).startswith(wanted)
        else item
        for item in band.entries
    )
    return replace(band, entries=entries)


@pytest.mark.parametrize("exposures", [(1, 2, 3, 4), (5, 6, 7)])
def test_bands_that_disagree_are_named(exposures):
    off = shifted(measured("F770W", exposures=exposures, seed=4), 2, 0.1)
    visits = visits_of(combined_visits([measured("F300M", jitter=3e-4), off]))
    statuses = {key: item.status for key, item in visits.items()}
    assert statuses.pop(name(2)) is AdjustStatus.INCONSISTENT
    assert AdjustStatus.INCONSISTENT not in statuses.values()
    reason = visits[name(2)].reason
    assert "F300M and F770W differ by" in reason
    assert float(reason.split(" by ")[1].split()[0]) == pytest.approx(100, abs=5)
    # whoever is right, the error that is told covers it
    assert visits[name(2)].errors.max() > 0.045


def test_one_exposure_that_is_off_is_named_and_left_out():
    off = shifted(measured(jitter=1e-3, exposures=(1, 2, 3, 4, 5, 6)), 2, 0.3, exposure=4)
    result = {str(item.key): item for item in combined_visits([off])}
    assert result[name(2, 4)].status is AdjustStatus.INCONSISTENT
    assert name(2, 4) in result[name(2)].reason
    good = [item for item in result.values() if str(item.key) != name(2, 4)]
    assert AdjustStatus.INCONSISTENT not in {item.status for item in good}
    assert np.abs(differences(result.values())).max() < 3.0


def test_what_was_not_measured_is_named_and_takes_the_visits_correction():
    band = measured()
    lost = AdjustStatus.FAILED, AdjustStatus.UNCHANGED
    entries = [
        replace(item, status=lost[0], reason="no valid pixel", cov=np.full((6, 6), np.nan))
        if str(item.key) in (name(1, 3), *(name(3, k) for k in (1, 2, 3, 4)))
        else item
        for item in band.entries
    ]
    entries = [
        replace(item, status=lost[1], reason="no stars in common")
        if str(item.key) == name(3, 1)
        else item
        for item in entries
    ]
    result = {str(item.key): item for item in combined_visits([MeasuredBand("F300M", entries)])}
    assert name(1, 3) not in result
    assert f"{name(1, 3)} not measured in F300M: no valid pixel" in result[name(1)].reason
    assert result[name(1)].is_aligned
    alone = result[name(3)]
    assert alone.status is AdjustStatus.UNCHANGED
    assert "no stars in common" in alone.reason
    assert "no valid pixel" in alone.reason
    np.testing.assert_array_equal(alone.correction.shift, 0)
    assert name(3, 1) not in result


def test_one_exposure_of_one_visit_is_the_reference():
    only = MeasuredBand("F300M", measured(exposures=(1,)).entries[:1])
    visit, exposure = combined_visits([only])
    assert visit.status is exposure.status is AdjustStatus.REFERENCE
    np.testing.assert_array_equal(exposure.correction.shift, 0)


def test_bands_without_anything_measured_give_only_names():
    entries = tuple(
        replace(item, status=AdjustStatus.UNCHANGED, reason="too few stars")
        for item in measured().entries
    )
    result = combined_visits([MeasuredBand("F300M", entries)])
    assert {item.status for item in result} == {AdjustStatus.UNCHANGED}
    assert [str(item.key) for item in result] == [name(k) for k in range(4)]


def test_nothing_gives_nothing():
    assert combined_visits([]) == ()


def relabelled(band, order):
    """Call visit k of a band what `order` says."""
    entries = []
    for item in band.entries:
        number = order[int(item.key.visit[-1]) - 1] + 1
        text = f"{item.key.visit[:-1]}{number}{str(item.key)[len(item.key.visit) :]}"
        entries.append(replace(item, key=parse_key(text)))
    return replace(band, entries=tuple(entries))


def apart_after_one_turn(first, second):
    """How far apart two tables put the same points, at most, after one turn of the sky (mas)."""
    from scipy.spatial.transform import Rotation

    corners = np.array([[-60.0, -60], [-60, 60], [60, 60], [60, -60]])
    one, two = (
        np.concatenate([sky_to_vectors(i.plane.to_sky(i.correction.apply(corners))) for i in items])
        for items in (first, second)
    )
    for _ in range(3):
        rows = np.cross(np.eye(3)[None], one[:, None])
        turn = np.linalg.lstsq(rows.mT.reshape(-1, 3), (two - one).ravel(), rcond=None)[0]
        one = Rotation.from_rotvec(turn).apply(one)
    return float(np.degrees(np.linalg.norm(two - one, axis=1).max()) * 3.6e6)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.permutations(range(4)))
def test_it_does_not_matter_how_visits_are_called(seed, order):
    bands = [
        measured("F300M", held=name(1, 2), jitter=3e-3, seed=seed),
        measured("F150W", turn(0.1, 0.3), held=name(0, 2), seed=seed + 1),
        measured("F770W", turn(), held=name(3, 1), exposures=(5, 6), seed=seed + 2),
    ]
    first = combined_visits(bands)
    second = {str(i.key): i for i in combined_visits([relabelled(b, order) for b in bands])}
    called = relabelled(MeasuredBand("", first), order).entries
    assert {str(item.key) for item in called} == set(second)
    assert apart_after_one_turn(called, [second[str(item.key)] for item in called]) < 1e-6


def test_rounding_errors_do_not_grow():
    # the error of a roll is none of the scale, and what follows it has no weight of its own
    rng = np.random.default_rng(5)
    base = measured("F300M", held=name(1, 2), jitter=3e-3)
    nudged = replace(
        base,
        entries=tuple(
            replace(e, correction=Correction(e.correction.matrix, e.correction.shift + change))
            for e, change in zip(base.entries, rng.normal(0, 1e-12, (16, 2)), strict=True)
        ),
    )
    first, second = combined_visits([base]), combined_visits([nudged])
    assert apart_after_one_turn(first, second) < 1e-6
