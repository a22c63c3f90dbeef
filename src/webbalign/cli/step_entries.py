"""The steps that can be run by themselves, without importing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webbalign.cli import common
from webbalign.cli.command import load_options
from webbalign.cli.flags import Flag, flags_of
from webbalign.core.options import Options

__all__ = ["CORON3_STEPS", "STEPS", "StepEntry"]


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
        declarations = [load_options(self.options)] if self.options else []
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
            load_options(self.options).from_mapping(values)


def _override_options(reference: str) -> type[Options]:
    from dataclasses import make_dataclass

    from webbalign.core.options import opt

    doc = (
        f"{reference.upper()} file to use instead of the one that would be selected; derived: the "
        "weight that is derived for the coronagraph; N/A: none, nothing is aligned."
    )
    field = (f"override_{reference}", "str | None", opt(None, doc))
    return make_dataclass(f"Override{reference.title()}", [field], bases=(Options,), frozen=True)


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
