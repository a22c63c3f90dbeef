"""The commands of wcs adjust."""

from __future__ import annotations

from webbalign.cli import common
from webbalign.cli.command import WHERE, Command, load_options
from webbalign.cli.flags import Flag, flags_of
from webbalign.cli.star_commands import apply_flags

__all__ = ["ADJUST_COMMANDS"]


def _get_adjust_flags() -> list[Flag]:
    return [
        *flags_of(
            load_options("webbalign.pipelines.wcs_adjust_options:WcsAdjustOptions"), "The table"
        ),
        *flags_of(
            load_options("webbalign.core.correlation_options:Correlating"), "Correlation of images"
        ),
        *flags_of(
            load_options("webbalign.products.stacking_options:Stacking"),
            "Correlation of images",
            only=("stack_bad_bits", "stack_align", "stack_pixel_scale"),
        ),
        *flags_of(load_options("webbalign.pipelines.wcs_adjust_options:GetFiles"), "Files"),
        *flags_of(common.ReportChoice, "Files"),
        *flags_of(common.ExecutionOptions, WHERE),
    ]


ADJUST_COMMANDS = (
    Command(
        name="wcs-adjust get",
        summary="Measure one correction per visit in the bands where it can be measured.",
        arguments="TARGET_DIR",
        about="Measures the pointing of each visit and exposure in TARGET_DIR/BAND/*_cal.fits of "
        "some bands and writes TARGET_wcs_adjust.toml, which apply (and PJPipe) reads. A band is "
        "not measured again, and a stack not made again, unless images, catalogs or parameters "
        "have changed. Exit status: 0 all visits aligned, 1 error, 2 usage, 3 table written but "
        "some visit is not aligned.",
        flags=_get_adjust_flags,
        function="webbalign.cli.run_wcs_adjust:run_get",
        count=(1, 1),
        examples=(
            "webbalign wcs-adjust get ngc1566 --bands F300M,F1000W --group-dithers nircam,miri",
            "webbalign wcs-adjust get ngc1566 --bands F300M,F770W --method "
            "'{nircam: tweakreg, miri: combined}' --corr-searchrad 1.5",
        ),
    ),
    Command(
        name="wcs-adjust apply",
        summary="Correct images of any band by the table of their visits.",
        arguments="TABLE FOLDER | FILE...",
        about="Writes images, under their own names, with the corrections of a table of wcs-adjust "
        "get or of PJPipe. That of the exposure goes before that of the visit; images for which "
        "there is none are copied, and named. Exit status 3: some image is not aligned.",
        flags=apply_flags,
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
            load_options("webbalign.pipelines.wcs_adjust_options:ShowOptions"), "What is shown"
        ),
        function="webbalign.cli.run_wcs_adjust:run_show",
        count=(1, 1),
        examples=("webbalign wcs-adjust show out/ngc1566_wcs_adjust.toml",),
    ),
)
