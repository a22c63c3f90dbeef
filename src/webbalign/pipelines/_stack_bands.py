"""Corrections of the visits of one band by cross-correlation of their stacked dithers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.core.astrometry import ImageStatus
from webbalign.core.correlation import Correlating, CorrelationStatus
from webbalign.core.errors import InputError
from webbalign.core.image_pairs import (
    GridImage,
    GroupFit,
    ImagePair,
    PairSolution,
    measure_pair,
    overlapping_pairs,
    solve_pairs,
)
from webbalign.core.network import GroupFrame
from webbalign.core.pair_triangles import contradicted
from webbalign.core.planes import TangentPlane, sky_to_vectors
from webbalign.execution import Progress
from webbalign.pipelines._star_bands import BandJob, Map
from webbalign.products.corrector import Correction, image_plane
from webbalign.products.image_files import ImageInfo, read_info
from webbalign.products.names import root
from webbalign.products.reference_catalogs import AbsoluteCatalog
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
from webbalign.products.visits import AdjustKey, visit_of
from webbalign.products.wcs_adjust_file import AdjustStatus, VisitCorrection

__all__ = ["measure_correlation", "stack_dithers"]

log = logging.getLogger(__name__)

# Px of a stack beyond the largest shift, for the kernels of filters and interpolation
_MARGIN = 4


@dataclass(frozen=True, eq=False)
class _StackTask:
    """The dithers of a visit in one detector, and where they go."""

    name: str
    paths: tuple[Path, ...]
    grid: StackGrid
    options: Stacking
    box: Box | None = None

    def run(self) -> GridImage:
        return stack_images(self.name, self.paths, self.grid, self.options, box=self.box)


@dataclass(frozen=True, eq=False)
class _PairTask:
    """Two stacks of different visits."""

    first: GridImage
    second: GridImage
    pixel_scale: float
    options: Correlating
    band: str

    def run(self) -> ImagePair:
        return measure_pair(self.first, self.second, self.pixel_scale, self.options, band=self.band)


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
    infos = [read_info(path) for path in job.paths]
    options, stacking = Correlating(), Stacking(reproject_func=job.reproject_func)
    grid = stack_grid(infos, stacking)
    groups: dict[str, list[ImageInfo]] = {}
    keys: dict[str, AdjustKey] = {}
    for key, info in zip(job.keys, infos, strict=True):
        visit = AdjustKey(key.visit, "", key.module)
        keys[str(visit)] = visit
        groups.setdefault(str(visit), []).append(info)
    tasks = _stack_tasks(job, infos, grid, stacking, options)
    stacks = _run(tasks, map, progress, f"{job.band}: stack dithers") if len(groups) > 1 else []
    good = [stack for stack in stacks if np.isfinite(stack.data).any()]
    pairs = _run(
        [
            _PairTask(good[i], good[j], grid.pixel_scale, options, job.band)
            for i, j in overlapping_pairs(good)
            if good[i].name != good[j].name
        ],
        map,
        progress,
        f"{job.band}: correlate",
    )
    wrong = [pair for pair, bad in zip(pairs, contradicted(pairs), strict=True) if bad]
    empty = {stack.name for stack in stacks} - {stack.name for stack in good}
    frames = [_frame(name, groups[name]) for name in sorted(groups) if name not in empty]
    solution = solve_pairs(
        frames,
        [pair for pair in pairs if pair not in wrong],
        grid.plane,
        group_error=options.corr_floor * grid.pixel_scale,
    )
    write_pairs(solution, wrong, job.folder / f"{job.band}_cross_corr_pairs.ecsv")
    fits = {fit.name: fit for fit in solution.groups}
    planes = {frame.name: frame.plane for frame in frames}
    entries = [
        _entry(job, keys[name], len(groups[name]), solution, wrong, fits[name], planes[name])
        if name in fits
        else _failed(job, keys[name], len(groups[name]))
        for name in sorted(groups)
    ]
    return MeasuredBand(job.band, tuple(entries))


def _run(
    tasks: Sequence[_StackTask | _PairTask], map: Map, progress: Progress, step: str
) -> list[Any]:
    progress.start(step, len(tasks))
    found = []
    for result in map(_call, tasks):
        found.append(result)
        progress.advance()
    progress.done()
    return found


def _call(task: _StackTask | _PairTask) -> GridImage | ImagePair:
    return task.run()


def _stack_tasks(
    job: BandJob,
    infos: Sequence[ImageInfo],
    grid: StackGrid,
    stacking: Stacking,
    options: Correlating,
) -> list[_StackTask]:
    """Return a task for each detector of each visit that overlaps others."""
    members: dict[tuple[str, str], list[int]] = {}
    for k, (key, info) in enumerate(zip(job.keys, infos, strict=True)):
        name = str(AdjustKey(key.visit, "", key.module))
        members.setdefault((name, visit_of(info).detector), []).append(k)
    labels = {" ".join(label): label for label in sorted(members)}
    margin = math.ceil(options.corr_searchrad / grid.pixel_scale) + _MARGIN
    boxes = boxes_of_overlap(
        grid,
        {text: [infos[k] for k in members[label]] for text, label in labels.items()},
        margin,
    )
    return [
        _StackTask(
            label[0], tuple(job.paths[k] for k in members[label]), grid, stacking, boxes[text]
        )
        for text, label in labels.items()
        if boxes[text]
    ]


def _frame(name: str, infos: Iterable[ImageInfo]) -> GroupFrame:
    """Lay a plane on the middle of a visit's images."""
    planes = [image_plane(info.wcs, info.wcsinfo, info.shape, info.name) for info in infos]
    vectors = sky_to_vectors(np.concatenate([p.plane.to_sky(p.outline) for p in planes]))
    # the middle of the box, not the mean: a sum depends on its order
    middle = (vectors.min(axis=0) + vectors.max(axis=0)) / 2
    plane = TangentPlane.around(middle[None])
    xy = plane.from_vectors(vectors)
    return GroupFrame(name, plane, "rshift", np.zeros(2), float(np.hypot(*xy.T).max()))


