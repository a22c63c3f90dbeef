"""Options of the stacks of dithers, apart from what takes long to import."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["Stacking"]


@dataclass(frozen=True)
class Stacking(Options):
    """Options of the stacks of dithers."""

    reproject_func: str = opt(
        "interp",
        "How images are brought to the common grid, by the functions of the package reproject: "
        "interp, cubic interpolation; exact, overlaps of pixels on the sphere; adaptive, "
        "anti-aliased resampling.",
        choices=("interp", "exact", "adaptive"),
    )
    stack_bad_bits: str | None = opt(
        "DO_NOT_USE+NON_SCIENCE+SATURATED",
        "DQ bits that mark a pixel that is left out of a stack: names or numbers, joined by + or "
        "a comma.",
    )
    stack_align: bool = opt(
        True,
        "Whether the dithers of a stack are brought to their mean place first: the jitter of the "
        "pointing would otherwise move each part of a stack by another amount.",
    )
    stack_pixel_scale: float | None = opt(
        None, "Pixel scale of the stacks, in arcsec. None: that of the finest image.", min=0.0
    )
