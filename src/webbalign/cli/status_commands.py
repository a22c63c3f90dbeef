"""The command status: what an earlier run has finished."""

from __future__ import annotations

from webbalign.cli import common
from webbalign.cli.command import Command, load_options
from webbalign.cli.flags import Flag, flags_of
from webbalign.cli.step_entries import CORON3_STEPS

__all__ = ["STATUS_COMMANDS"]


def _status_flags() -> list[Flag]:
    return [
        *flags_of(load_options("webbalign.pipelines.options:Coron3Options"), "Options of coron3"),
        *flags_of(
            common.PipelineOutputOptions, "Options of coron3", only=("profile", "config_file")
        ),
        *(flag for entry in CORON3_STEPS.values() for flag in entry.flags(within_pipeline=True)),
    ]


STATUS_COMMANDS = (
    Command(
        name="status",
        summary="Say which products are done, stale, changed or missing.",
        arguments="DIR [ASSOCIATION | FILE...]",
        about="Compares the products in DIR with what they say they were made from. With an "
        "association, and the options that coron3 would get: what `coron3 --resume` would keep, "
        "what it would make (again), and why. With images (or their association): which of them "
        "have changed since, or have no product. Exit status: 0 everything is done, 3 not "
        "everything.",
        flags=_status_flags,
        function="webbalign.cli.run_status:run_status",
        count=(1, None),
        examples=(
            "webbalign status out",
            "webbalign status out jw..._coron3_asn.json --klip.truncate 20",
            "webbalign status cats *_cal.fits",
        ),
    ),
)
