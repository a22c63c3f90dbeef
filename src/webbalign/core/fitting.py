"""Options of the astrometric fits."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.affine import GEOMETRIES
from webbalign.core.options import Options, opt

__all__ = ["AbsFitting", "Fitting", "Solving"]


@dataclass(frozen=True)
class Fitting(Options):
    """Options of the fit of images to one another."""

    fitgeometry: str = opt(
        "rshift",
        "How each group may be corrected: shift; rshift, rotation and shifts; rscale, rotation, "
        "one scale and shifts; general, any affine map. A simpler one is taken, and said so, "
        "where the stars of a group cannot fix it.",
        choices=GEOMETRIES,
    )
    nclip: int = opt(
        3, "Number of clipping iterations; 0: none, and no robust weights either.", min=0
    )
    sigma: float = opt(
        3.0,
        "Clipping limit, in units of the expected rms distance of a star from its mean position.",
        min=0.0,
    )


@dataclass(frozen=True)
class AbsFitting(Options):
    """Options of the fit to the absolute reference catalog."""

    abs_fitgeometry: str = opt(
        "rshift",
        "How all images together may be moved onto the reference catalog: shift, rshift, rscale "
        "or general, as in fitgeometry.",
        choices=GEOMETRIES,
    )
    abs_nclip: int = opt(
        3, "Number of clipping iterations for stars of the reference catalog.", min=0
    )
    abs_sigma: float = opt(
        3.0,
        "Clipping limit for stars of the reference catalog, in units of their expected rms "
        "distance from the stars in the images.",
        min=0.0,
    )


@dataclass(frozen=True)
class Solving(Options):
    """Options of the order and the kind of the solution."""

    solver: str = opt(
        "global",
        "global: all groups and the reference catalog in one least squares. sequential: one "
        "group after another, each to a catalog of those before it.",
        choices=("global", "sequential"),
    )
    enforce_user_order: bool = opt(
        False,
        "Take the group of the first image as the reference, not the one that has most stars in "
        "common with others; with solver = sequential, align the others in the order given, not "
        "in the order of their overlaps.",
    )
    expand_refcat: bool = opt(
        False,
        "Add the stars of each aligned group to the catalog that the next ones are aligned to. "
        "For solver = sequential; always so with an absolute reference catalog.",
    )
