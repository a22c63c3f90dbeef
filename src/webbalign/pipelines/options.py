"""Options of the pipelines themselves (the steps' options are declared with the algorithms)."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["Coron3Options"]


@dataclass(frozen=True)
class Coron3Options(Options):
    """Options of coron3."""

    figure: bool = opt(
        True, "Draw the result (before, PSF model, after, combined) into a PNG beside the i2d."
    )
