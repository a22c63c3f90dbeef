"""The network recovers what was injected, at the limit that the noise sets, with honest errors."""

import numpy as np
import pytest

from tests.core.skynetwork import ABOUT, grid_of, rms, sky
from webbalign.core import _network_solver
from webbalign.core._network_maps import generators, linear_part, sky_generators
from webbalign.core.network import (
    FixedStars,
    GroupFrame,
    Link,
    Observations,
    solve_network,
)
from webbalign.core.planes import ARCSEC, TangentPlane, apply_map

SMALL = {"visits": 2, "dithers": 3, "detectors": 4, "density": 0.01}


def problem(field, geometry="rshift", held=True, wrong=0.0, seed=0, order=None):
    """Frames, observations (with a share of wrong matches) and true groups of each list."""
    rng = np.random.default_rng(seed)
    names = sorted({stars.group for stars in field.lists})
    if order is not None:
        names = [names[k] for k in order]
    frames, planes = [], []
    for name in names:
        members = [stars for stars in field.lists if stars.group == name]
        corners = np.concatenate([m.plane.to_vectors(m.outline) for m in members])
        plane = members[0].plane if len(members) == 1 else TangentPlane.around(corners)
        at = plane.from_vectors(corners)
        centre = at.mean(axis=0)
        radius = np.hypot(*(at - centre).T).max()
        first = held and name == min(names)
        frames.append(GroupFrame(name, plane, None if first else geometry, centre, radius))
        planes.append(plane)
    columns = []
    for stars, label in zip(field.lists, field.label, strict=True):
        keep = label >= 0
        g = names.index(stars.group)
        xy = stars.plane.map_to(planes[g], stars.xy[keep])[0]
        columns.append((np.full(keep.sum(), g), label[keep], xy, stars.sigma[keep]))
    group, track, xy, sigma = (np.concatenate(column) for column in zip(*columns, strict=True))
    bad = rng.uniform(size=len(xy)) < wrong
    xy = xy + bad[:, None] * rng.uniform(-0.5, 0.5, xy.shape)
    seen = Observations(group, track, xy, sigma, np.ones(len(xy)), np.zeros((len(xy), 2)))
    return frames, seen, bad


def _rest(seen):
    return seen.weight, seen.motion


def fixed_stars(reference):
    rows = np.arange(len(reference))
    xy = ABOUT.from_sky(reference.sky)
    return FixedStars(rows, xy, reference.sigma, reference.weight)


def corrections(field, solution):
    names = [frame.name for frame in solution.frames]
    return [
        solution.correction(names.index(stars.group), stars.plane, stars.outline.mean(axis=0))
        for stars in field.lists
    ]


def solved(field, geometry="rshift", reference=None, wrong=0.0, seed=0, **how):
    frames, seen, bad = problem(field, geometry, wrong=wrong, seed=seed)
    if reference is not None:
        how = {"fixed": fixed_stars(reference), "move": geometry, **how}
    solution = solve_network(frames, seen, ABOUT, len(field.stars), **how)
    return solution, corrections(field, solution), bad


def quoted(field, found):
    return np.array(
        [c.errors_at(grid_of(s.outline)) for c, s in zip(found, field.lists, strict=True)]
    )


@pytest.mark.parametrize("geometry", ["shift", "rshift", "rscale", "general"])
def test_noise_free_is_exact(geometry):
    scale = 1e-4 if geometry in ("rscale", "general") else 0.0
    roll = 0.0 if geometry == "shift" else 2.0
    group_by = "image" if scale else "exposure"
    field = sky(**SMALL, noise=(1e-9, 1e-8), roll=roll, scale=scale, group_by=group_by)
    _, found, _ = solved(field, geometry, field.reference(sigma=1e-8))
    # a shift in one plane is a shift in another up to the curvature of the sky
    assert rms(field.errors(found)) < (0.5 if geometry == "shift" else 1e-4)


def test_relative_solution_keeps_the_reference_group():
    field = sky(**SMALL, noise=(1e-9, 1e-8))
    _, found, _ = solved(field)
    assert np.allclose(found[0].matrix, np.eye(2), rtol=0, atol=1e-15)
    assert np.allclose(found[0].shift, 0.0, rtol=0, atol=1e-10)
    assert not found[0].cov.any()
    assert rms(field.errors(found, like=0)) < 1e-4


