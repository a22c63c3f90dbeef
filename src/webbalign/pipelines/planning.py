"""What a run of coron3 will take, told before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from webbalign.products.associations import Association
from webbalign.products.headers import ExposureHeader, read_header
from webbalign.products.held import SMALL
from webbalign.products.models import open_cube
from webbalign.products.references import find_psfmask

__all__ = ["describe_plan", "expected_seconds", "expected_step_seconds"]

# Measured: the libraries, and bytes per pixel of a science integration (cube, residual, model,
# their errors and flags) while its exposure is small enough to stay in memory, of any other (its
# outliers), and of a reference (stack, repaired copies, one aligned set, modes).
BASE_MEMORY = 300e6
BYTES_PER_SCIENCE_PIXEL = 100
BYTES_PER_HELD_PIXEL = 10
BYTES_PER_REFERENCE_PIXEL = 90
# SCI, ERR and DQ of one pixel on disk; with three variances.
BYTES_ON_DISK, BYTES_WITH_VARIANCES = 12, 24

# Seconds per pixel: of each pair that is aligned and subtracted (a step that does one of both takes
# less), of each integration whose outliers are flagged, files read and written. Measured in one
# process, 320 x 320 pixels: `each` 13.5 s more with 1368 more pairs, aligned references written, on
# a busy machine (9.6e-8), 7e-8 on a quiet one; 90 integrations flagged in 1.2 s.
SECONDS_PER_PAIR_PIXEL = 8e-8
SECONDS_PER_PIXEL = 1.3e-7


def expected_seconds(
    association: Association, headers: Mapping[Path, ExposureHeader], alignment: Any
) -> float:
    """Return what the part of a run takes, serially, that workers can share.

    Parameters
    ----------
    association : Association
    headers : mapping
        Of all members.
    alignment : AlignRefs
        Its options.
    """
    ny, nx = headers[association.science[0]].image_shape
    nints = [headers[path].nints for path in association.science]
    npsfs = sum(headers[path].nints for path in association.psf)
    # one alignment for all integrations of an exposure is made, and used, in one process
    pairs = sum(nints) * npsfs if alignment.align_to == "each" else 0
    return float(
        nx * ny * (SECONDS_PER_PAIR_PIXEL * pairs + SECONDS_PER_PIXEL * (sum(nints) + npsfs))
    )


def expected_step_seconds(step: str, files: Sequence[str | Path]) -> float | None:
    """Return what a single step takes, serially; None where that cannot be told.

    Parameters
    ----------
    step : str
        As the options name it (``align_refs``).
    files : sequence of str or Path
        Its inputs; their sizes tell.
    """
    try:
        pixels = [Path(file).stat().st_size / BYTES_ON_DISK for file in files]
        if step == "align_refs":
            ny, nx = read_header(files[0]).image_shape
            return SECONDS_PER_PAIR_PIXEL * pixels[0] * pixels[1] / (nx * ny)
    except OSError:  # it may lie elsewhere
        return None
    if step == "klip":
        return SECONDS_PER_PAIR_PIXEL * pixels[1]
    return SECONDS_PER_PIXEL * sum(pixels)


def describe_plan(
    association: Association, headers: Mapping[Path, ExposureHeader], pipeline: Any
) -> str:
    """Return the plan as text.

    Parameters
    ----------
    association : Association
    headers : mapping
        Of all members.
    pipeline : Coron3Pipeline
        With the options that would be used.
    """
    first = headers[association.science[0]]
    npsfs = sum(headers[path].nints for path in association.psf)
    lines = [
        f"product    {association.name} (asn_id {association.asn_id})",
        f"instrument {first.instrument} {first.filter} {first.coronagraph} {first.subarray}",
    ]
    for role, paths in (("science", association.science), ("psf", association.psf)):
        for path in paths:
            ny, nx = headers[path].image_shape
            lines.append(f"{role:10} {path.name}: {headers[path].nints} x {nx} x {ny}")
    lines += [f"ignored    {name} ({role or 'no exptype'})" for name, role in association.ignored]
    lines.append(f"psfmask    {_mask(association, pipeline)}")
    lines += _sizes(association, headers, npsfs, pipeline)
    return "\n".join(lines)


def _mask(association: Association, pipeline: Any) -> str:
    step = pipeline.align_refs
    mask = find_psfmask(
        open_cube(association.science[0]), step.override_psfmask, step.options.psfmask_convention
    )
    if mask is None:
        return "N/A: the references stay unaligned"
    notes = "".join(f"\n           {message}" for message in mask.messages)
    return f"{mask.name} ({mask.source}), {100 * mask.fraction:.1f} % of the pixels{notes}"


def _sizes(
    association: Association,
    headers: Mapping[Path, ExposureHeader],
    npsfs: int,
    pipeline: Any,
) -> list[str]:
    ny, nx = headers[association.science[0]].image_shape
    nints = [headers[path].nints for path in association.science]
    options = pipeline.align_refs.options
    sets = 0
    if options.align_to != "each":
        sets = len(nints)
    elif options.save_psfalign:
        sets = sum(nints)
    largest = max(nints) * nx * ny
    memory = (
        BASE_MEMORY
        + min(largest, SMALL / BYTES_WITH_VARIANCES) * BYTES_PER_SCIENCE_PIXEL
        + largest * BYTES_PER_HELD_PIXEL
        + npsfs * nx * ny * BYTES_PER_REFERENCE_PIXEL
    )
    disk = (
        nx
        * ny
        * (
            sets * npsfs * BYTES_ON_DISK
            + npsfs * (BYTES_ON_DISK + BYTES_WITH_VARIANCES)
            + 2 * sum(nints) * BYTES_WITH_VARIANCES
        )
    )
    folder = pipeline.output_folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    shape = "(nints, npsfs, ny, nx)" if options.align_to == "each" else "(npsfs, ny, nx)"
    return [
        f"alignment  to {options.align_to}: psfalign {shape}, {npsfs} references",
        f"memory     about {memory / 1e9:.1f} GB",
        f"disk       about {disk / 1e9:.2f} GB in {pipeline.output_folder} "
        f"({free / 1e9:.2f} GB free{'' if disk < 0.95 * free else ': NOT ENOUGH'})",
    ]
