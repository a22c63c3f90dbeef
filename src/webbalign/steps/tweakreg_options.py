"""All options of tweakreg: those of its parts together, each declared where it is used."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.fitting import AbsFitting, Fitting, Solving
from webbalign.core.matching import AbsMatching, Matching
from webbalign.core.options import Options, opt
from webbalign.core.sources import SourceFinding
from webbalign.products.catalog_options import AbsoluteCatalog, CatalogFiles
from webbalign.products.groups import Grouping
from webbalign.products.sip import SipApproximation

__all__ = ["FindStars", "ModelHandling", "Solve", "TweakReg"]


@dataclass(frozen=True)
class ModelHandling(Options):
    """What is done with the images."""

    output_use_model: bool = opt(
        True, "Name the products after their images; if not, after output_file, with a number."
    )
    in_memory: bool = opt(
        True,
        "Keep the images in memory; if not, each is on disk but for the time it is worked on.",
    )


# (the bases of a dataclass give their fields in reverse order)
@dataclass(frozen=True)
class FindStars(Grouping, SourceFinding, CatalogFiles):
    """Options of the search for stars in images."""


@dataclass(frozen=True)
class Solve(AbsFitting, AbsMatching, AbsoluteCatalog, Fitting, Matching, Solving):
    """Options of matching and solving."""


@dataclass(frozen=True)
class TweakReg(ModelHandling, SipApproximation, Solve, FindStars):
    """Options of the whole."""