def test_wrong_matches_cost_no_more_than_what_they_replace():
    """The error is that of least squares with the clean measurements alone."""
    robust, clean = [], []
    for seed in range(6):
        field = sky(seed, **SMALL)
        reference = field.reference(0.001)
        frames, seen, bad = problem(field, wrong=0.2, seed=seed)
        fixed = fixed_stars(reference)
        how = {"fixed": fixed, "move": "rshift"}
        a = solve_network(frames, seen, ABOUT, len(field.stars), **how)
        only = seen.take(np.flatnonzero(~bad))
        b = solve_network(frames, only, ABOUT, len(field.stars), nclip=0, **how)
        robust.append(rms(field.errors(corrections(field, a))))
        clean.append(rms(field.errors(corrections(field, b))))
        assert (a.used & bad).sum() <= 0.01 * bad.sum()
        assert a.used[~bad].mean() > 0.97
        assert a.converged
    assert np.sqrt(np.mean(np.square(robust))) < 1.15 * np.sqrt(np.mean(np.square(clean)))


def test_steps_made_of_rounding_errors_end_the_iteration(monkeypatch):
    """Wide fields never come to rest in the last digits, and are solved all the same."""
    monkeypatch.setattr(_network_solver, "_FINE", 0.0)
    field = sky(1, **SMALL)
    solution, _, _ = solved(field, "general", field.reference(0.001), wrong=0.1)
    assert solution.converged


@pytest.mark.slow
def test_absolute_pulls_are_normal():
    pulls = []
    for seed in range(8):
        field = sky(seed, **SMALL, group_by="image", scale=1e-4)
        _, found, _ = solved(field, "rscale", field.reference(0.002), wrong=0.1)
        pulls.append(field.errors(found) / quoted(field, found))
    assert 0.9 < np.std(pulls) < 1.1


@pytest.mark.slow
def test_relative_pulls_are_normal():
    pulls = []
    for seed in range(20):
        field = sky(seed, **SMALL)
        _, found, _ = solved(field, wrong=0.1)
        pulls.append((field.errors(found, like=0) / quoted(field, found).clip(1e-12))[4:])
    assert 0.8 < np.std(pulls) < 1.25


def brute_force(frames, seen, n_tracks, state_step=1e-4):
    """Covariance with all star positions among the unknowns, by differences."""
    sizes = [0 if frame.geometry is None else 3 for frame in frames]
    total = sum(sizes)
    design = np.zeros((2 * len(seen.track), total + 2 * n_tracks))
    start = np.cumsum([0, *sizes])
    for g, frame in enumerate(frames):
        rows = np.flatnonzero(seen.group == g)
        way = frame.plane.matrix_to(ABOUT)
        for k in range(sizes[g]):
            step = generators("rshift", frame.centre, frame.radius)[k] * state_step
            up = apply_map(way @ (np.eye(3) + step), seen.xy[rows])[0]
            down = apply_map(way @ (np.eye(3) - step), seen.xy[rows])[0]
            slope = (up - down) / (2 * state_step)
            design[2 * rows, start[g] + k], design[2 * rows + 1, start[g] + k] = slope.T
    for axis in range(2):
        rows = 2 * np.arange(len(seen.track)) + axis
        design[rows, total + 2 * seen.track + axis] = -1.0
    weighted = design / np.repeat(seen.sigma, 2)[:, None]
    return np.linalg.pinv(weighted.T @ weighted)[:total, :total]


def test_covariance_is_that_of_the_full_problem():
    field = sky(3, visits=1, dithers=3, detectors=2, density=0.004, pointing=0.0, roll=0.0)
    frames, seen, _ = problem(field)
    keep = np.bincount(seen.track)[seen.track] > 1
    seen = seen.take(np.flatnonzero(keep))
    solution = solve_network(frames, seen, ABOUT, len(field.stars), nclip=0)
    _, track = np.unique(seen.track, return_inverse=True)
    sigma = np.hypot(seen.sigma, solution.floor)
    compact = Observations(seen.group, track, seen.xy, sigma, seen.weight, seen.motion)
    full = brute_force(frames, compact, track.max() + 1)
    # errors that were stated too large are corrected by the residuals
    ratio = np.trace(solution.covariance) / np.trace(full)
    assert 0.7 < ratio < 1.0001
    assert np.allclose(solution.covariance, ratio * full, rtol=0, atol=1e-4 * full.max())


