"""Outlier detection of one exposure, in whatever process: a file in, a file and a number out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

from stdatamodels.jwst.datamodels import CubeModel

from webbalign.core.outliers import OutlierDetection
from webbalign.pipelines.base import save_product
from webbalign.products.coron_products import count_outliers
from webbalign.products.headers import read_header
from webbalign.products.held import hold
from webbalign.products.provenance import Recipe
from webbalign.steps.outlier_detection import OutlierDetectionStep

__all__ = ["FlagJob", "Flagging", "open_psf"]


@dataclass(frozen=True)
class Flagging:
    """One exposure to be flagged.

    Attributes
    ----------
    path, place : Path
        Its file, and where it goes.
    recipe : Recipe
        What the product is made from.
    is_psf, is_first : bool
        Whether it is a reference, and the first of them.
    """

    path: Path
    place: Path
    recipe: Recipe
    is_psf: bool
    is_first: bool = False


@dataclass(frozen=True)
class FlagJob:
    """Flags exposures and saves them; called with one, returns how many outliers it has.

    Attributes
    ----------
    options : OutlierDetection
    """

    options: OutlierDetection

    def __call__(self, item: Flagging) -> int:
        """Flag and save."""
        exposure = self._opened(item)
        before = count_outliers(exposure.dq).sum()
        flagged = self._step().process(exposure)
        found = int(count_outliers(flagged.dq).sum() - before)
        recipe = item.recipe.noting({"n_outliers": found})
        # what may not be replaced was refused before; here it may be there from an attempt that
        # ended with its worker
        save_product(flagged, item.place, flagged=True, overwrite=True, recipe=recipe)
        return found

    @staticmethod
    def _opened(item: Flagging) -> CubeModel:
        if item.is_psf:
            return open_psf(item.path, item.place.parent, metadata=item.is_first)
        return hold(item.path, item.place.parent)

    def _step(self) -> OutlierDetectionStep:
        step = OutlierDetectionStep()
        for name, value in asdict(self.options).items():
            setattr(step, name, value)
        # as within a pipeline: the exposure is the step's to change
        step.parent = SimpleNamespace()
        return step


def open_psf(path: Path, folder: Path, *, metadata: bool) -> CubeModel:
    """Open a reference exposure, its metadata only if they are wanted (or a header was edited).

    A header that was edited is made to agree with the GWCS. Large ones lie in a scratch file in the
    folder.
    """
    moved = read_header(path).wcs_moved
    return hold(path, folder, wcs=moved, header=metadata or moved)
