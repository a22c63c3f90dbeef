"""The commands: name, what it is for, its flags, and the function that does it.

Nothing is imported here that a list of the commands does not need; the declarations of the
options are imported when a command's help or its command line is read, everything else when it
is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from webbalign.cli import common
from webbalign.cli.flags import Flag, flags_of
from webbalign.core.options import Options

__all__ = ["COMMANDS", "CORON3_STEPS", "STEPS", "Command", "StepEntry", "terminal_flags"]


@dataclass(frozen=True)
class StepEntry:
    """A step, without importing it.

    Attributes
    ----------
    name : str
        With underscores, as in Python and in parameter files.
    class_name : str
        Its class in `webbalign.steps`.
    options : str or None
        ``module:class`` of its options.
    references : tuple of str
        Reference files that may be overridden.
    """

    name: str
    class_name: str
    options: str | None
    references: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The name with dashes, as on the command line."""
        return self.name.replace("_", "-")

    def own_flags(self, *, within_pipeline: bool = False) -> list[Flag]:
        """Return the flags of the step's own options; within a pipeline with its name."""
        step = self.name if within_pipeline else None
        section = f"Options of {self.name}"
        declarations = [_load(self.options)] if self.options else []
        declarations += [_override_options(reference) for reference in self.references]
        return [flag for item in declarations for flag in flags_of(item, section, step=step)]

    def flags(self, *, within_pipeline: bool) -> list[Flag]:
        """Return all flags of the step; within a pipeline they carry the step's name."""
        flags = self.own_flags(within_pipeline=within_pipeline)
        if within_pipeline:
            return flags + flags_of(common.StepHooks, f"Options of {self.name}", step=self.name)
        hooks = ("pre_hooks", "post_hooks")
        return flags + flags_of(common.StepHooks, "Options of every step", only=hooks)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise OptionError if these values of the step's own options cannot stand."""
        if self.options is not None:
            _load(self.options).from_mapping(values)


