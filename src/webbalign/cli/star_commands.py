"""The commands that align images by their stars: the whole, and its three parts."""

from __future__ import annotations

from webbalign.cli import common
from webbalign.cli.command import WHERE, Command, load_options
from webbalign.cli.flags import Flag, flags_of
from webbalign.cli.step_entries import STEPS

__all__ = ["STAR_COMMANDS", "apply_flags"]


def _tweakreg_flags() -> list[Flag]:
    return [
        *STEPS["tweakreg"].flags(within_pipeline=False),
        *flags_of(common.StepOutputOptions, "Parameters and products"),
        *flags_of(common.ReportChoice, "Parameters and products"),
        *flags_of(common.ExecutionOptions, WHERE),
    ]


def _find_stars_flags() -> list[Flag]:
    options = load_options("webbalign.steps.tweakreg_options:FindStars")
    unused = ("save_catalogs", "use_custom_catalogs", "catfile")
    return [
        *(flag for flag in flags_of(options, "The search") if flag.target[0] not in unused),
        *flags_of(common.ReportChoice, "Products"),
        *flags_of(common.FileOutputOptions, "Products"),
        *flags_of(common.ExecutionOptions, WHERE, only=common.WHERE_IT_IS_DONE),
    ]


def _solve_flags() -> list[Flag]:
    return [
        *flags_of(load_options("webbalign.steps.tweakreg_options:Solve"), "Matching and solving"),
        *flags_of(common.RegroupOptions, "Matching and solving"),
        *flags_of(common.ReportChoice, "Products"),
        *flags_of(common.FileOutputOptions, "Products"),
        *flags_of(common.ExecutionOptions, WHERE, only=("strict",)),
    ]


def apply_flags() -> list[Flag]:
    """Return the flags of what applies a correction to images."""
    return [
        *flags_of(load_options("webbalign.products.sip:SipApproximation"), "The header"),
        *flags_of(common.ReportChoice, "Products"),
        *flags_of(common.FileOutputOptions, "Products"),
        *flags_of(common.ExecutionOptions, WHERE),
    ]


STAR_COMMANDS = (
    Command(
        name="tweakreg",
        summary="Align images by their stars, with one another and with a catalog.",
        arguments="ASSOCIATION | FILE...",
        about="Finds the stars of _cal images, matches them between the images and with Gaia or a "
        "catalog, corrects the WCS of each image and writes it (_tweakreg), with a table of what "
        "was found (tweakreg_solution.ecsv) and a report, into --output-dir. Exit status: 0 all "
        "images aligned, 1 error, 2 usage, 3 products written but some image was not aligned.",
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
        flags=apply_flags,
        function="webbalign.cli.run_tweakreg:run_apply_solution",
        count=(2, None),
        examples=("webbalign apply-solution tweakreg_solution.ecsv *_cal.fits",),
    ),
)