def test_order_of_groups_and_measurements_does_not_matter():
    field = sky(2, **SMALL)
    a_frames, a_seen, _ = problem(field, wrong=0.1)
    rng = np.random.default_rng(8)
    order = rng.permutation(len(a_frames))
    rows = rng.permutation(len(a_seen.track))
    back = np.argsort(order)
    b_seen = a_seen.take(rows)
    b_seen = Observations(
        back[b_seen.group], b_seen.track, b_seen.xy, b_seen.sigma, b_seen.weight, b_seen.motion
    )
    reference = fixed_stars(field.reference(0.001))
    how = {"fixed": reference, "move": "rshift"}
    a = solve_network(a_frames, a_seen, ABOUT, len(field.stars), **how)
    b = solve_network([a_frames[k] for k in order], b_seen, ABOUT, len(field.stars), **how)
    assert (a.used[rows] == b.used).all()
    # 1e-9 mas
    assert np.abs(a.positions[rows] - b.positions).max() < 1e-12


def test_unknown_errors_are_found_from_the_residuals():
    field = sky(1, **SMALL, noise=(0.003, 0.003))
    frames, seen, _ = problem(field, wrong=0.1)
    blind = Observations(seen.group, seen.track, seen.xy, seen.sigma * np.nan, *_rest(seen))
    solution = solve_network(frames, blind, ABOUT, len(field.stars))
    known = solve_network(frames, seen, ABOUT, len(field.stars))
    assert solution.floor == pytest.approx(0.003, rel=0.08)
    assert np.isnan(solution.chi2_reduced)
    assert np.trace(solution.covariance) == pytest.approx(np.trace(known.covariance), rel=0.1)


def test_catalog_that_is_worse_than_it_says_gets_a_floor_of_its_own():
    field = sky(1, **SMALL, noise=(0.001, 0.001))
    reference = field.reference(0.02, sigma=0.0005)
    solution, found, _ = solved(field, "rshift", reference)
    assert solution.fixed_floor == pytest.approx(0.02, rel=0.1)
    assert solution.floor < 0.0005
    relative, alone, _ = solved(field)
    # the images agree with one another as well as without the catalog
    assert np.abs(solution.residual[solution.used]).max() < 0.006
    assert np.std(field.errors(found) / quoted(field, found)) < 2.0
    assert relative.floor == pytest.approx(solution.floor, abs=2e-4)


def test_one_wrong_catalog_star_does_not_spoil_its_track():
    field = sky(1, **SMALL)
    frames, seen, _ = problem(field)
    fixed = fixed_stars(field.reference(0.001))
    often = np.argmax(np.bincount(seen.track))
    fixed.xy[often] += 0.3
    solution = solve_network(frames, seen, ABOUT, len(field.stars), fixed=fixed, move="rshift")
    assert not solution.fixed_used[often]
    assert solution.used[seen.track == often].all()


def test_moves_of_the_sky_are_limited_by_their_geometry():
    field = sky(4, **SMALL, noise=(1e-9, 1e-8), roll=1.0)
    frames, seen, _ = problem(field)
    fixed = fixed_stars(field.reference(sigma=0.001))
    shifted = solve_network(
        frames, seen, ABOUT, len(field.stars), fixed=fixed, move="shift", nclip=0
    )
    # the roll of the group that holds the others is not touched
    assert abs(corrections(field, shifted)[0].roll) < 0.01
    turned = solve_network(frames, seen, ABOUT, len(field.stars), fixed=fixed, move="rshift")
    # in a plane a move of 0.6 arcsec is a rotation of the sky but for 0.0001 mas at 90 arcsec
    assert rms(field.errors(corrections(field, turned))) < 3e-4


def test_a_group_without_stars_in_common_is_left_alone():
    field = sky(1, **SMALL)
    frames, seen, _ = problem(field)
    track = np.where(seen.group == 3, len(field.stars) + np.arange(len(seen.track)), seen.track)
    alone = Observations(seen.group, track, seen.xy, seen.sigma, *_rest(seen))
    solution = solve_network(frames, alone, ABOUT, int(track.max()) + 1)
    assert solution.lost.tolist() == [False, False, False, True, False, False]
    found = corrections(field, solution)
    assert np.allclose(found[12].matrix, np.eye(2), rtol=0, atol=1e-14)
    assert np.isnan(found[12].cov).any()
    assert np.isfinite(found[0].cov).all()


