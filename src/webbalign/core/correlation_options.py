"""Options of the cross-correlation of images, apart from what takes long to import."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.options import Options, opt

__all__ = ["Correlating"]


@dataclass(frozen=True)
class Correlating(Options):
    """Options of the cross-correlation of images."""

    corr_searchrad: float = opt(
        3.0, "Largest shift between two visits that is searched, in arcsec.", min=0.0
    )
    corr_rotation: bool = opt(True, "Whether a rotation between two images is measured as well.")
    corr_minpix: int = opt(
        1024, "Fewest good pixels of the stacks that two visits must have in common.", min=256
    )
    corr_highpass: float = opt(
        16.0,
        "Width (Gaussian sigma, in pixels) of the local mean that is subtracted from the images.",
        min=2.0,
    )
    corr_block: int = opt(
        64,
        "Side in pixels of the blocks that the error of a shift is found from: each is taken as "
        "independent of the others.",
        min=8,
    )
    corr_floor: float = opt(
        0.0,
        "Error in pixels of the place of each stack (one axis) to be added to what its dithers and "
        "pairs show.",
        min=0.0,
    )
    corr_flow: bool = opt(
        False,
        "Whether to refine shifts by optical flow (TV-L1), averaged robustly; a rotation is that "
        "of the fit.",
    )
