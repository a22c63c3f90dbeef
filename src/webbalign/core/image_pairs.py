"""Visits aligned by their images: all overlapping pairs measured, then solved for together.

The pairs' shifts and rotations enter the least squares that also takes stars
(:mod:`webbalign.core.network`), as links between groups: each pair is two points of the field, laid
so that together they carry exactly the shift, the rotation and their covariance.
"""

from __future__ import annotations

from webbalign.core._pair_links import pair_links
from webbalign.core._pair_measuring import (
    compared_part,
    measure_pair,
    measure_pairs,
    overlapping_pairs,
)
from webbalign.core._pair_solving import solve_pairs
from webbalign.core._pair_types import GridImage, GroupFit, ImagePair, PairSolution

__all__ = [
    "GridImage",
    "GroupFit",
    "ImagePair",
    "PairSolution",
    "compared_part",
    "measure_pair",
    "measure_pairs",
    "overlapping_pairs",
    "pair_links",
    "solve_pairs",
]
