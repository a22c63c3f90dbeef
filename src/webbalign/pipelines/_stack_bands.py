"""Corrections of the visits of one band by cross-correlation of their stacked dithers."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.correlation import Correlating
from webbalign.core.errors import InputError
from webbalign.core.image_pairs import (
    GridImage,
    ImagePair,
    compared_part,
    measure_pair,
    overlapping_pairs,
    solve_pairs,
)
from webbalign.core.pair_triangles import contradicted
from webbalign.execution import Progress, limit_threads
from webbalign.pipelines._correlated_visits import CorrelatedVisits, visit_frame
from webbalign.pipelines._correlation_memory import BYTES_IN_PAIR, bytes_in_stack, fitting_map
from webbalign.pipelines._pair_entries import failed_entry, pair_entry
from webbalign.pipelines._star_bands import BandJob, Map
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.kept_stacks import StoredStack, keep_stack, kept_stack, stack_recipe
from webbalign.products.names import root
from webbalign.products.stack_files import write_pairs, write_stack
from webbalign.products.stacks import (
    Box,
    StackGrid,
    Stacking,
    boxes_of_overlap,
    stack_grid,
    stack_images,
)
from webbalign.products.visit_frames import MeasuredBand
from webbalign.products.visits import visit_of

__all__ = ["STACK_FOLDER", "CorrelatedVisits", "correlated", "measure_correlation", "stack_dithers"]

log = logging.getLogger(__name__)

# Of the stacks that are kept, in the folder of the bands' results
STACK_FOLDER = "stacks"
# Px of a stack beyond the largest shift, for the kernels of filters and interpolation
_MARGIN = 4


@dataclass(frozen=True, eq=False)
class _StackTask:
    """The dithers of a visit in one detector, where they go, and where the stack is kept."""

    name: str
    paths: tuple[Path, ...]
    grid: StackGrid
    options: Stacking
    box: Box
    band: str
    place: Path
    overwrite: bool = False

    @property
    def memory(self) -> float:
        """Bytes that it takes."""
        ny, nx = self.box.shape
        return ny * nx * bytes_in_stack(len(self.paths))

    def run(self) -> StoredStack:
        recipe = stack_recipe(self.name, list(self.paths), self.grid, self.options, self.box)
        kept = None if self.overwrite else kept_stack(recipe, self.place)
        if kept is not None:
            return kept
        stack = stack_images(self.name, self.paths, self.grid, self.options, box=self.box)
        return keep_stack(stack, recipe, self.place)


@dataclass(frozen=True, eq=False)
class _PairTask:
    """Two stacks of different visits; what both show is read by the process that compares it."""

    first: StoredStack
    second: StoredStack
    pixel_scale: float
    options: Correlating
    band: str

    @property
    def box(self) -> Box:
        """What is compared."""
        rows, columns = compared_part(self.first, self.second, self.pixel_scale, self.options)
        return Box(*rows, *columns)

    @property
    def memory(self) -> float:
        """Bytes that it takes."""
        ny, nx = self.box.shape
        return ny * nx * BYTES_IN_PAIR

    def run(self) -> ImagePair:
        first, second = (stack.cut(self.box) for stack in (self.first, self.second))
        return measure_pair(first, second, self.pixel_scale, self.options, band=self.band)


def measure_correlation(job: BandJob, map: Map, progress: Progress) -> MeasuredBand:
    """Measure a band by its images; writes ``{band}_cross_corr_pairs.ecsv`` into the job's folder.

    All dithers of a visit get one correction, whatever `BandJob.by_visit` says.

    Parameters
    ----------
    job : BandJob
    map : callable
    progress : Progress

    Raises
    ------
    InputError
        If an image cannot be used.
    """
    seen = correlated(job, map, progress)
    solution = solve_pairs(
        seen.frames,
        seen.right,
        seen.grid.plane,
        group_error=job.correlating.corr_floor * seen.grid.pixel_scale,
    )
    write_pairs(solution, seen.wrong, job.folder / f"{job.band}_cross_corr_pairs.ecsv")
    fits = {fit.name: fit for fit in solution.groups}
    planes = {frame.name: frame.plane for frame in seen.frames}
    entries = []
    for name in sorted(seen.keys):
        about = seen.keys[name], len(seen.infos[name]), seen.bands[name]
        if name in fits:
            entries.append(pair_entry(job, *about, solution, seen.wrong, fits[name], planes[name]))
        else:
            entries.append(failed_entry(job, *about))
    return MeasuredBand(job.band, tuple(entries))


def correlated(job: BandJob, map: Map, progress: Progress) -> CorrelatedVisits:
    """Stack the dithers of all visits, and correlate all overlapping pairs of different visits.

    Of several bands that are measured as one, stacks of different bands are paired as well.

    Raises
    ------
    InputError
        If an image cannot be used.
    """
    infos = [read_info(path) for path in job.paths]
    grid = stack_grid(infos, job.stacking)
    keys = {str(key): key for key in job.visits}
    groups: dict[str, list[ImageInfo]] = {name: [] for name in keys}
    bands: dict[str, set[str]] = {name: set() for name in keys}
    for key, info, band in zip(job.visits, infos, job.bands, strict=True):
        groups[str(key)].append(info)
        bands[str(key)].add(band)
    tasks = _stack_tasks(job, infos, grid) if len(groups) > 1 else []
    stacks = _run(tasks, job, map, progress, "stack dithers") if tasks else []
    good = [k for k, stack in enumerate(stacks) if stack.has_data]
    empty = {stack.name for stack in stacks} - {stacks[k].name for k in good}
    chosen = [
        (good[i], good[j])
        for i, j in overlapping_pairs([stacks[k] for k in good])
        if stacks[good[i]].name != stacks[good[j]].name
    ]
    pairs = _run(
        [
            _PairTask(
                stacks[i], stacks[j], grid.pixel_scale, job.correlating,
                _joined(tasks[i].band, tasks[j].band),
            )
            for i, j in chosen
        ],
        job,
        map,
        progress,
        "correlate",
    )  # fmt: skip
    wrong = [pair for pair, bad in zip(pairs, contradicted(pairs), strict=True) if bad]
    frames = [visit_frame(name, groups[name]) for name in sorted(groups) if name not in empty]
    return CorrelatedVisits(
        grid, keys, groups, {name: tuple(sorted(found)) for name, found in bands.items()},
        tuple(pairs), tuple(wrong), tuple(frames),
    )  # fmt: skip


def _joined(first: str, second: str) -> str:
    return first if first == second else f"{first}-{second}"


def _run(
    tasks: Sequence[_StackTask | _PairTask], job: BandJob, map: Map, progress: Progress, step: str
) -> list[Any]:
    progress.start(f"{job.band}: {step}", len(tasks))
    largest = max((task.memory for task in tasks), default=0.0)
    found = []
    for result in fitting_map(map, job, largest)(_call, tasks):
        found.append(result)
        progress.advance()
    progress.done()
    return found


def _call(task: _StackTask | _PairTask) -> StoredStack | ImagePair:
    # sums of several BLAS threads have other last digits: workers give what one process gives
    with limit_threads(1):
        return task.run()


def _stack_tasks(job: BandJob, infos: Sequence[ImageInfo], grid: StackGrid) -> list[_StackTask]:
    """Return a task for each band and detector of each visit that overlaps other visits."""
    members: dict[tuple[str, str, str], list[int]] = {}
    for k, (key, info, band) in enumerate(zip(job.visits, infos, job.bands, strict=True)):
        members.setdefault((str(key), band, visit_of(info).detector), []).append(k)
    labels = {" ".join(label): label for label in sorted(members)}
    margin = math.ceil(job.correlating.corr_searchrad / grid.pixel_scale) + _MARGIN
    boxes = boxes_of_overlap(
        grid,
        {text: [infos[k] for k in members[label]] for text, label in labels.items()},
        margin,
    )
    tasks = []
    for text, (name, band, detector) in labels.items():
        rows, box = members[name, band, detector], boxes[text]
        if not box:
            continue
        place = job.folder / STACK_FOLDER / f"{band}_{name}_{detector}.npz"
        paths = tuple(job.paths[k] for k in rows)
        tasks.append(_StackTask(name, paths, grid, job.stacking, box, band, place, job.overwrite))
    return tasks


# Stacks to look at --------------------------------------------------------------------------------


def stack_dithers(
    dithers: Sequence[str],
    images: Sequence[str | Path],
    output_dir: str | Path,
    options: Stacking | None = None,
    *,
    map: Map = map,
) -> list[bool]:
    """Stack dithers on the grid of all images and write ``{dither}_stacked.fits`` for each.

    Parameters
    ----------
    dithers : sequence of str
        Each names images by words of their file names: a visit, ``jw<visit>``, or
        ``jw<visit>_<detector>``.
    images : sequence of str or Path
        All of the band.
    output_dir : str or Path
    options : Stacking, optional
    map : callable

    Returns
    -------
    list of bool
        Whether a stack has good pixels.

    Raises
    ------
    InputError
        If no image has that name, or one cannot be used.
    """
    paths = sorted((Path(path) for path in images), key=lambda path: path.name)
    chosen: Mapping[str, tuple[Path, ...]] = {
        dither: tuple(p for p in paths if set(dither.split("_")) <= set(root(p.name).split("_")))
        for dither in dithers
    }
    for dither, found in chosen.items():
        if not found:
            raise InputError(dither, "no image of that name", "jw<visit> or jw<visit>_<detector>")
    options = options or Stacking()
    grid = stack_grid([read_info(path) for path in paths], options)
    done = []
    tasks = [(dither, chosen[dither]) for dither in dithers]
    for stack in map(partial(_stacked, grid=grid, options=options), tasks):
        write_stack(stack, grid, Path(output_dir) / f"{stack.name}_stacked.fits")
        done.append(bool(np.isfinite(stack.data).any()))
    return done


def _stacked(task: tuple[str, Sequence[Path]], grid: StackGrid, options: Stacking) -> GridImage:
    name, paths = task
    return stack_images(name, paths, grid, options)