# Entries ------------------------------------------------------------------------------------------


def _failed(job: BandJob, key: AdjustKey, n_images: int) -> VisitCorrection:
    reason = "no good pixel where it overlaps other visits"
    return VisitCorrection(
        key, Correction.none(), status=AdjustStatus.FAILED, reason=reason, n_images=n_images,
        bands=(job.band,), methods=(job.method,),
    )  # fmt: skip


def _entry(
    job: BandJob,
    key: AdjustKey,
    n_images: int,
    solution: PairSolution,
    wrong: Sequence[ImagePair],
    fit: GroupFit,
    plane: TangentPlane,
) -> VisitCorrection:
    ra, dec = plane.centre.tolist()
    own = [k for k, pair in enumerate(solution.pairs) if fit.name in (pair.first, pair.second)]
    used = [k for k in own if solution.used[k]]
    squares = np.sum(np.square(solution.closure[used]), axis=-1)
    return VisitCorrection(
        key=key,
        correction=Correction(fit.correction.matrix, fit.correction.shift),
        reference=(ra, dec),
        cov=fit.correction.cov,
        status=_status(job, fit),
        reason=_reason(fit, solution, own, wrong),
        n_images=n_images,
        n_used=len(used),
        rms=float(np.sqrt(squares.mean())) if used else np.nan,
        chi2_reduced=solution.chi2_reduced if used else np.nan,
        bands=(job.band,),
        methods=(job.method,),
    )


def _status(job: BandJob, fit: GroupFit) -> AdjustStatus:
    # no catalog holds images that are compared with one another only
    if AbsoluteCatalog.from_mapping(vars(job.options)).name and fit.status in (
        ImageStatus.ALIGNED,
        ImageStatus.REFERENCE,
    ):
        return AdjustStatus.RELATIVE_ONLY
    return AdjustStatus(str(fit.status))


def _reason(
    fit: GroupFit, solution: PairSolution, own: Sequence[int], wrong: Sequence[ImagePair]
) -> str:
    """Tell why a visit is not connected, or which of its pairs are wrong."""
    rejected = [pair for pair in wrong if fit.name in (pair.first, pair.second)]
    if fit.status is ImageStatus.UNCHANGED and not own and not rejected:
        return f"it overlaps no other visit; {fit.reason}"
    said = [fit.reason] if fit.reason else []
    said += [f"without the pair with {_other(p, fit)}, which others contradict" for p in rejected]
    for k in own:
        pair = solution.pairs[k]
        ok = pair.status is CorrelationStatus.OK
        if fit.status is ImageStatus.UNCHANGED:
            text = "contradicts others" if ok else str(pair.status)
            said.append(f"with {_other(pair, fit)}: {text}")
        elif ok and not solution.used[k] and np.isfinite(solution.closure[k]).all():
            apart = 1e3 * float(np.hypot(*solution.closure[k]))
            said.append(f"without the pair with {_other(pair, fit)}, {apart:.1f} mas off")
    return "; ".join(said)


def _other(pair: ImagePair, fit: GroupFit) -> str:
    return pair.second if pair.first == fit.name else pair.first


# Stacks to look at --------------------------------------------------------------------------------


def stack_dithers(
    dithers: Sequence[str],
    images: Sequence[str | Path],
    output_dir: str | Path,
    *,
    reproject_func: str = "interp",
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
    reproject_func : str
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
    options = Stacking(reproject_func=reproject_func)
    grid = stack_grid([read_info(path) for path in paths], options)
    done = []
    tasks = [_StackTask(dither, chosen[dither], grid, options) for dither in dithers]
    for stack in map(_StackTask.run, tasks):
        write_stack(stack, grid, Path(output_dir) / f"{stack.name}_stacked.fits")
        done.append(bool(np.isfinite(stack.data).any()))
    return done