STEPS = {
    entry.name: entry
    for entry in (
        StepEntry(
            "outlier_detection", "OutlierDetectionStep", "webbalign.core.outliers:OutlierDetection"
        ),
        StepEntry("stack_refs", "StackRefsStep", None),
        StepEntry(
            "align_refs",
            "AlignRefsStep",
            "webbalign.core.registration:AlignRefs",
            references=("psfmask",),
        ),
        StepEntry("klip", "KlipStep", "webbalign.core.klip:Klip"),
        StepEntry("resample", "ResampleStep", "webbalign.core.resample:Resample"),
        StepEntry("tweakreg", "TweakRegStep", "webbalign.steps.tweakreg_options:TweakReg"),
    )
}
CORON3_STEPS = {name: entry for name, entry in STEPS.items() if name != "tweakreg"}


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes
    ----------
    name : str
        One or two words.
    summary : str
        One line.
    arguments : str
        The positionals as the usage line shows them.
    about : str
        A paragraph for the help.
    flags : callable
        Returns the flags.
    function : str
        ``module:function`` that runs it, given the command and what was parsed; it returns the
        exit status.
    count : tuple
        Least and largest number of positionals (None: any).
    examples : tuple of str
        Complete command lines.
    """

    name: str
    summary: str
    arguments: str
    about: str
    flags: Callable[[], list[Flag]]
    function: str
    count: tuple[int, int | None]
    examples: tuple[str, ...] = ()

    def all_flags(self) -> list[Flag]:
        """Return the flags, those that every command understands included."""
        return self.flags() + terminal_flags()

    def load(self) -> Callable[..., int]:
        """Import and return the function that runs the command."""
        module, _, name = self.function.partition(":")
        function: Callable[..., int] = getattr(import_module(module), name)
        return function


def terminal_flags() -> list[Flag]:
    """Return the flags that every command understands."""
    return flags_of(common.TerminalOptions, "What is said")


def _load(path: str) -> type[Options]:
    module, _, name = path.partition(":")
    options: type[Options] = getattr(import_module(module), name)
    return options


def _override_options(reference: str) -> type[Options]:
    from dataclasses import make_dataclass

    from webbalign.core.options import opt

    doc = (
        f"{reference.upper()} file to use instead of the one that would be selected; derived: the "
        "weight that is derived for the coronagraph; N/A: none, nothing is aligned."
    )
    field = (f"override_{reference}", "str | None", opt(None, doc))
    return make_dataclass(f"Override{reference.title()}", [field], bases=(Options,), frozen=True)


def _coron3_flags() -> list[Flag]:
    return [
        *flags_of(common.PlanOptions, "What is done"),
        *flags_of(_load("webbalign.pipelines.options:Coron3Options"), "What is done"),
        *flags_of(common.PipelineOutputOptions, "Parameters and products"),
        *flags_of(common.ExecutionOptions, "Where the work is done, and how it ends"),
        *(flag for entry in CORON3_STEPS.values() for flag in entry.flags(within_pipeline=True)),
    ]


def _step_flags(entry: StepEntry) -> list[Flag]:
    return [
        *entry.flags(within_pipeline=False),
        *flags_of(common.StepOutputOptions, "Parameters and products"),
        *flags_of(common.ExecutionOptions, "Where the work is done, and how it ends"),
    ]


_WHERE = "Where the work is done, and how it ends"


def _tweakreg_flags() -> list[Flag]:
    return [
        *STEPS["tweakreg"].flags(within_pipeline=False),
        *flags_of(common.StepOutputOptions, "Parameters and products"),
        *flags_of(common.ImageExecutionOptions, _WHERE),
    ]


def _find_stars_flags() -> list[Flag]:
    options = _load("webbalign.steps.tweakreg_options:FindStars")
    unused = ("save_catalogs", "use_custom_catalogs", "catfile")
    return [
        *(flag for flag in flags_of(options, "The search") if flag.target[0] not in unused),
        *flags_of(common.FileOutputOptions, "Products"),
        *flags_of(common.ImageExecutionOptions, _WHERE, only=("executor", "workers")),
    ]


def _solve_flags() -> list[Flag]:
    return [
        *flags_of(_load("webbalign.steps.tweakreg_options:Solve"), "Matching and solving"),
        *flags_of(common.RegroupOptions, "Matching and solving"),
        *flags_of(common.FileOutputOptions, "Products"),
        *flags_of(common.ExecutionOptions, _WHERE, only=("strict",)),
    ]


def _apply_flags() -> list[Flag]:
    return [
        *flags_of(_load("webbalign.products.sip:SipApproximation"), "The header"),
        *flags_of(common.FileOutputOptions, "Products"),
        *flags_of(common.ImageExecutionOptions, _WHERE),
    ]


def _get_adjust_flags() -> list[Flag]:
    return [
        *flags_of(_load("webbalign.pipelines.wcs_adjust_options:WcsAdjustOptions"), "The table"),
        *flags_of(_load("webbalign.pipelines.wcs_adjust_options:GetFiles"), "Files"),
        *flags_of(common.ImageExecutionOptions, _WHERE),
    ]


def _step_command(
    name: str, summary: str, arguments: str, about: str, count: tuple[int, int | None], example: str
) -> Command:
    entry = STEPS[name]
    return Command(
        name=entry.command,
        summary=summary,
        arguments=arguments,
        about=about,
        flags=lambda: _step_flags(entry),
        function="webbalign.cli.run_steps:run_step",
        count=count,
        examples=(f"webbalign {entry.command} {example}",),
    )


_COMMANDS = (
    Command(
        name="coron3",
        summary="From an association of _calints to a PSF-subtracted, combined image.",
        arguments="ASSOCIATION",
        about="Runs outlier_detection, stack_refs, align_refs, klip and resample on the science "
        "and psf members of an association and writes all products into --output-dir. "
        "Exit status: 0 all well, 1 error, 2 usage, 3 products written but some image was "
        "not aligned.",
        flags=_coron3_flags,
        function="webbalign.cli.run_coron3:run_coron3",
        count=(1, 1),
        examples=(
            "webbalign coron3 jw..._coron3_asn.json --output-dir out --klip.truncate 20",
            "webbalign coron3 x_asn.json --dry-run",
        ),
    ),
    _step_command(
        "outlier_detection",
        "Flag the outliers of each exposure among its integrations.",
        "FILE...",
        "Compares the integrations of an exposure with their median and flags what departs from "
        "it (_crfints). Several files are treated one by one.",
        (1, None),
        "jw..._calints.fits --snr 5.0",
    ),
    _step_command(
        "stack_refs",
        "Put the integrations of all PSF exposures into one stack.",
        "FILE...",
        "Joins the integrations of PSF exposures into one stack (_psfstack).",
        (1, None),
        "*_psf_calints.fits --output-file x_psfstack.fits",
    ),
    _step_command(
        "align_refs",
        "Align every PSF image with the science images.",
        "SCIENCE PSFSTACK",
        "Fits shift and flux ratio between each PSF image and the science integrations, and "
        "shifts the PSF images (_psfalign, and the table of shifts beside it).",
        (2, 2),
        "target_calints.fits x_psfstack.fits",
    ),
    _step_command(
        "klip",
        "Subtract the star with a Karhunen-Loeve model of the PSF images.",
        "SCIENCE PSFALIGN",
        "Projects each science integration on the leading Karhunen-Loeve modes of the aligned "
        "PSF images and subtracts the projection (_psfsub).",
        (2, 2),
        "target_crfints.fits target_psfalign.fits --truncate 20",
    ),
    _step_command(
        "resample",
        "Combine images on one grid by drizzling.",
        "FILE...",
        "Drizzles all integrations of all files onto one grid (_i2d).",
        (1, None),
        "*_psfsub.fits --output-file x_i2d.fits --rotation 0",
    ),
    Command(
        name="tweakreg",
        summary="Align images by their stars, with one another and with a catalog.",
        arguments="ASSOCIATION | FILE...",
        about="Finds the stars of _cal images, matches them between the images and with Gaia or a "
        "catalog, corrects the WCS of each image and writes it (_tweakreg), with a table of what "
        "was found (tweakreg_solution.ecsv), into --output-dir. Exit status: 0 all images aligned, "
        "1 error, 2 usage, 3 products written but some image was not aligned.",
        flags=_tweakreg_flags,
        function="webbalign.cli.run_tweakreg:run_tweakreg",
        count=(1, None),
        examples=(
            "webbalign tweakreg asn.json --output-dir out --abs-refcat GAIADR3",
            "webbalign tweakreg *_cal.fits --starfinder segmentation --fitgeometry general",
        ),
    ),
    Command(
        name="find-stars",
        summary="Write the catalog of the stars of each image.",
        arguments="ASSOCIATION | FILE...",
        about="Finds the stars of images and writes a catalog of each (_cat.ecsv, and _cat.asdf "
        "with its WCS), which solve reads.",
        flags=_find_stars_flags,
        function="webbalign.cli.run_tweakreg:run_find_stars",
        count=(1, None),
        examples=("webbalign find-stars *_cal.fits --output-dir cats --snr-threshold 20",),
    ),
    Command(
        name="solve",
        summary="Align catalogs with one another and with a reference catalog.",
        arguments="CATALOG...",
        about="Matches the catalogs that find-stars has written (and somebody may have edited), "
        "solves for the correction of each image, and writes them as tweakreg_solution.ecsv.",
        flags=_solve_flags,
        function="webbalign.cli.run_tweakreg:run_solve",
        count=(1, None),
        examples=("webbalign solve cats/*_cat.ecsv --abs-refcat gaia.ecsv",),
    ),
    Command(
        name="apply-solution",
        summary="Correct the WCS of images as a solution says.",
        arguments="SOLUTION ASSOCIATION | FILE...",
        about="Writes images with the corrections of a solution (_tweakreg). Images that are not "
        "part of it take the correction of their exposure, else of their visit.",
        flags=_apply_flags,
        function="webbalign.cli.run_tweakreg:run_apply_solution",
        count=(2, None),
        examples=("webbalign apply-solution tweakreg_solution.ecsv *_cal.fits",),
    ),
    Command(
        name="wcs-adjust get",
        summary="Measure one correction per visit in the bands where it can be measured.",
        arguments="TARGET_DIR",
        about="Measures the pointing of each visit and exposure in TARGET_DIR/BAND/*_cal.fits of "
        "some bands and writes TARGET_wcs_adjust.toml, which apply (and PJPipe) reads. A band is "
        "not measured again unless its images, catalogs or parameters have changed. Exit status: 0 "
        "all visits aligned, 1 error, 2 usage, 3 table written but some visit is not aligned.",
        flags=_get_adjust_flags,
        function="webbalign.cli.run_wcs_adjust:run_get",
        count=(1, 1),
        examples=(
            "webbalign wcs-adjust get ngc1566 --bands F300M,F1000W --group-dithers nircam,miri",
        ),
    ),
    Command(
        name="wcs-adjust apply",
        summary="Correct images of any band by the table of their visits.",
        arguments="TABLE FOLDER | FILE...",
        about="Writes images, under their own names, with the corrections of a table of wcs-adjust "
        "get or of PJPipe. That of the exposure goes before that of the visit; images for which "
        "there is none are copied, and named. Exit status 3: some image is not aligned.",
        flags=_apply_flags,
        function="webbalign.cli.run_wcs_adjust:run_apply",
        count=(2, None),
        examples=(
            "webbalign wcs-adjust apply out/ngc1566_wcs_adjust.toml ngc1566/*/ "
            "--output-dir corrected",
        ),
    ),
    Command(
        name="wcs-adjust show",
        summary="Print a table of corrections, with their errors.",
        arguments="TABLE",
        about="Prints status, shift, roll, errors and scatter of each visit and exposure. Exit "
        "status 3: some visit is not aligned.",
        flags=lambda: flags_of(
            _load("webbalign.pipelines.wcs_adjust_options:ShowOptions"), "What is shown"
        ),
        function="webbalign.cli.run_wcs_adjust:run_show",
        count=(1, 1),
        examples=("webbalign wcs-adjust show out/ngc1566_wcs_adjust.toml",),
    ),
    Command(
        name="simulate coron3",
        summary="Make a coronagraphic sequence with a known answer.",
        arguments="DIR",
        about="Writes simulated _calints of a star with a companion and of its reference star, "
        "their association, and the truth, into DIR.",
        flags=lambda: flags_of(_load("webbalign.simulate.options:CoronSimulation"), "The sequence"),
        function="webbalign.cli.run_files:run_simulate",
        count=(1, 1),
        examples=("webbalign simulate coron3 demo --nints 20 --ref-nints 4 --ref-dithers 9",),
    ),
    Command(
        name="simulate mosaic",
        summary="Make a mosaic of star fields with known pointing errors.",
        arguments="DIR",
        about="Writes simulated _cal images of NIRCam and MIRI (several visits, dithered, in a "
        "folder per band), associations, the catalog of the stars, one like Gaia's, and the true "
        "correction of each image into DIR.",
        flags=lambda: flags_of(
            _load("webbalign.simulate.mosaic_options:MosaicSimulation"), "The mosaic"
        ),
        function="webbalign.cli.run_files:run_simulate_mosaic",
        count=(1, 1),
        examples=("webbalign simulate mosaic sim --bands F150W,F300M --visits 2 --dithers 4",),
    ),
    Command(
        name="asn",
        summary="Make an association from files; IS_PSF tells the roles.",
        arguments="FILE...",
        about="Writes an association of the given _calints files: those with the keyword IS_PSF "
        "true are psf members, the others science members.",
        flags=lambda: flags_of(common.AssociationOptions, "The association"),
        function="webbalign.cli.run_files:run_asn",
        count=(1, None),
        examples=("webbalign asn *_calints.fits --output x_asn.json",),
    ),
    Command(
        name="psfmask make",
        summary="Write a PSFMASK reference file.",
        arguments="",
        about="Writes a PSFMASK file with all the keywords by which it is selected: a central "
        "hole of --radius, the weights of --from-image, or the weight derived for the coronagraph.",
        flags=lambda: flags_of(common.MaskFileOptions, "The mask"),
        function="webbalign.cli.run_files:run_psfmask_make",
        count=(0, 0),
        examples=("webbalign psfmask make --like x_calints.fits --radius 8 --output mask.fits",),
    ),
    Command(
        name="psfmask check",
        summary="Say what is wrong with PSFMASK reference files.",
        arguments="FILE...",
        about="Checks model, image, values and keywords; exit status 1 if anything is wrong.",
        flags=list,
        function="webbalign.cli.run_files:run_psfmask_check",
        count=(1, None),
        examples=("webbalign psfmask check mask.fits",),
    ),
)

COMMANDS = {command.name: command for command in _COMMANDS}
