"""Options of the pipelines themselves (the steps' options are declared with the algorithms)."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.errors import OptionError
from webbalign.core.options import Options, opt

__all__ = ["Coron3Options"]


@dataclass(frozen=True)
class Coron3Options(Options):
    """Options of coron3."""

    figure: bool = opt(
        False,
        "Draw the result (before, PSF model, after, combined, significance) into a PNG beside the "
        "i2d. Takes about a second.",
    )
    mark: tuple[float, ...] | None = opt(
        None,
        "Sky positions to mark in the figure, which is drawn then: RA, Dec in degrees, in pairs.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mark is not None and len(self.mark) % 2:
            raise OptionError(f"option 'mark' has {len(self.mark)} values - give pairs of RA, Dec")
