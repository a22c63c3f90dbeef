"""Options of the commands that belong to no algorithm: where to write, how, and what to say."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = [
    "AssociationOptions",
    "ExecutionOptions",
    "FileOutputOptions",
    "MaskFileOptions",
    "PipelineOutputOptions",
    "PlanOptions",
    "RegroupOptions",
    "ReportChoice",
    "StepHooks",
    "StepOutputOptions",
    "TerminalOptions",
    "WHERE_IT_IS_DONE",
]


@dataclass(frozen=True)
class StepHooks(Options):
    """What every step understands, alone or within a pipeline."""

    skip: bool = opt(False, "Leave the step out.")
    pre_hooks: tuple[str, ...] = opt(
        (), "Function, step or shell command that is run on the input before the step."
    )
    post_hooks: tuple[str, ...] = opt(
        (), "Function, step or shell command that is run on the result after the step."
    )


@dataclass(frozen=True)
class PipelineOutputOptions(Options):
    """Where a pipeline writes and which parameters it takes."""

    output_dir: str = opt(".", "Folder for the products; made if it is missing.")
    overwrite: bool = opt(True, "Replace products that exist; an input is never replaced.")
    resume: bool = opt(
        False,
        "Keep products that an earlier run has finished, if the content of their inputs, their "
        "options and the version are the same; make the others.",
    )
    profile: str = opt(
        "default",
        "Set of defaults: our own, or those that reproduce jwst 3.0.0.",
        choices=("default", "jwst"),
    )
    config_file: str | None = opt(None, "Parameter file (ASDF) to take options from.")
    save_parameters: str | None = opt(
        None, "Write the parameters of this run into this file (ASDF)."
    )


@dataclass(frozen=True)
class StepOutputOptions(PipelineOutputOptions):
    """Where a single step writes."""

    output_file: str | None = opt(
        None, "Name of the product, instead of the one made from the input's name."
    )
    suffix: str | None = opt(None, "Suffix of the product's name, instead of the step's own.")


@dataclass(frozen=True)
class ExecutionOptions(Options):
    """Where the work is done."""

    executor: str = opt(
        "auto",
        "Where the work is done. auto: in processes of this machine, but serially where that takes "
        "no longer; dask needs the extra 'dask'.",
        choices=("auto", "serial", "threads", "processes", "dask"),
    )
    workers: int | None = opt(
        None,
        "Number of threads or processes; none: one per core, fewer where memory is short.",
        min=1,
    )
    memory: str | None = opt(
        None,
        "Memory that all processes together may take, with its unit, such as 2GB; what does not "
        "fit is worked on in smaller blocks. None: what is free.",
    )
    dask: str | None = opt(
        None,
        "Address of the scheduler of a running dask cluster, such as tcp://host:8786, that does "
        "the work; its workers have to see the same files under the same names.",
    )
    dask_tls_ca: str | None = opt(
        None,
        "Certificate file (PEM) of the authority that vouches for the scheduler, for an encrypted "
        "connection to tls://host:8786.",
    )
    dask_tls_cert: str | None = opt(None, "Our own certificate file (PEM) for the scheduler.")
    dask_tls_key: str | None = opt(None, "File (PEM) with the key of that certificate.")
    strict: bool = opt(False, "End with status 1, not 3, if some image was not aligned.")


@dataclass(frozen=True)
class ReportChoice(Options):
    """Whether a command that makes products makes something to look at as well."""

    report: bool = opt(
        True, "Write a report of the run, a page that opens from disk, beside the products."
    )


@dataclass(frozen=True)
class PictureChoice(Options):
    """Whether a step by itself makes something to look at."""

    picture: bool = opt(True, "Draw each product as `webbalign show` does, beside it (x.png).")


@dataclass(frozen=True)
class FileOutputOptions(Options):
    """Where files are written."""

    output_dir: str = opt(".", "Folder for the products; made if it is missing.")
    overwrite: bool = opt(True, "Replace products that exist; an input is never replaced.")
    resume: bool = opt(
        False,
        "Keep products that an earlier run has made of the same (inputs by content, options, "
        "version); make the others.",
    )


@dataclass(frozen=True)
class RegroupOptions(Options):
    """Other groups than those of the catalogs."""

    group_by: str | None = opt(
        None,
        "Group the images anew: all of an exposure, of a NIRCam module or detector of it, or of a "
        "visit. None: as the catalogs say.",
        choices=("exposure", "module", "detector", "visit"),
    )


@dataclass(frozen=True)
class PlanOptions(Options):
    """The look ahead."""

    dry_run: bool = opt(
        False, "Say members, masks, sizes, memory and disk that the run will take; do nothing."
    )


@dataclass(frozen=True)
class TerminalOptions(Options):
    """What is said while the command runs."""

    quiet: bool = opt(False, "Say nothing but errors.")
    json: bool = opt(
        False,
        "Print a summary as JSON, and nothing else, on standard output: status, error, warnings, "
        "files and results.",
    )
    verbose: bool = opt(False, "Say everything that the steps and libraries log.")
    debug: bool = opt(False, "Say also what is of use to developers, with tracebacks.")
    log_file: str | None = opt(None, "Write the whole log into this file as well.")


@dataclass(frozen=True)
class AssociationOptions(Options):
    """What an association is called."""

    output: str | None = opt(None, "File to write; none: print the association.")
    product_name: str | None = opt(
        None, "Name of the product; none: made from the exposures' keywords."
    )
    asn_id: str = opt("a3001", "Association identifier, which becomes part of the file names.")


@dataclass(frozen=True)
class MaskFileOptions(Options):
    """What a PSFMASK file holds."""

    output: str | None = opt(None, "File to write. It has to be given.")
    like: str | None = opt(
        None,
        "Exposure from which instrument, filter, coronagraph, subarray, size and the position of "
        "the star are taken where they are not given.",
    )
    radius: float | None = opt(
        None,
        "Radius in pixels of the central hole, within which the weight is 0. None, without an "
        "image: the weight that is derived for the coronagraph.",
        min=0,
    )
    from_image: str | None = opt(
        None, "FITS file whose first image holds weights (1 used, 0 ignored) to take instead."
    )
    center: tuple[float, ...] | None = opt(
        None,
        "Centre x, y of the hole in 0-based pixels. None: the star of the exposure, else the known "
        "position of the mask.",
        length=2,
    )
    instrument: str | None = opt(None, "INSTRUME, NIRCAM or MIRI.")
    filter: str | None = opt(None, "FILTER.")
    coronagraph: str | None = opt(None, "CORONMSK.")
    subarray: str | None = opt(None, "SUBARRAY.")
    shape: tuple[int, ...] | None = opt(None, "Rows and columns of the mask.", min=1, length=2)
    corner: tuple[int, ...] | None = opt(
        None, "Detector column and row of the first pixel, counted from 1.", min=1, length=2
    )
    description: str | None = opt(None, "DESCRIP. None: how the mask was made.")
    author: str | None = opt(None, "AUTHOR.")
    pedigree: str = opt("GROUND", "PEDIGREE.")
    useafter: str = opt("2022-01-01T00:00:00", "USEAFTER.")
    overwrite: bool = opt(True, "Replace the file if it exists.")


WHERE_IT_IS_DONE = tuple(name for name in ExecutionOptions.__dataclass_fields__ if name != "strict")
"""Names of the options that say where the work is done, not how it ends."""