def test_a_hinge_is_not_fixed_and_the_rest_is():
    """A group that has one star in common with the others may turn about it."""
    plane, centre = ABOUT, np.zeros(2)
    frames = [GroupFrame("a", plane, None, centre, 50.0)]
    frames += [GroupFrame(name, plane, "rshift", centre, 50.0) for name in "bc"]
    rng = np.random.default_rng(0)
    stars = rng.uniform(-40, 40, (20, 2))
    # b has all stars of a, c has one of them twice (two images of one group)
    group = np.concatenate([np.zeros(20, int), np.ones(20, int), [2, 2]])
    track = np.concatenate([np.arange(20), np.arange(20), [7, 7]])
    sigma = np.full(42, 0.001)
    xy = stars[track] + rng.normal(0, 0.001, (42, 2))
    xy[41] = xy[40]
    seen = Observations(group, track, xy, sigma, np.ones(42), np.zeros((42, 2)))
    solution = solve_network(frames, seen, plane, 20, nclip=0)
    assert np.isfinite(solution.covariance[:3, :3]).all()
    assert np.isnan(solution.covariance[3:, 3:]).any()
    assert np.abs(solution.correction(1, plane, centre).shift).max() < 0.002
    assert np.isnan(solution.correction(2, plane, centre).errors_at(stars)).any()


def test_closures_are_as_large_as_their_errors():
    pulls = []
    for seed in range(8):
        solution, _, _ = solved(sky(seed, **SMALL))
        pulls += [c.difference / c.error for c in solution.closures()]
    assert 0.5 < np.std(pulls) < 1.4
    assert len(solution.closures()) == 15


def test_links_alone_solve_a_chain_and_a_wrong_one_is_rejected():
    plane = ABOUT
    centre = np.zeros(2)
    frames = [GroupFrame("a", plane, None, centre, 50.0)]
    frames += [GroupFrame(name, plane, "shift", centre, 50.0) for name in "bcd"]
    true = np.array([[0.0, 0.0], [0.3, -0.2], [-0.5, 0.1], [0.2, 0.4]])
    rng = np.random.default_rng(1)
    links = []
    for i in range(4):
        for j in range(i):
            at = rng.uniform(-20, 20, 2)
            links.append(Link(i, j, at - true[i], at - true[j], np.eye(2) * 1e-6))
    wrong = Link(3, 0, links[3].xy_first + 0.5, links[3].xy_second, np.eye(2) * 1e-6)
    none = np.empty(0)
    empty = Observations(
        none.astype(int), none.astype(int), none.reshape(0, 2), none, none, none.reshape(0, 2)
    )
    solution = solve_network(frames, empty, plane, 0, links=links, nclip=0)
    for g in range(4):
        assert np.allclose(solution.correction(g, plane, centre).shift, true[g], atol=1e-9)
    # four nodes, all pairs measured: variance of a difference is half that of one link
    assert solution.covariance[0, 0] == pytest.approx(0.5e-6, rel=1e-3)
    spoilt = solve_network(frames, empty, plane, 0, links=[*links, wrong], nclip=10)
    assert spoilt.link_used.tolist() == [True] * 6 + [False]
    assert np.allclose(spoilt.correction(3, plane, centre).shift, true[3], atol=1e-9)


def test_linear_part_is_exact_at_the_point_and_its_derivatives_agree_with_differences():
    point = np.array([20.0, -10.0])
    matrix = np.eye(3) + 1e-3 * np.random.default_rng(0).normal(size=(3, 3))
    changes = sky_generators("general", 60.0)
    affine, shift, slopes = linear_part(matrix, changes, point)
    assert np.allclose(affine @ point + shift, apply_map(matrix, point)[0][0], rtol=0, atol=1e-10)
    assert np.allclose(affine, apply_map(matrix, point)[1][0], rtol=0, atol=1e-14)
    step = 1e-3
    up, down = (linear_part(matrix + sign * step * changes[2], changes, point) for sign in (1, -1))
    numeric = np.concatenate([(up[0] - down[0]).ravel(), up[1] - down[1]]) / (2 * step)
    assert np.allclose(slopes[:, 2], numeric, rtol=1e-5, atol=1e-9)


def test_sky_generators_leave_the_sphere_rigid():
    for direction in sky_generators("rshift", 100.0):
        assert np.allclose(direction, -direction.T)
    assert sky_generators("rshift", 100.0)[0, 0, 2] == pytest.approx(ARCSEC)
