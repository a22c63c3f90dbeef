"""The commands of coronagraphy: the pipeline, and each of its steps alone."""

from __future__ import annotations

from webbalign.cli import common
from webbalign.cli.command import WHERE, Command, load_options
from webbalign.cli.flags import Flag, flags_of
from webbalign.cli.report_commands import ReportOptions
from webbalign.cli.step_entries import CORON3_STEPS, STEPS, StepEntry

__all__ = ["CORON_COMMANDS"]


def _coron3_flags() -> list[Flag]:
    return [
        *flags_of(common.PlanOptions, "What is done"),
        *flags_of(load_options("webbalign.pipelines.options:Coron3Options"), "What is done"),
        *flags_of(common.ReportChoice, "What is done"),
        *flags_of(ReportOptions, "What is done", only=("star_flux",)),
        *flags_of(common.PipelineOutputOptions, "Parameters and products"),
        *flags_of(common.ExecutionOptions, WHERE),
        *(flag for entry in CORON3_STEPS.values() for flag in entry.flags(within_pipeline=True)),
    ]


def _step_flags(entry: StepEntry) -> list[Flag]:
    return [
        *entry.flags(within_pipeline=False),
        *flags_of(common.StepOutputOptions, "Parameters and products"),
        *flags_of(common.PictureChoice, "Parameters and products"),
        *flags_of(common.ExecutionOptions, WHERE),
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


CORON_COMMANDS = (
    Command(
        name="coron3",
        summary="From an association of _calints to a PSF-subtracted, combined image.",
        arguments="ASSOCIATION...",
        about="Runs outlier_detection, stack_refs, align_refs, klip and resample on the science "
        "and psf members of an association and writes all products into --output-dir. Of several "
        "associations one that fails does not stop the others; a table at the end tells of each. A "
        "report of each combined image is written beside it. "
        "Exit status: 0 all well, 1 error, 2 usage, 3 products written but some image was "
        "not aligned.",
        flags=_coron3_flags,
        function="webbalign.cli.run_coron3:run_coron3",
        count=(1, None),
        examples=(
            "webbalign coron3 jw..._coron3_asn.json --output-dir out --klip.truncate 20",
            "webbalign coron3 *_asn.json --output-dir out --dask tcp://scheduler:8786",
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
)
