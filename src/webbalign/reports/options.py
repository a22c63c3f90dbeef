"""Options of pictures; a light import, since the command line reads them for its help."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture(Options):
    """How a product is shown."""

    plane: tuple[int, ...] | None = opt(
        None,
        "Which image of a cube to show, 0-based: the integration, of a 4-D psfalign integration "
        "and reference. None: the mean over the integrations.",
        min=0,
        length=0,
    )
    stretch: str = opt(
        "percentile",
        "Colours of the data: percentile is linear between percentiles; asinh is linear up to the "
        "scatter of the image and logarithmic beyond, which shows faint and bright together.",
        choices=("percentile", "asinh"),
    )
    percentile: float = opt(
        99.0, "Share of the pixels (percent) that lie within the colours.", min=1, max=100
    )
