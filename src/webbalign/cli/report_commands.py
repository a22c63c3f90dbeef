"""The commands that make something to look at: report, show."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.cli.command import Command, load_options
from webbalign.cli.flags import Flag, flags_of
from webbalign.core.options import Options, opt

__all__ = ["REPORT_COMMANDS", "ReportOptions", "ShowOptions"]


@dataclass(frozen=True)
class ReportOptions(Options):
    """What a report tells, and where it lies."""

    output_dir: str | None = opt(None, "Folder of the report. None: beside the products.")
    star_flux: float | None = opt(
        None, "Flux of the star in Jy; limits are then given as contrasts as well.", min=0
    )
    mark: tuple[float, ...] | None = opt(
        None, "Sky positions RA, Dec in degrees to mark in the combined image.", length=0
    )
    images: tuple[str, ...] = opt(
        (),
        "Folders in which the images of an alignment lie, or folders of these, if not beside the "
        "table.",
    )


@dataclass(frozen=True)
class ShowOptions(Options):
    """Where the picture goes."""

    save: str | None = opt(
        None,
        "File of the picture (.png, .pdf, .svg). None: a window where there is a display, else "
        "the product's name with .png in the current folder.",
    )


def _show_flags() -> list[Flag]:
    return [
        *flags_of(ShowOptions, "The picture"),
        *flags_of(load_options("webbalign.reports.options:Picture"), "The picture"),
    ]


REPORT_COMMANDS = (
    Command(
        name="report",
        summary="Make the report of products that exist: ours, or those of jwst.",
        arguments="FOLDER|FILE...",
        about="Writes, for each coron3 run, alignment by tweakreg and table of wcs-adjust whose "
        "products lie in a folder (or for an _i2d file, a tweakreg_solution.ecsv or a "
        "_wcs_adjust.toml), one HTML file that opens from disk without a network, and its figures "
        "as PNG and PDF.",
        flags=lambda: flags_of(ReportOptions, "The report"),
        function="webbalign.cli.run_reports:run_report",
        count=(1, None),
        examples=(
            "webbalign report out/",
            "webbalign report out/x_i2d.fits --star-flux 1.7",
            "webbalign report out/ngc1566_wcs_adjust.toml --images ngc1566/",
        ),
    ),
    Command(
        name="show",
        summary="Show one product as a picture: data, errors, flags.",
        arguments="FILE",
        about="Draws SCI, ERR and DQ of a product side by side: of a cube the mean over its "
        "integrations, or the --plane that is asked for.",
        flags=_show_flags,
        function="webbalign.cli.run_reports:run_show",
        count=(1, 1),
        examples=(
            "webbalign show x_psfsub.fits --save x.png",
            "webbalign show x_psfalign.fits --plane 0,3 --stretch asinh",
        ),
    ),
)
