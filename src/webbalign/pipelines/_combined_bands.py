"""Corrections of visits by their stars and by their stacked images, in one least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from webbalign.core.correlation import CorrelationStatus
from webbalign.core.image_pairs import ImagePair, PairSolution
from webbalign.core.joint_pairs import joint_pairs
from webbalign.execution import Progress
from webbalign.pipelines._mean_places import at_mean_places
from webbalign.pipelines._stack_bands import CorrelatedVisits, correlated
from webbalign.pipelines._star_bands import BandJob, Map, found_stars, star_entry, tied_catalog
from webbalign.products.solutions import Solution, SolvedImage, write_solution
from webbalign.products.stack_files import write_pairs
from webbalign.products.visit_frames import MeasuredBand
from webbalign.products.wcs_adjust_file import VisitCorrection
from webbalign.steps.solving import solve_starlists

__all__ = ["measure_combined"]


def measure_combined(job: BandJob, map: Map, progress: Progress) -> MeasuredBand:
    """Measure a band by stars, image pairs and, if there is one, a reference catalog at once.

    All dithers of a visit get one correction, whatever `BandJob.by_visit` says. Writes
    ``{band}_combined_solution.ecsv`` and ``{band}_combined_pairs.ecsv`` into the job's folder.

    Parameters
    ----------
    job : BandJob
    map : callable
    progress : Progress

    Raises
    ------
    InputError
        If an image or a catalog cannot be used.
    OptionError
        If tweakreg's options do not go with pairs of images.
    """
    visits = job.visits
    found = [
        stars
        for part in job.parts or (job,)
        for stars in found_stars(part, part.visits, map, progress)
    ]
    found = at_mean_places(found, job.options).found
    seen = correlated(job, map, progress)
    error = job.correlating.corr_floor * seen.grid.pixel_scale
    images = joint_pairs(seen.frames, seen.right, seen.grid.plane, error)
    solution = solve_starlists(found, job.options, images=images)
    write_solution(solution, job.folder / f"{job.band}_combined_solution.ecsv")
    pairs = _pair_solution(images.pairs, solution)
    write_pairs(pairs, seen.wrong, job.folder / f"{job.band}_combined_pairs.ecsv")
    rows: dict[str, list[SolvedImage]] = {}
    for key, row in zip(visits, solution.images, strict=True):
        rows.setdefault(str(key), []).append(row)
    entries = [
        _with_pairs(star_entry(job, seen.keys[name], rows[name]), seen, pairs)
        for name in sorted(rows)
    ]
    return MeasuredBand(job.band, tuple(entries), tied_catalog(job, solution))


def _pair_solution(pairs: Sequence[ImagePair], solution: Solution) -> PairSolution:
    """Return what became of the pairs, in the form in which tables are written."""
    told = solution.meta["image_pairs"]
    used = np.array([item["used"] for item in told], dtype=bool)
    closure = np.array([item["closure_mas"] for item in told]).reshape(-1, 2) * 1e-3
    squared = [
        float(left @ np.linalg.solve(pair.shift_cov, left))
        for pair, left, use in zip(pairs, closure, used, strict=True)
        if use
    ]
    chi2 = float(np.mean(squared)) / 2.0 if squared else float("nan")
    return PairSolution((), tuple(pairs), used, closure, 0.0, chi2)


def _with_pairs(
    entry: VisitCorrection, seen: CorrelatedVisits, pairs: PairSolution
) -> VisitCorrection:
    """Add to the entry of a visit what concerns its image pairs."""
    name = str(entry.key)
    said = [entry.reason] if entry.reason else []
    count = 0
    for pair in seen.wrong:
        if name in (pair.first, pair.second):
            said.append(f"without the pair with {_other(pair, name)}, which others contradict")
    for pair, used, closure in zip(pairs.pairs, pairs.used, pairs.closure, strict=True):
        if name not in (pair.first, pair.second):
            continue
        count += int(used)
        if not entry.is_applied:
            ok = pair.status is CorrelationStatus.OK
            why = "contradicts others, or connects no more" if ok else str(pair.status)
            said.append(f"pair of images with {_other(pair, name)}: {why}")
        elif pair.status is CorrelationStatus.OK and not used and np.isfinite(closure).all():
            apart = 1e3 * float(np.hypot(*closure))
            said.append(f"without the pair with {_other(pair, name)}, {apart:.1f} mas off")
    return replace(entry, reason="; ".join(said), n_pairs=count, bands=seen.bands[name])


def _other(pair: ImagePair, name: str) -> str:
    return pair.second if pair.first == name else pair.first
